"""Training by every cost: one step and more, alone and together, and what is reported of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from convspec.compiler import Compiled, compile_spec
from convspec.diagnostics import DiagnosticError
from convspec.train.display import SilentDisplay
from convspec.train.loop import Result
from convspec.train.scores import (
    CostResult,
    batch_sums,
    cost_result,
    shared_credit,
    trained_cost,
    with_totals,
    wrong_outputs,
)
from convspec.train.trainer import train
from tests.train.runs import weights

HEAD = """
[@net]
name=Digits
input=data:1x8x8
classes=10
outputs=code
[@train]
batch=256
epochs=2
[@data]
provider=digits
mirror=0
[@params]
initW=0.05
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
[data]
type=data
dataIdx=0
[code]
type=fc
inputs=data
outputs=10
epsW=0.00001
initW=0.001
"""
LABELS = "[labels]\ntype=data\ndataIdx=1\n"
TAGS = "[tags]\ntype=data\ndataIdx=2\n"
SCORES = "[scores]\ntype=fc\ninputs=code\noutputs=10\n"
PROBS = SCORES + "[probs]\ntype=softmax\ninputs=scores\n"
GUESSES = "[guesses]\ntype=fc\ninputs=code\noutputs=10\nneuron=logistic\ninitB=-2\n"
GATE = "[gate]\ntype=fc\ninputs=code\noutputs=1\nneuron=logistic\n"
# What a spec needs for each cost, the cost, and the numbers that are reported of it.
COSTS: dict[str, tuple[str, str, set[str]]] = {
    "logreg": (LABELS + PROBS, "inputs=labels,probs\ntopk=3", {"loss", "error", "topk_error", "k"}),
    "crossent": (TAGS + PROBS, "inputs=tags,probs", {"loss", "error"}),
    "bce": (TAGS + GUESSES, "inputs=tags,guesses\nposWeight=2", {"loss", "error", "output_error"}),
    "dce": (TAGS + GUESSES, "inputs=tags,guesses", {"loss", "error", "output_error", "precision", "recall"}),
    "crossent2": (TAGS + GUESSES, "inputs=tags,guesses", {"loss"}),
    "rflickr": (TAGS + GUESSES, "inputs=tags,guesses", {"loss"}),
    "msm": (LABELS + SCORES, "inputs=labels,scores\nsetSize=2", {"loss", "error", "topk_error", "k"}),
    "sum2": ("", "inputs=code", {"loss"}),
    "gsum2": (GATE, "inputs=gate,code", {"loss"}),
    "tica": ("", "inputs=code\nchannels=10\nsizeX=1", {"loss"}),
}


def spec(name: str, more: str = "", coefficient: float = 1) -> str:
    layers, keys, _ = COSTS[name]
    return f"{HEAD}{layers}[cost]\ntype=cost.{name}\n{keys}\ncoeff={coefficient}\n{more}"


def compiled(text: str, *overrides: str) -> Compiled:
    return compile_spec(text, overrides=overrides)


class Lines(SilentDisplay):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def go(text: str, folder: Path, *overrides: str, display: SilentDisplay | None = None, **options: Any) -> Result:
    return train(compiled(text, *overrides), run_dir=folder, display=display or SilentDisplay(), **options)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["event"] == kind]


@pytest.mark.parametrize("name", COSTS)
def test_every_cost_trains(name: str, tmp_path: Path) -> None:
    """A step changes all that the cost reads; two epochs make it smaller; the report has what the cost reports."""
    go(spec(name), tmp_path / "one", max_steps=1)
    go(spec(name), tmp_path / "two", max_steps=2)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(not torch.equal(value, two[key]) for key, value in one.items())
    result = go(spec(name), tmp_path / "run")
    first, last = events(tmp_path / "run", "validation")
    assert last["test"]["costs"]["cost"]["loss"] < first["test"]["costs"]["cost"]["loss"]
    assert last["train"]["loss"] < first["train"]["loss"]
    assert set(last["test"]["costs"]["cost"]) == COSTS[name][2]
    assert result.validation is not None
    assert last["test"] == result.validation.record()
    has_error = "error" in COSTS[name][2]
    assert ("error" in last["test"], "error" in last["train"]) == (has_error, has_error)
    assert result.validation.score == (result.validation.error if has_error else last["test"]["costs"]["cost"]["loss"])
    assert result.best_error is not None
    assert result.best_error <= result.validation.score


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_without_weight_teaches_nothing(name: str, tmp_path: Path) -> None:
    """Beside another cost it is reported; by itself there is nothing to train by."""
    beside = spec(name, "[norm]\ntype=cost.sum2\ninputs=code\ncoeff=0.1\n", coefficient=0)
    go(beside, tmp_path / "one", max_steps=1)
    go(beside, tmp_path / "two", max_steps=2)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert {key for key in one if not torch.equal(one[key], two[key])} == {"code.weight", "code.bias"}
    assert {"cost", "norm"} == set(events(tmp_path / "one", "step")[0]["costs"])
    with pytest.raises(DiagnosticError, match="CS602"):
        go(spec(name, coefficient=0), tmp_path / "none")


@pytest.mark.parametrize("name", COSTS)
def test_every_cost_trains_in_bf16(name: str, tmp_path: Path) -> None:
    """Products in bf16, costs in float32: nearly the values of float32."""
    narrow = go(spec(name), tmp_path / "bf16", "@train.precision=bf16", "@train.epochs=1").validation
    wide = go(spec(name), tmp_path / "fp32", "@train.epochs=1").validation
    assert narrow is not None
    assert wide is not None
    assert narrow.costs["cost"].loss == pytest.approx(wide.costs["cost"].loss, rel=0.01)
    assert narrow.costs["cost"].loss != wide.costs["cost"].loss


def test_costs_are_trained_by_their_weighted_sum(tmp_path: Path) -> None:
    more = "[norm]\ntype=cost.sum2\ninputs=code\ncoeff=0.25\n"
    go(spec("crossent", more), tmp_path / "run", max_steps=2)
    step = events(tmp_path / "run", "step")[0]
    assert step["loss"] == pytest.approx(step["costs"]["cost"] + 0.25 * step["costs"]["norm"], rel=1e-6)


def test_every_cost_is_named_on_the_line(tmp_path: Path) -> None:
    display = Lines()
    go(spec("logreg", "[norm]\ntype=cost.sum2\ninputs=code\ncoeff=0.1\n"), tmp_path / "run", display=display)
    (validation,) = (record for record in events(tmp_path / "run", "validation") if record["epoch"] == 2)
    cost, norm = (validation["test"]["costs"][name] for name in ("cost", "norm"))
    trained = validation["train"]["costs"]
    assert display.lines[-1] == (
        f"epoch 2/2: train cost {trained['cost']:.4f}, norm {trained['norm']:.4f}; test cost {cost['loss']:.4f}, "
        f"top-1 error {cost['error']:.1%}, top-3 error {cost['topk_error']:.1%}; norm {norm['loss']:.4f}"
    )


def test_dce_names_the_classes(tmp_path: Path) -> None:
    display = Lines()
    go(spec("dce"), tmp_path / "run", display=display)
    recall = events(tmp_path / "run", "validation")[-1]["test"]["costs"]["cost"]["recall"]
    assert len(recall) == 10
    assert all(0 <= share <= 1 for share in recall)
    lines = [line for line in display.lines if line.startswith("  cost, 7: precision ")]
    assert len(lines) == 2
    assert lines[-1].endswith(f"recall {recall[7]:.1%}")


def test_precision_and_recall_are_those_of_each_class() -> None:
    """Three batches as one: declared, there and right counted class by class; nothing declared is no precision."""
    program = compiled(spec("dce")).program
    (cost,) = program.costs
    outputs, targets = torch.zeros(6, 10), torch.zeros(6, 10)
    outputs[:4, 0], targets[2:, 0] = 0.9, 1  # declared four times, there four times, both twice
    outputs[:2, 1], targets[0, 1] = 0.6, 1
    targets[:, 2] = 1
    sums: dict[str, torch.Tensor] = {}
    for at in (slice(0, 1), slice(1, 3), slice(3, 6)):
        values = {"guesses": outputs[at], "tags": targets[at], "cost": torch.tensor(1.5)}
        for name, value in batch_sums(cost, values, len(outputs[at]), torch.float64).items():
            sums[name] = sums.get(name, 0) + value
    found = cost_result(cost, sums, 6)
    assert found.loss == 1.5
    assert found.precision == [0.5, 0.5, *[None] * 8]
    assert found.recall == [0.5, 1.0, 0.0, *[None] * 7]
    assert found.output_error == pytest.approx((4 + 1 + 6) / 60)


def test_training_means_are_over_cases(tmp_path: Path) -> None:
    """Of 1,438 pictures in batches of 1,000 and 438: each counts as much as any other."""
    norm = "[norm]\ntype=cost.sum2\ninputs=code\ncoeff=0\n"
    frozen = ("code.epsW=1e-30", "code.epsB=1e-30", "scores.epsW=1e-30", "scores.epsB=1e-30", "@train.epochs=1")
    go(spec("logreg", norm), tmp_path / "cut", *frozen, "@train.batch=1000")
    go(spec("logreg", norm), tmp_path / "whole", *frozen, "@train.batch=1438")
    cut, whole = (events(tmp_path / name, "validation")[0]["train"] for name in ("cut", "whole"))
    assert cut["cases"] == whole["cases"] == 1438
    assert cut["error"] == pytest.approx(whole["error"], abs=1e-9)
    for name, loss in whole["costs"].items():
        assert cut["costs"][name] == pytest.approx(loss, rel=1e-5)


def test_the_schedule_goes_by_the_first_cost_with_an_error_rate() -> None:
    norm = "[norm]\ntype=cost.sum2\ninputs=code\ncoeff=0.1\n"
    both = spec("logreg").replace(LABELS, norm + LABELS)
    assert [cost.name for cost in compiled(both).program.costs] == ["norm", "cost"]
    assert trained_cost(compiled(both).program).name == "cost"
    assert trained_cost(compiled(both, "cost.coeff=0").program).name == "norm"
    assert trained_cost(compiled(spec("rflickr", norm)).program).name == "cost"


def test_the_schedule_goes_by_a_value_where_there_is_no_rate(tmp_path: Path) -> None:
    """With a rate so small that nothing changes: a drop after the second validation, the end after the third."""
    plateau = ("@train.schedule=plateau", "@train.plateauPatience=1", "@train.plateauDrops=1", "@train.epochs=99")
    result = go(spec("sum2"), tmp_path / "run", *plateau, "code.epsW=1e-30", "code.epsB=1e-30")
    assert result.epochs == 3
    losses = [record["test"]["costs"]["cost"]["loss"] for record in events(tmp_path / "run", "validation")]
    assert losses == [result.best_error] * 3


def test_a_parent_reports_the_sum(tmp_path: Path) -> None:
    """Of itself and all below it, each once; training goes by the coefficients alone."""
    family = (
        "[a]\ntype=cost.sum2\ninputs=code\ncoeff=0.1\n"
        "[b]\ntype=cost.sum2\ninputs=data\ncoeff=0\nchildren=a\n"
        "[c]\ntype=cost.sum2\ninputs=code\ncoeff=0\nchildren=a,b\n"
    )
    result = go(HEAD + family, tmp_path / "run")
    assert result.validation is not None
    a, b, c = (result.validation.costs[name] for name in "abc")
    assert (a.total, b.total) == (None, pytest.approx(a.loss + b.loss))
    assert c.total == pytest.approx(a.loss + b.loss + c.loss)
    assert f"c {c.loss:.4f}, with its children {c.total:.4f}" in result.validation.text()
    alone = go(HEAD + "[a]\ntype=cost.sum2\ninputs=code\ncoeff=0.1\n", tmp_path / "alone")
    assert alone.validation is not None
    assert alone.validation.costs["a"] == a
    program = compiled(HEAD + family).program
    ones = {name: CostResult(1.0) for name in "abc"}
    assert with_totals(program, ones)["c"].total == 3
    grandchild = compiled(HEAD + family.replace("children=a,b", "children=b")).program
    assert with_totals(grandchild, ones)["c"].total == 3


def test_one_output_is_right_or_wrong(tmp_path: Path) -> None:
    """Of a single logistic output the error is that of the output, and the classes are 0 and 1."""
    text = (
        HEAD
        + LABELS
        + (
            "[yes]\ntype=fc\ninputs=code\noutputs=1\nneuron=logistic\n[cost]\ntype=cost.bce\ninputs=labels,yes\ncoeff=1\n"
        )
    )
    with pytest.raises(DiagnosticError, match="CS704: digits has 10 classes, and the network has 2 outputs"):
        go(text, tmp_path / "ten")
    two = _folder_of_two(tmp_path / "pictures")
    result = go(text, tmp_path / "run", "code.epsW=0.0001", "@train.epochs=10", data=str(two))
    assert result.validation is not None
    cost = result.validation.costs["cost"]
    assert cost.error == cost.output_error
    assert cost.error == 0


RECONSTRUCTION = (
    "[back]\ntype=fc\ninputs=code\noutputs=64\nepsW=0.0001\n"
    "[difference]\ntype=eltsum\ninputs=data,back\ncoeffs=1,-1\n"
    "[cost]\ntype=cost.sum2\ninputs=difference\ncoeff=0.001\n"
)


def test_an_autoencoder_learns_to_reconstruct(tmp_path: Path) -> None:
    """Without labels. What it loses falls to half of the energy of the pictures, which a code of nothing would lose."""
    result = go(HEAD + RECONSTRUCTION, tmp_path / "run", "@train.epochs=20", "@train.batch=64", "code.initW=0.01")
    first, *_, last = (record["test"]["costs"]["cost"]["loss"] for record in events(tmp_path / "run", "validation"))
    assert last < first / 2
    assert result.validation is not None
    assert result.validation.error is None


def test_labels_may_be_numbers_to_come_near(tmp_path: Path) -> None:
    """A distance to the number of the class, of which there can be any; and to tags, of which there are as many as classes."""
    distance = "[far]\ntype=eltsum\ninputs=labels,one\ncoeffs=1,-1\n[cost]\ntype=cost.sum2\ninputs=far\ncoeff=1\n"
    go(HEAD + LABELS + "[one]\ntype=fc\ninputs=code\noutputs=1\n" + distance, tmp_path / "one")
    first, last = (record["test"]["costs"]["cost"]["loss"] for record in events(tmp_path / "one", "validation"))
    assert last < first
    distance = distance.replace("labels,one", "tags,guesses")
    go(HEAD + TAGS + GUESSES + distance, tmp_path / "tags")
    first, last = (record["test"]["costs"]["cost"]["loss"] for record in events(tmp_path / "tags", "validation"))
    assert last < first


def test_targets_may_be_a_part_of_the_labels(tmp_path: Path) -> None:
    """Four classes among ten, as cuda-convnet2 slices data: the error is that of the slice."""
    part = TAGS + "start=2\nend=6\n" + GUESSES.replace("outputs=10", "outputs=4")
    text = HEAD.replace("data:1x8x8", "data:1x8x8,tags:10") + part
    result = go(text + "[cost]\ntype=cost.bce\ninputs=tags,guesses\ncoeff=1\n", tmp_path / "run", "@train.epochs=1")
    assert result.validation is not None
    cost = result.validation.costs["cost"]
    assert cost.error is not None
    assert 0.5 < cost.error <= 1  # six of ten digits are none of the four
    assert cost.output_error == pytest.approx(0.1, abs=0.02)  # one in ten is right, and nothing is declared yet


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_value_that_is_no_number_does_not_stop_a_run(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as no improvement, and is null in what is written."""
    text, seen = spec("sum2"), []

    def spoilt(cost: Any, sums: Any, cases: int) -> CostResult:
        seen.append(cost_result(cost, sums, cases))
        return seen[-1]._replace(loss=value) if len(seen) == 1 else seen[-1]

    monkeypatch.setattr("convspec.train.evaluate.cost_result", spoilt)
    done = go(text, tmp_path / "run", "@train.schedule=plateau", "@train.epochs=3")
    losses = [record["test"]["costs"]["cost"]["loss"] for record in events(tmp_path / "run", "validation")]
    assert losses == [None, seen[1].loss, seen[2].loss]
    assert done.best_error == min(losses[1:])


def _folder_of_two(folder: Path) -> Path:
    from PIL import Image

    for label, grey in (("dark", 20), ("light", 220)):
        (folder / label).mkdir(parents=True)
        for i in range(12):
            Image.new("L", (9, 9), grey + i).save(folder / label / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("scores", "targets", "expected"),
    [
        ([0.1, 0.7, 0.2], [0, 1, 0], 1.0),
        ([0.1, 0.7, 0.2], [1, 0, 1], 0.0),
        ([0.1, 0.7, 0.2], [0, 0.2, 0], 1.0),  # any target above 0 is right
        ([0.4, 0.4, 0.2], [0, 1, 0], 0.5),
        ([0.4, 0.4, 0.2], [1, 1, 0], 0.5),  # as the originals have it: the tie costs half of it
        ([0.4, 0.4, 0.2], [0, 0, 1], 0.0),
        ([0.3, 0.3, 0.3], [0, 0, 1], 1 / 3),
        ([0.3, 0.3, 0.3], [0, 0, 0], 0.0),  # nothing is right
        ([float("nan")] * 3, [1, 1, 1], 0.0),
    ],
)
def test_credit_where_several_may_be_right(scores: list[float], targets: list[float], expected: float) -> None:
    assert shared_credit(torch.tensor([scores]), torch.tensor([targets])).tolist() == pytest.approx([expected])


def test_outputs_on_the_wrong_side() -> None:
    outputs = torch.tensor([[0.5, 0.51, 0.9, 0.1], [0.0, 1.0, 1.0, 0.0]])
    targets = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.3]])
    assert wrong_outputs(outputs, targets).tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HEAD + "[other]\ntype=data\ndataIdx=3\n[cost]\ntype=cost.gsum2\ninputs=other,code\ncoeff=1\n", "CS730"),
        (HEAD + "[cost]\ntype=cost.sum2\ninputs=data\ncoeff=1\n", "CS602: no layer below cost has anything to learn"),
        (
            HEAD.replace("epsW=0.00001", "epsW=0\nepsB=0") + "[cost]\ntype=cost.sum2\ninputs=code\ncoeff=1\n"
            "[other]\ntype=fc\ninputs=data\noutputs=2\n[still]\ntype=cost.sum2\ninputs=other\ncoeff=0\n",
            "CS602: no layer below cost has anything to learn",
        ),
        (spec("bce").replace("classes=10", "classes=9").replace("outputs=10", "outputs=9"), "CS704"),
        (spec("crossent").replace("classes=10", "classes=9").replace("outputs=10", "outputs=9"), "CS704: digits has"),
        (spec("msm").replace("classes=10", "classes=9").replace("outputs=10", "outputs=9"), "CS704: .*9 outputs"),
    ],
)
def test_what_cannot_be_trained(text: str, problem: str, tmp_path: Path) -> None:
    inputs = {"other": (1,)} if "[other]\ntype=data" in text else {}
    with pytest.raises(DiagnosticError, match=problem):
        train(compile_spec(text, inputs=inputs), run_dir=tmp_path / "run", display=SilentDisplay())


def test_pictures_alone_may_be_of_one_class(tmp_path: Path) -> None:
    """Where nothing reads labels, there need not be two."""
    from PIL import Image

    (tmp_path / "set" / "only").mkdir(parents=True)
    for i in range(8):
        Image.new("L", (9, 9), 30 * i).save(tmp_path / "set" / "only" / f"{i}.png")
    result = go(spec("sum2"), tmp_path / "run", data=str(tmp_path / "set"))
    assert result.validation is not None
    with pytest.raises(DiagnosticError, match="CS704"):
        go(spec("crossent"), tmp_path / "other", data=str(tmp_path / "set"))
