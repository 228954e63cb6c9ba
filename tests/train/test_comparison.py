"""Specs against each other: curves and steps to a target against NumPy, the choice of a rate, what is done again."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from convspec.diagnostics import DiagnosticError
from convspec.train import trainings as module
from convspec.train.comparison import Comparison, Contender, compare
from convspec.train.display import SilentDisplay
from convspec.train.metrics import Point, Quantity, curve, read_metrics, thinned
from convspec.train.run import RunFolder
from convspec.train.target import Target
from convspec.train.trainings import Ending, Progress, Trainings
from tests.train.racing import RELU, records, running_error, write_specs

STEPS = 23  # 1,438 digits in minibatches of 64
SUM = RELU[RELU.index("[conv1]") : RELU.index("[probs]")] + "[sum]\ntype=cost.sum2\ninputs=fc2\ncoeff=1\n"
QUARTER = Target(Quantity.TRAIN_ERROR, 0.25)


def trainings(folder: Path, **more: object) -> Trainings:
    return Trainings(folder, None, "cpu", lambda diagnostic: None, lambda name: SilentDisplay(), **more)  # type: ignore[arg-type]


def race(
    folder: Path, *, target: Target = QUARTER, rates: tuple[float, ...] = (), seeds: int = 1, **more: object
) -> Comparison:
    specs = write_specs(folder)
    contenders = [Contender(name, spec, {}) for name, spec in zip(("relu", "tanh"), specs, strict=True)]
    return compare(
        contenders, target=target, rates=rates, seeds=range(seeds), trainings=trainings(folder / "out", **more)
    )


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return race(tmp_path_factory.mktemp("race"), rates=(0.00001, 0.0004, 0.0002), seeds=2)


def test_the_means_so_far_are_those_of_the_steps(raced: Comparison) -> None:
    """The loss of each step stands beside them: 64 cases each, and 30 in the last of an epoch."""
    steps = records(raced.racers[0].attempts[0].trained.folder, "step")[: 2 * STEPS]
    for first in (0, STEPS):
        losses, cases = np.array([r["loss"] for r in steps[first : first + STEPS]]), np.full(STEPS, 64.0)
        cases[-1] = 30
        expected = np.cumsum(losses * cases) / np.cumsum(cases)
        found = [record["so_far"]["loss"] for record in steps[first : first + STEPS]]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert [record["so_far"]["cases"] for record in steps[first : first + STEPS]] == np.cumsum(cases).tolist()


def test_curves_and_steps_to_the_target_are_those_of_numpy(raced: Comparison) -> None:
    for racer in raced.racers:
        assert [attempt.seed for attempt in racer.attempts] == [0, 1]
        for attempt in (*racer.attempts, *racer.rejected):
            expected = running_error(attempt.trained.folder, STEPS)
            np.testing.assert_allclose([point.value for point in attempt.points], expected, rtol=1e-12)
            below = np.flatnonzero(expected <= 0.25)
            assert attempt.reached == (below[0] + 1 if len(below) else None)
            ends = {r["step"]: r["train"]["error"] for r in records(attempt.trained.folder, "validation")}
            assert {p.step: p.value for p in attempt.points if p.step % STEPS == 0} == pytest.approx(ends)
        reached = [attempt.reached for attempt in racer.attempts]
        assert racer.steps == np.mean(reached)
        assert racer.spread == pytest.approx(np.std(reached, ddof=1))


def test_each_spec_takes_the_rate_that_is_fastest_and_gives_up_the_others_in_time(raced: Comparison) -> None:
    for racer in raced.racers:
        best = racer.attempts[0].reached
        assert best is not None
        by_rate = {attempt.rate: attempt for attempt in racer.rejected}
        assert len(by_rate) == 2
        assert all(attempt.reached is None or attempt.reached > best for attempt in by_rate.values())
        # The first that is tried has nothing to give up for, and does all of its epochs.
        assert by_rate[0.00001].trained.ending is Ending.FINISHED
        assert by_rate[0.00001].trained.progress.steps == 8 * STEPS
        slower = min(attempt.trained.progress.steps for attempt in by_rate.values())
        assert slower <= -(-max(best, *(a.reached or 0 for a in by_rate.values())) // STEPS) * STEPS
        assert all(each.trained.progress.steps % STEPS == 0 for each in racer.attempts)


def test_a_rate_is_given_up_when_it_has_taken_as_long_as_a_better_one(tmp_path: Path) -> None:
    for racer in race(tmp_path, rates=(0.0004, 0.00001)).racers:
        best = racer.attempts[0].reached
        assert best is not None
        (slow,) = racer.rejected
        assert slow.trained.ending is Ending.ENOUGH
        assert slow.reached is None
        assert slow.trained.progress.steps == -(-best // STEPS) * STEPS


def test_the_fastest_and_the_ratio(raced: Comparison) -> None:
    relu, tanh = raced.racers
    assert relu.steps is not None
    assert tanh.steps is not None
    assert raced.fastest is (relu if relu.steps <= tanh.steps else tanh)
    slower = next(racer for racer in raced.racers if racer is not raced.fastest)
    assert raced.ratio(slower) == pytest.approx(max(relu.steps, tanh.steps) / min(relu.steps, tanh.steps))
    record = raced.record()
    assert record["ratios"] == [{"spec": slower.name, "times": raced.ratio(slower), "is_bound": False}]
    assert (record["data"], record["train_pictures"], record["test_pictures"]) == ("digits", 1438, 359)
    last = record["specs"][0]["trainings"][0]
    assert last["curve"] == [list(point) for point in relu.attempts[0].points]
    assert last["steps_to_target"] == relu.attempts[0].reached


def test_what_has_ended_is_not_trained_again(raced: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "train", refuse)
    folder = raced.racers[0].attempts[0].trained.folder.parents[1]
    assert race(folder, rates=(0.00001, 0.0004, 0.0002), seeds=2).record() == raced.record()
    with pytest.raises(AssertionError, match="trained again"):
        race(folder, rates=(0.00001, 0.0004, 0.0002), seeds=3)


JUNK = '{"event": "step", "epoch": 3, "step": 47, "so_far": {"cases": 512, "loss": 0, "error": 0}}\n{"ev'


@pytest.mark.parametrize("steps", [30, 2 * STEPS], ids=["in mid-epoch", "at its end"])
def test_a_training_that_was_killed_ends_as_if_it_had_not_been(raced: Comparison, steps: int, tmp_path: Path) -> None:
    """Its newest checkpoint is of `steps`, and metrics.jsonl is ahead of it, with what counts for nothing."""
    write_specs(tmp_path)
    contender = Contender("relu", tmp_path / "relu.cfg", {})
    whole = raced.racers[0].attempts[0]
    compiled = contender.compiled(whole.rate, 0)
    name = whole.trained.folder.name
    most = steps if steps % STEPS else None
    trainings(tmp_path, max_steps=most).carry_out(name, compiled, lambda progress: progress.steps >= steps)
    with (tmp_path / name / "metrics.jsonl").open("a") as file:
        file.write(JUNK)
    again = trainings(tmp_path).carry_out(name, compiled, is_at_a_quarter)
    assert again.ending is Ending.ENOUGH
    points = curve(again.progress.records, QUARTER.quantity, again.progress.steps_per_epoch)
    assert points == list(whole.points)


def test_a_target_that_is_reached_in_mid_epoch_is_enough_at_its_end(raced: Comparison, tmp_path: Path) -> None:
    write_specs(tmp_path)
    whole = raced.racers[0].attempts[0]
    assert whole.reached is not None
    assert whole.reached % STEPS not in (0, STEPS - 1)
    compiled = Contender("relu", tmp_path / "relu.cfg", {}).compiled(whole.rate, 0)
    stopped = trainings(tmp_path, max_steps=whole.reached + 1).carry_out("relu", compiled, is_at_a_quarter)
    assert (stopped.ending, stopped.progress.steps) == (Ending.FINISHED, whole.reached + 1)
    again = trainings(tmp_path).carry_out("relu", compiled, is_at_a_quarter)
    assert (again.ending, again.progress.steps) == (Ending.ENOUGH, whole.trained.progress.steps)


def is_at_a_quarter(progress: Progress) -> bool:
    return QUARTER.reached(curve(progress.records, QUARTER.quantity, STEPS)) is not None


@pytest.mark.parametrize(
    ("quantity", "value"),
    [(Quantity.TRAIN_LOSS, 1.5), (Quantity.TEST_LOSS, 1.5), (Quantity.TEST_ERROR, 0.4)],
    ids=lambda each: str(each.value if isinstance(each, Quantity) else each),
)
def test_other_targets(raced: Comparison, quantity: Quantity, value: float) -> None:
    attempt = raced.racers[0].attempts[0]
    folder = attempt.trained.folder
    points = curve(read_metrics(folder), quantity, STEPS)
    ends = records(folder, "validation")
    if quantity is Quantity.TRAIN_LOSS:
        expected = {record["step"]: record["train"]["loss"] for record in ends}
    else:
        cost = [record["test"]["costs"]["logprob"] for record in ends]
        key = "error" if quantity.is_error else "loss"
        expected = {record["step"]: each[key] for record, each in zip(ends, cost, strict=True)}
        assert [point.step for point in points] == [record["step"] for record in ends]
    assert {point.step: point.value for point in points if point.step in expected} == pytest.approx(expected)
    first = Target(quantity, value).reached(points)
    assert first == next(point.step for point in points if point.value <= value)
    assert Target(quantity, -1.0).reached(points) is None


def test_a_spec_that_never_gets_there_bounds_the_ratio(tmp_path: Path) -> None:
    comparison = race(tmp_path, target=Target(Quantity.TEST_ERROR, 0.3), max_steps=2 * STEPS)
    assert [racer.steps is None for racer in comparison.racers].count(True) >= 1
    for racer in comparison.racers:
        assert racer.least == (racer.steps or 2 * STEPS)
    if comparison.fastest is None:
        assert comparison.record()["ratios"] == []


def test_a_rate_at_which_the_loss_explodes_is_no_choice_and_is_not_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = race(tmp_path, rates=(3e38, 0.0002), max_steps=STEPS)
    for racer in comparison.racers:
        assert racer.rate == 0.0002
        (rejected,) = racer.rejected
        assert rejected.trained.ending is Ending.DIVERGED
        assert "is not finite" in rejected.trained.trouble
        assert rejected.record()["trouble"] == rejected.trained.trouble
    monkeypatch.setattr(module, "train", None)
    assert race(tmp_path, rates=(3e38, 0.0002), max_steps=STEPS).record() == comparison.record()


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (("1x8x8", "1x6x6"), "CS735", "relu and other do not see the same: input 1x8x8 and 1x6x6"),
        (("provider=digits", "provider=photos\nsize=16\nsamples=2\ntestSamples=1"), "CS704", "photos has 16 classes"),
        (("epsW=0.0002\nepsB=0.0004", "epsW=0\nepsB=0"), "CS602", "every learning rate"),
        (("filterSize=3", "filterSize=33"), "CS403", ""),
        ((RELU[RELU.index("[labels]") :], SUM), "CS735", "no error rate"),
    ],
    ids=["input", "data", "frozen", "mistake", "no error"],
)
def test_what_cannot_be_compared_is_said_before_anything_is_trained(
    change: tuple[str, str], code: str, says: str, tmp_path: Path
) -> None:
    write_specs(tmp_path)
    assert change[0] in RELU
    (tmp_path / "other.cfg").write_text(RELU.replace(*change))
    contenders = [Contender(name, tmp_path / f"{name}.cfg", {}) for name in ("relu", "other")]
    with pytest.raises(DiagnosticError) as caught:
        compare(contenders, target=QUARTER, rates=(), seeds=[0], trainings=trainings(tmp_path / "out"))
    assert code in [diagnostic.code for diagnostic in caught.value.diagnostics]
    assert says in caught.value.diagnostics[0].message
    assert not (tmp_path / "out").exists()


def test_the_folder_of_another_comparison_is_left_alone(tmp_path: Path) -> None:
    race(tmp_path, max_steps=2)
    before = (tmp_path / "out" / "relu-rate0.0002-seed0" / "metrics.jsonl").read_bytes()
    contenders = [Contender("relu", tmp_path / "relu.cfg", {"overrides": ("conv1.filters=5",)})]
    with pytest.raises(DiagnosticError, match="made from another spec") as caught:
        compare(contenders, target=QUARTER, rates=(), seeds=[0], trainings=trainings(tmp_path / "out"))
    assert "-o" in (caught.value.diagnostics[0].help or "")
    assert (tmp_path / "out" / "relu-rate0.0002-seed0" / "metrics.jsonl").read_bytes() == before


def test_a_curve_without_every_step_is_of_all_its_pictures() -> None:
    """Records of each tenth step say what came in the nine between them; of an epoch without validation the tail is gone."""
    rng = np.random.default_rng(3)
    wrong = rng.integers(0, 8, 60)
    written = []
    for epoch in range(3):
        own = wrong[20 * epoch : 20 * epoch + 20]
        for step in (1, 11):
            sums = {"cases": 8 * step, "loss": 1.0, "error": own[:step].sum() / (8 * step)}
            written.append({"event": "step", "epoch": epoch + 1, "step": 20 * epoch + step, "so_far": sums})
        if epoch != 1:
            sums = {"cases": 160, "loss": 1.0, "error": own.sum() / 160}
            written.append(
                {"event": "validation", "epoch": epoch + 1, "step": 20 * epoch + 20, "train": sums, "test": {}}
            )
    points = dict(curve(written, Quantity.TRAIN_ERROR, 20))
    assert points[1] == wrong[0] / 8
    assert points[11] == pytest.approx(wrong[:11].mean() / 8)
    assert points[20] == pytest.approx(wrong[:20].mean() / 8)
    assert points[31] == pytest.approx(wrong[11:31].mean() / 8)
    assert points[60] == pytest.approx(wrong[40:].mean() / 8)
    assert 40 not in points


@pytest.mark.parametrize("line", ["[1]", "{}", '{"step": "one"}', "\x00", '{"step": 1'])
def test_a_record_that_is_none_is_named(line: str, tmp_path: Path) -> None:
    good = '{"event": "step", "epoch": 1, "step": 1, "rate": 0.1, "wall": {"images_per_second": 9.5}}'
    (tmp_path / "metrics.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(DiagnosticError, match="line 2 of"):
        read_metrics(tmp_path)
    assert len(read_metrics(tmp_path, lines=1)) == 1


def test_thinned_curves_keep_their_ends() -> None:
    points = [Point(step, 1 / step) for step in range(1, 5001)]
    kept = thinned(points)
    assert len(kept) == 400
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert list(kept) == sorted(set(kept))
    assert thinned(points[:400]) == points[:400]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train_error=0.25", "25% training error"),
        (" test_error = 12.5% ", "12.5% test error"),
        ("test_loss=1e-1", "a test loss of 0.1"),
        ("train_loss=-2", "a training loss of -2"),
    ],
)
def test_targets(text: str, expected: str) -> None:
    assert str(Target.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "write one of train_error"),
        ("train_eror=0.25", "did you mean 'train_error'"),
        ("train_error", "write train_error=0.25"),
        ("train_error=", "write train_error=0.25"),
        ("train_error=a", "'a' is no number"),
        ("train_error=25", "train_error=25%"),
        ("train_error=0", "above 0"),
        ("test_loss=nan", "'nan' is no number"),
        ("test_loss=1%x", "is no number"),
    ],
)
def test_what_is_no_target_is_said_with_one_that_is(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Target.parse(text)


def test_what_helps_here_is_said_where_another_process_trains(tmp_path: Path) -> None:
    race(tmp_path, max_steps=2)
    with (
        closing(RunFolder.reopen(tmp_path / "out" / "relu-rate0.0002-seed0")),
        pytest.raises(DiagnosticError, match="another process is training") as caught,
    ):
        race(tmp_path, max_steps=3)
    assert caught.value.diagnostics[0].help == "wait for it, or name another folder with -o"
