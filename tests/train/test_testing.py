"""Ten views, ensembles, error rates and confusion against independent NumPy in float64; and what is refused."""

from __future__ import annotations

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from convspec.data.augmentation import Place
from convspec.data.views import cut_views, views_of
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.program.costs import (
    BinaryCrossEntropy,
    Cost,
    CrossEntropy,
    LogSquareError,
    NegativeLogLikelihood,
    SubsetCrossEntropy,
    SumOfSquares,
)
from convspec.program.shape import Shape
from convspec.train.averaging import averaged_loss, averaged_value, probabilities
from convspec.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from convspec.train.confusion import Confusion, Mistake
from convspec.train.predictions import Guesses
from convspec.train.testing import Result, Test
from convspec.train.trained import open_trained
from tests.train import averages
from tests.train.small_runs import CLASSES, STORED, TEST_PICTURES, make_run, read_folder, write_folder

FLOAT32 = {"rtol": 2e-4, "atol": 2e-5}
"""Scores up to 10, of sums of 27 and of 144 products in float32."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, Path]:
    """Two networks of one kind, whose inputs are of different sizes."""
    folder = tmp_path_factory.mktemp("runs")
    return make_run(folder / "a", data), make_run(folder / "b", data, side=7, seed=1, more_data="views=10")


def go(*runs: Path, views: int | None = None, **options: object) -> tuple[Result, np.ndarray, list[Diagnostic]]:
    """The result, the averaged predictions (N, classes), and what was told."""
    told: list[Diagnostic] = []
    taken: list[Guesses] = []
    opened = [open_trained(run, device="cpu", notify=told.append) for run in runs]
    with Test(opened, views=views, notify=told.append, **options) as test:  # type: ignore[arg-type]
        result = test.run(take=taken.append)
    return result, np.concatenate([each.probabilities for each in taken]), told


def weights(run: Path) -> averages.Weights:
    newest = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    return {name: tensor.double().numpy() for name, tensor in newest.weights.items()}


def expected(run: Path, data: Path, side: int, views: int, twist: str = "") -> np.ndarray:
    pictures, training = (read_folder(data, split)[0].astype(np.float64) for split in ("val", "train"))
    return averages.predictions(pictures, training, weights(run), side, views, twist)


def labels_of(data: Path) -> list[int]:
    return read_folder(data, "val")[1]


# against NumPy


@pytest.mark.parametrize("views", [1, 10])
def test_one_run(runs: tuple[Path, Path], data: Path, views: int) -> None:
    result, found, told = go(runs[0], views=views)
    wanted, labels = expected(runs[0], data, 8, views), labels_of(data)
    assert_allclose(found, wanted, **FLOAT32)
    [outcome] = result.runs
    cost = outcome.validation.costs["logprob"]
    assert (outcome.views, result.pictures, cost.k) == (views, len(labels), 2)
    assert cost.error == pytest.approx(averages.error(wanted, labels, 1))
    assert cost.topk_error == pytest.approx(averages.error(wanted, labels, 2))
    assert outcome.top5 == pytest.approx(averages.error(wanted, labels, 5))
    assert cost.loss == pytest.approx(averages.loss(wanted, labels), rel=1e-4)
    assert 0.1 < cost.error < 1  # neither all right nor all wrong: the rates say something
    assert result.confusion is not None
    assert_allclose(list(result.confusion.rows()), averages.confusion(wanted, labels))
    assert (result.together, told) == (None, [])


@pytest.mark.parametrize("twist", ["before the softmax", "upside down", "not mirrored", "corner", "centre"])
def test_the_comparison_would_see_it(runs: tuple[Path, Path], data: Path, twist: str) -> None:
    broken = expected(runs[0], data, 8, 10, twist)
    _, found, _ = go(runs[0], views=10)
    assert not np.allclose(found, broken, **FLOAT32)


@pytest.mark.parametrize("views", [1, 10])
def test_two_runs_are_averaged(runs: tuple[Path, Path], data: Path, views: int) -> None:
    first, second = expected(runs[0], data, 8, views), expected(runs[1], data, 7, views)
    result, found, _ = go(*runs, views=views)
    wanted, labels = (first + second) / 2, labels_of(data)
    assert_allclose(found, wanted, **FLOAT32)
    for outcome, alone in zip(result.runs, (first, second), strict=True):
        assert outcome.validation.error == pytest.approx(averages.error(alone, labels, 1))
        assert outcome.validation.costs["logprob"].loss == pytest.approx(averages.loss(alone, labels), rel=1e-4)
    assert result.together is not None
    assert result.together.cost.error == pytest.approx(averages.error(wanted, labels, 1))
    assert result.together.cost.topk_error == pytest.approx(averages.error(wanted, labels, 2))
    assert result.together.top5 == pytest.approx(averages.error(wanted, labels, 5))
    assert result.together.cost.loss == pytest.approx(averages.loss(wanted, labels), rel=1e-4)
    assert result.confusion is not None
    assert_allclose(list(result.confusion.rows()), averages.confusion(wanted, labels))
    # averages of the logarithms, and of one run twice, are something else
    assert not np.allclose(found, averages.softmax(np.log(first) + np.log(second)), **FLOAT32)
    assert not np.allclose(found, first, **FLOAT32)


def test_the_spec_says_how_many_views(runs: tuple[Path, Path], data: Path) -> None:
    result, found, _ = go(*runs)
    assert [outcome.views for outcome in result.runs] == [1, 10]
    assert_allclose(found, (expected(runs[0], data, 8, 1) + expected(runs[1], data, 7, 10)) / 2, **FLOAT32)


@pytest.mark.parametrize("batch", [1, 10, 27, 1000])
def test_the_number_of_views_a_pass_changes_nothing(runs: tuple[Path, Path], data: Path, batch: int) -> None:
    result, found, _ = go(*runs, views=10, batch=batch)
    wanted, _, _ = go(*runs, views=10)
    assert_allclose(found, go(*runs, views=10)[1], rtol=1e-5, atol=1e-6)
    assert result.runs[0].validation.error == wanted.runs[0].validation.error


def test_one_view_is_what_validation_said(runs: tuple[Path, Path]) -> None:
    lines = (runs[0] / "metrics.jsonl").read_text().splitlines()
    [validation] = [json.loads(line) for line in lines if '"validation"' in line]
    result, _, _ = go(runs[0], views=1)
    assert result.runs[0].validation.record() == validation["test"]


def test_a_test_can_be_run_again(runs: tuple[Path, Path]) -> None:
    with Test([open_trained(run, device="cpu") for run in runs]) as test:
        first, again = test.run(), test.run()
    assert (again.runs, again.together) == (first.runs, first.together)


def test_views_of_a_picture_no_larger_than_the_input_are_two(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path / "run", data, side=STORED)
    result, found, _ = go(run, views=10)
    assert result.runs[0].views == 2
    assert_allclose(found, expected(run, data, STORED, 10), **FLOAT32)


def test_ties_share_their_places(tmp_path: Path, data: Path) -> None:
    """A network that says the same of every class has a sixth of the pictures right, and two sixths with two guesses."""
    run = make_run(tmp_path / "run", data)
    [*_, newest] = list_checkpoints(run / "checkpoints")
    old = load_checkpoint(newest)
    save_checkpoint(
        run / "checkpoints",
        type(old)({n: torch.zeros_like(w) for n, w in old.weights.items()}, old.training, old.state),
        keep=1,
    )
    for views in (1, 10):
        result, _, _ = go(run, run, views=views)
        cost = result.runs[0].validation.costs["logprob"]
        assert (cost.error, cost.topk_error) == (pytest.approx(5 / 6), pytest.approx(4 / 6))
        assert result.runs[0].top5 == pytest.approx(1 / 6)
        assert result.together is not None
        assert result.together.cost.error == pytest.approx(5 / 6)
        assert result.confusion is not None
        assert_allclose(list(result.confusion.rows()), np.full((6, 6), TEST_PICTURES / 6))


# views


def test_places_of_views() -> None:
    assert views_of((256, 256), (227, 227), 1) == (Place(14, 14, False),)
    ten = views_of((256, 256), (224, 224), 10)
    assert {view[:2] for view in ten} == {(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)}
    assert len(set(ten)) == 10
    assert sum(view.is_mirrored for view in ten) == 5
    assert views_of((8, 8), (8, 8), 10) == (Place(0, 0, False), Place(0, 0, True))
    assert len(views_of((8, 9), (8, 8), 10)) == 10


def test_views_are_cut_from_each_picture() -> None:
    pictures = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    out = np.zeros((2, 2, 3, 2, 3), np.uint8)
    cut_views(pictures, [Place(1, 2, False), Place(0, 3, True)], out)
    for n in range(2):
        assert np.array_equal(out[n, 0], pictures[n, 1:4, 2:4])
        assert np.array_equal(out[n, 1], pictures[n, 0:3, [4, 3]].swapaxes(0, 1))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 9), st.integers(0, 9), st.sampled_from([1, 10]))
def test_views_lie_within_the_picture(height: int, width: int, down: int, right: int, count: int) -> None:
    stored = (height + down, width + right)
    views = views_of(stored, (height, width), count)
    pictures = np.random.default_rng(0).integers(0, 256, (2, *stored, 3), np.uint8)
    out = np.empty((2, len(views), height, width, 3), np.uint8)
    cut_views(pictures, views, out)
    mirrored = [out[:, i] for i, view in enumerate(views) if view.is_mirrored]
    plain = [out[:, i] for i, view in enumerate(views) if not view.is_mirrored]
    for crop, other in zip(plain, mirrored, strict=count > 1):
        assert np.array_equal(crop[:, :, ::-1], other)
    for view, crop in zip(views, plain, strict=False):
        assert np.array_equal(crop, pictures[:, view.top : view.top + height, view.left : view.left + width])
    corners = {(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)}
    assert {view[:2] for view in views} == (corners if count == 10 else {(down // 2, right // 2)})


# costs of averages


def cost_of(kind: type[Cost], **given: object) -> Cost:
    judged = {} if kind in (LogSquareError, SumOfSquares) else {"predictions": "y"}
    inputs = ("y",) if kind is SumOfSquares else ("t", "y")
    shape = Shape.of_vector(1)
    return kind(name="cost", inputs=inputs, shape=shape, layers=("cost",), coefficient=1.0, **(judged | given))  # type: ignore[arg-type]


def test_costs_of_averages() -> None:
    random = np.random.default_rng(0)
    y = random.dirichlet(np.ones(5), 3)
    labels, sets = np.array([0, 3, 4]), random.integers(0, 2, (3, 5)).astype(np.float64)
    average, t = torch.from_numpy(y), torch.from_numpy(sets)
    cases: list[tuple[Cost, torch.Tensor, float]] = [
        (cost_of(NegativeLogLikelihood, top_k=1), torch.from_numpy(labels), -np.log(y[range(3), labels]).mean()),
        (cost_of(CrossEntropy), t, -(sets * np.log(y)).sum(1).mean()),
        (
            cost_of(BinaryCrossEntropy, positive_weight=3.0),
            t,
            -(3 * sets * np.log(y) + (1 - sets) * np.log(1 - y)).sum(1).mean(),
        ),
        (cost_of(LogSquareError), t, np.log(1 + (y - sets) ** 2).sum(1).mean()),
    ]
    for cost, targets, wanted in cases:
        assert averaged_value(cost) == "y"
        assert torch.equal(probabilities(cost, average.float()), average.float().double())
        found = averaged_loss(cost, average, targets)
        assert found is not None
        assert float(found) == pytest.approx(wanted)
    assert averaged_value(cost_of(SumOfSquares)) is None
    assert averaged_loss(cost_of(SumOfSquares), average, t) is None


def test_energies_become_the_probability_to_be_in_the_set() -> None:
    """By all sets, one by one; where the average is taken of energies, it is something else."""
    energies = np.random.default_rng(0).normal(0, 3, (4, 6))
    cost = cost_of(SubsetCrossEntropy, set_size=3)
    wanted = np.zeros((4, 6))
    for row, e in zip(wanted, energies, strict=True):
        sets = list(combinations(range(6), 3))
        chances = np.exp([e[list(members)].sum() for members in sets])
        for members, chance in zip(sets, chances / chances.sum(), strict=True):
            row[list(members)] += chance
    with torch.inference_mode():
        found = probabilities(cost, torch.from_numpy(energies))
        assert_allclose(found.numpy(), wanted, rtol=1e-9)
        loss = averaged_loss(cost, found.mean(0, keepdim=True), torch.tensor([2]))
    assert loss is not None
    assert float(loss) == pytest.approx(-np.log(wanted.mean(0)[2]))
    together = probabilities(cost, torch.from_numpy(energies).mean(0, keepdim=True))
    assert not np.allclose(together.numpy()[0], wanted.mean(0), rtol=1e-2)


OTHER_COSTS = {
    "crossent": "[probs]\ntype=softmax\ninputs=fc2\n[cost]\ntype=cost.crossent\ninputs=labels,probs\ncoeff=1\n",
    "bce": "[probs]\ntype=neuron\nneuron=logistic\ninputs=fc2\n[cost]\ntype=cost.bce\ninputs=labels,probs\ncoeff=1\n",
}


@pytest.mark.parametrize("kind", OTHER_COSTS)
def test_costs_with_a_target_a_class(tmp_path: Path, data: Path, kind: str) -> None:
    top = OTHER_COSTS[kind]
    run = make_run(tmp_path / "run", data, top=top, labels=2)
    result, found, _ = go(run, run, views=10)
    labels = labels_of(data)
    cost = result.runs[0].validation.costs["cost"]
    assert cost.error == pytest.approx(averages.error(found, labels, 1))
    targets = np.eye(len(CLASSES))[labels]
    wanted = targets * np.log(found) + (0 if kind == "crossent" else (1 - targets) * np.log(1 - found))
    assert cost.loss == pytest.approx(-wanted.sum(1).mean(), rel=1e-4)
    assert result.together is not None
    assert result.together.cost.loss == pytest.approx(cost.loss)
    if kind == "bce":
        wrong = ((found > 0.5) != targets).mean()
        assert cost.output_error == pytest.approx(wrong)
    assert result.confusion is not None


def test_a_cost_of_a_set_of_classes(tmp_path: Path, data: Path) -> None:
    top = "[cost]\ntype=cost.msm\ninputs=labels,fc2\ncoeff=1\nsetSize=2\n"
    result, found, _ = go(make_run(tmp_path / "run", data, top=top), views=10)
    assert_allclose(found.sum(1), 2)
    cost = result.runs[0].validation.costs["cost"]
    assert cost.loss == pytest.approx(averages.loss(found, labels_of(data)))
    assert (cost.k, cost.topk_error) == (2, pytest.approx(averages.error(found, labels_of(data), 2)))


AUTOENCODER = "[back]\ntype=fc\ninputs=fc2\noutputs=192\ninitW=0.01\n[lost]\ntype=eltsum\ninputs=data,back\ncoeffs=1,-1\n[cost]\ntype=cost.sum2\ninputs=lost\ncoeff=0.0000001\n"


def test_a_network_without_classes_has_costs_alone(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path / "run", data, top=AUTOENCODER, labels=0)
    opened = open_trained(run, device="cpu")
    with Test([opened], views=1) as test:
        one = test.run()
        with pytest.raises(DiagnosticError, match=r"CS740: .*: there are no predictions"):
            _ = test.classes
    line = (run / "metrics.jsonl").read_text().splitlines()[-1]
    assert one.runs[0].validation.record() == json.loads(line)["test"]
    assert one.runs[0].validation.error is None
    with Test([opened], views=10) as test:
        ten = test.run()
    assert ten.runs[0].validation.costs["cost"].loss != one.runs[0].validation.costs["cost"].loss
    with pytest.raises(DiagnosticError, match=r"CS740: .* predicts no classes that could be averaged"):
        Test([opened, opened])


# other data, and runs that do not fit


def test_a_folder_that_is_not_the_runs_own_is_tested_as_a_whole(
    runs: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    for name in ("fox", "bee"):
        shutil.copytree(data / "val" / name, tmp_path / "some" / name)
    result, found, _ = go(runs[0], data=str(tmp_path / "some"))
    assert (result.pictures, result.classes) == (2 * TEST_PICTURES, CLASSES)
    labels = np.array(labels_of(data))
    wanted = expected(runs[0], data, 8, 1)
    assert_allclose(found, np.concatenate([wanted[labels == 1], wanted[labels == 5]]), **FLOAT32)
    only = tmp_path / "only" / "cat"
    only.mkdir(parents=True)
    shutil.copy(data / "val" / "cat" / "0.png", only / "0.png")
    assert go(runs[0], data=str(only.parent))[0].pictures == 1
    # with train and val of its own, val alone
    assert go(runs[0], data=str(data) + "/")[0].pictures == len(labels)


def test_runs_that_cannot_be_averaged(runs: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "other", classes=CLASSES[:5])
    fewer = make_run(tmp_path / "fewer", other, classes=5)
    crossent = make_run(tmp_path / "crossent", data, top=OTHER_COSTS["crossent"], labels=2)
    wider = make_run(tmp_path / "wider", data, outputs=7, classes=7)
    renamed = write_folder(tmp_path / "renamed", classes=("ant", "bee", "cow", "dog", "eel", "fox"))
    again = make_run(tmp_path / "again", renamed)
    for second, data_given, says in (
        (fewer, None, f"they were trained on {data} and {other}"),
        (fewer, str(other), "they tell 6 and 5 classes apart"),
        (crossent, None, "their costs judge different things"),
        (wider, None, "they tell 6 and 7 classes apart"),
        (again, str(tmp_path / "part"), "class 2 is 'cat' to one and 'cow' to the other"),
    ):
        if data_given is not None and not Path(data_given).exists():
            shutil.copytree(data / "val" / "dog", tmp_path / "part" / "dog")
        with pytest.raises(DiagnosticError) as caught:
            go(runs[0], second, data=data_given)
        [diagnostic] = caught.value.diagnostics
        assert diagnostic.code == "CS741"
        assert diagnostic.message.endswith(says)
        assert diagnostic.help


def test_labels_that_differ_are_seen(runs: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    """Two folders under one name, as when a path means something else in each of two places."""
    opened = [open_trained(run, device="cpu") for run in runs]
    with Test(opened) as test:
        test._members[1].dataset = relabelled = type(test._members[0].dataset).__new__(type(test._members[0].dataset))
        relabelled.__dict__ = dict(test._members[0].dataset.__dict__)
        relabelled._labels = {split: labels[::-1] for split, labels in relabelled._labels.items()}
        with pytest.raises(DiagnosticError, match=r"CS741: .* give other labels to the same picture"):
            test.run()


def test_predictions_that_are_not_finite_are_told(tmp_path: Path, data: Path) -> None:
    run = make_run(tmp_path / "run", data)
    [*_, newest] = list_checkpoints(run / "checkpoints")
    old = load_checkpoint(newest)
    broken = {**old.weights, "fc2.bias": torch.full_like(old.weights["fc2.bias"], float("nan"))}
    save_checkpoint(run / "checkpoints", type(old)(broken, old.training, old.state), keep=1)
    result, _, told = go(run, views=10)
    assert [(d.code, d.severity) for d in told] == [("CS707", Severity.WARNING)]
    assert told[0].message.startswith("30 of 30 predictions")
    assert result.runs[0].validation.error == 1
    assert result.confusion is not None
    assert not np.array(list(result.confusion.rows())).any()


# confusion


def test_mistakes_come_by_how_many_they_are() -> None:
    confusion = Confusion(["a", "b", "c"])
    confusion.add(np.array([[0.2, 0.8, 0.0], [0.1, 0.7, 0.2], [0.9, 0.1, 0.0]]), np.array([0, 0, 0]))
    confusion.add(np.array([[0.4, 0.2, 0.4], [np.nan, 0.0, 0.0]]), np.array([1, 2]))
    assert confusion.mistakes() == [Mistake(0, 1, 2.0, 3), Mistake(1, 0, 0.5, 1), Mistake(1, 2, 0.5, 1)]
    assert np.array(list(confusion.rows())).tolist() == [[1, 2, 0], [0.5, 0, 0.5], [0, 0, 0]]
