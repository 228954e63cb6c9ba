"""The table of choices: its figures against NumPy, what is said where there are none, and that it is made once."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from convspec.checker import check
from convspec.cli.ablating import table
from convspec.diagnostics import DiagnosticError
from convspec.report.ablation_table import as_csv, markdown
from convspec.train import trainings as module
from convspec.train.ablation import Ablation, ablate
from convspec.train.display import SilentDisplay
from convspec.train.testing import Test
from convspec.train.trained import open_trained
from convspec.train.trainings import Trainings
from tests.train.racing import RELU, records

SEEDS = (0, 1, 2)
NET = (
    RELU.replace("epochs=8", "epochs=1").replace("mirror=0", "mirror=1").replace("inputs=conv1\n", "inputs=drop1\n")
    + "\n[drop1]\ntype=dropout2\ninputs=conv1\nkeep=0.7\n"
)


def run(folder: Path, text: str = NET, only: tuple[str, ...] | None = None, seeds: tuple[int, ...] = SEEDS) -> Ablation:
    trainings = Trainings(folder, None, "cpu", lambda diagnostic: None, lambda name: SilentDisplay())
    return ablate(check(text), only=only, seeds=seeds, trainings=trainings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ablation]:
    folder = tmp_path_factory.mktemp("ablation")
    return folder, run(folder)


def last_tests(folder: Path, name: str) -> dict[str, np.ndarray]:
    tests = [records(folder / f"{name}-seed{seed}", "validation")[-1]["test"]["costs"]["logprob"] for seed in SEEDS]
    return {key: np.array([test[key] for test in tests]) for key in ("error", "topk_error")}


def test_the_figures_are_those_of_the_runs(made: tuple[Path, Ablation]) -> None:
    folder, ablation = made
    record = ablation.record()
    base = last_tests(folder, "base")
    assert [row["name"] for row in record["rows"] if row["error"]["mean"] is not None] == [
        "base",
        "dropout",
        "crops",
        "conv1",
        "views",
    ]
    for row in record["rows"]:
        if row["trouble"] or row["name"] == "views":
            continue
        found = last_tests(folder, Path(row["spec"]).stem)
        for what in ("error", "topk_error"):
            assert list(row[what]["by_seed"].values()) == found[what].tolist()
            assert row[what]["mean"] == pytest.approx(found[what].mean())
            assert row[what]["deviation"] == pytest.approx(found[what].std(ddof=1))
            if row["name"] == "base":
                assert row[what]["change"] is None
                continue
            change = found[what] - base[what]
            assert row[what]["change"]["mean"] == pytest.approx(change.mean())
            assert row[what]["change"]["deviation"] == pytest.approx(change.std(ddof=1))
    assert (record["k"], record["batch"], record["epochs"], record["seeds"]) == (2, 64, 1, [0, 1, 2])
    assert record["machine"]["threads"] == 1
    parameters = {row["name"]: row["parameters"] for row in record["rows"]}
    assert parameters["base"] == parameters["dropout"] == 8 * 10 + 10 * (8 * 64 + 1)
    assert parameters["conv1"] == 10 * (64 + 1)


def test_ten_views_are_of_the_trainings_of_the_spec_itself(made: tuple[Path, Ablation]) -> None:
    folder, ablation = made
    base, views = ablation.rows[0], ablation.rows[-1]
    assert (views.name, views.file, views.parameters) == ("views", "", base.parameters)
    for seed in SEEDS:
        with Test([open_trained(folder / f"base-seed{seed}", device="cpu")], views=10) as test:
            cost = test.run().runs[0].validation.costs["logprob"]
        assert views.scores[seed] == (cost.error, cost.topk_error)
    assert views.values("error") != base.values("error")
    assert [row.name for row in run(folder, only=("views",)).rows] == ["base", "views"]
    assert [row.name for row in run(folder, only=("crops",)).rows] == ["base", "crops"]


def test_what_the_spec_does_not_have_is_said(made: tuple[Path, Ablation]) -> None:
    troubles = {row.name: row.trouble for row in made[1].rows if row.trouble}
    assert troubles == {
        "lrn": "no response normalisation in this spec",
        "overlap": "no pooling windows that overlap in this spec",
        "colour": "no colour noise in this spec: colorNoise= under [@data] is 0",
        "gpus": "no layers on a second GPU in this spec",
    }
    text = table(made[1])
    assert all(f": {trouble}" in text for trouble in troubles.values())


def test_each_network_can_be_run_again_by_hand(made: tuple[Path, Ablation]) -> None:
    folder, ablation = made
    for row in ablation.rows:
        if row.file:
            checked = check(folder / row.file)
            assert checked.ok
            assert check(folder / f"{Path(row.file).stem}-seed1" / "resolved.cfg").graph.train.seed == 1
            assert checked.graph.train.seed == 0
    assert (folder / "without-dropout.cfg").read_text().splitlines()[-2:] == ["[drop1]", "remove=1"]


def test_the_table_in_its_three_forms(made: tuple[Path, Ablation]) -> None:
    folder, ablation = made
    base, crops = (last_tests(folder, name)["error"] * 100 for name in ("base", "without-crops"))
    change = crops - base
    error = f"{crops.mean():.1f} ± {crops.std(ddof=1):.1f}"
    changed = f"{change.mean():+.1f} ± {change.std(ddof=1):.1f}"
    line = next(line for line in table(ablation).splitlines() if line.startswith("without crops"))
    assert error in line
    assert changed in line
    assert "4.1" in line
    assert "substantial overfitting" in line
    page = markdown(ablation)
    assert f"| without crops and mirrors | 5,210 | {error} | {changed} |" in page
    assert "- on: 1,438 training pictures of digits, 1 epochs at most, minibatches of 64, seeds 0, 1, 2" in page
    assert "no figure here is of ImageNet" in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    rows = list(csv.DictReader(StringIO(as_csv(ablation))))
    assert [row["name"] for row in rows] == [row.name for row in ablation.rows]
    found = next(row for row in rows if row["name"] == "crops")
    assert [float(found[f"error_seed{seed}"]) * 100 for seed in SEEDS] == pytest.approx(crops.tolist())
    assert float(found["error_change"]) * 100 == pytest.approx(change.mean())
    assert next(row for row in rows if row["name"] == "lrn")["error_mean"] == ""


def test_it_is_made_once(made: tuple[Path, Ablation], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, ablation = made
    monkeypatch.setattr(module, "train", None)
    assert run(folder).record() == ablation.record()
    assert run(folder, only=("crops",), seeds=(0, 1)).rows[1].values("error") == {
        seed: value
        for seed, value in next(row for row in ablation.rows if row.name == "crops").values("error").items()
        if seed < 2
    }


def test_the_folder_of_another_spec_is_left_alone(made: tuple[Path, Ablation]) -> None:
    folder, _ = made
    with pytest.raises(DiagnosticError, match=r"base\.cfg is of another spec") as caught:
        run(folder, NET.replace("filters=8", "filters=9"))
    assert "-o" in (caught.value.diagnostics[0].help or "")


def test_a_spec_that_was_edited_is_not_written_over(tmp_path: Path) -> None:
    run(tmp_path, only=("dropout",), seeds=(0,))
    edited = tmp_path / "without-dropout.cfg"
    edited.write_text(edited.read_text() + "\n[conv1]\nfilters=3\n")
    with pytest.raises(DiagnosticError, match="was edited"):
        run(tmp_path, only=("dropout",), seeds=(0,))
    assert edited.read_text().endswith("filters=3\n")


def test_a_variant_that_is_no_network_has_its_diagnostic_and_others_go_on(tmp_path: Path) -> None:
    """Without conv1, the normalisation above reads the single map of the data, and looks at five."""
    text = NET.replace("inputs=drop1\n", "inputs=norm\n", 1)
    text += "\n[norm]\ntype=cmrnorm\ninputs=drop1\nsize=5\nscale=0.001\npow=0.75\n"
    ablation = run(tmp_path, text.replace("epochs=1", "epochs=2"), only=("conv1", "lrn"), seeds=(0,))
    conv, lrn = (next(row for row in ablation.rows if row.name == name) for name in ("conv1", "lrn"))
    assert conv.trouble.startswith("CS408: norm looks at 5 maps")
    assert conv.scores == {}
    first, last = (record["test"] for record in records(tmp_path / "without-lrn-seed0", "validation"))
    assert lrn.scores[0].error == last["error"] != first["error"]
    assert "without convolutional layer 1: CS408" in table(ablation)
    assert json.loads(json.dumps(ablation.record()))["rows"][2]["error"]["mean"] is None


def test_a_network_that_diverges_is_a_trouble_of_its_row(tmp_path: Path) -> None:
    text = NET.replace("epsW=0.0002", "epsW=3e38")
    ablation = run(tmp_path, text, only=("dropout",), seeds=(0, 1))
    assert all("seed 0: the loss is" in row.trouble for row in ablation.rows)
    assert [row.scores for row in ablation.rows] == [{}, {}]
    assert "-" in table(ablation).splitlines()[1]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("epsW=0.0002\nepsB=0.0004", "epsW=0\nepsB=0"), "CS602"),
        (("provider=digits", "provider=folder\npath=nowhere"), "CS701"),
    ],
)
def test_a_spec_that_cannot_be_trained_is_said_before_anything_is_written(
    change: tuple[str, str], code: str, tmp_path: Path
) -> None:
    assert change[0] in NET
    with pytest.raises(DiagnosticError, match=code):
        run(tmp_path / "out", NET.replace(*change))
    assert not (tmp_path / "out").exists()
