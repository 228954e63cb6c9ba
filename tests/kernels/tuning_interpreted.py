"""The search for configurations in Triton's interpreter, with pretended times. `test_triton.py` runs this file."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from convspec_kernels import gpu_clock, triton_kernels, tuning
from convspec_kernels.gpu_clock import Run
from convspec_kernels.options import Pool
from convspec_kernels.triton_configs import Climb, Direction, Problem, Walk
from convspec_kernels.triton_launch import Launch

WALKED = Problem(Direction.FORWARD, (1, 4, 4, 4), torch.float32, True, 3, 1, Pool(2, 2, 0, 2, 2))
CLIMBED = WALKED._replace(channels_last=False)


class PretendedClock:
    """Launches take 1 us, and less for each of some numbers that their configuration has."""

    def __init__(self, share: float = 0.2, **faster: int) -> None:
        self.share, self.faster = share, faster

    def seconds(self, run: Run, repetitions: int) -> float:
        assert isinstance(run, partial)
        (launch,) = run.args
        assert isinstance(launch, Launch)
        numbers = launch.constants | launch.arguments | {"warps": launch.warps}
        return 1e-6 - self.share * 1e-6 * sum(numbers[name] == value for name, value in self.faster.items())


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_clock, "DEVICE", "cpu")
    monkeypatch.setattr(tuning, "WARPS", (1, 2))
    monkeypatch.setattr(tuning, "PARTS", (1, 2))


@pytest.mark.parametrize("direction", Direction)
def test_finds_the_fastest_walk(direction: Direction) -> None:
    problem = WALKED._replace(direction=direction)
    clock = PretendedClock(rows=2, warps=2)
    rule = triton_kernels.rule(problem)
    found = tuning.tune(problem, clock)
    assert rule != Walk(1, 2, 2)
    assert (found.best.config, found.best.microseconds) == (Walk(1, 2, 2), 0.6)
    assert found.best.rule == rule
    assert found.refused == 0
    assert "0.6 us, 1.67x the rule's 1.0" in str(found)


def test_finds_the_fastest_climb() -> None:
    assert triton_kernels.rule(CLIMBED) == Climb(2, 4)
    found = tuning.tune(CLIMBED, PretendedClock(ROWS=1, channels=2, warps=2))
    assert found.best.config == Climb(1, 2, 2)
    assert found.refused == 0


def test_keeps_the_rule_where_nothing_is_much_faster() -> None:
    found = tuning.tune(WALKED, PretendedClock(0.01, rows=2))
    assert found.best.config == triton_kernels.rule(WALKED)
    assert found.best.microseconds == 1.0


def test_refuses_what_gives_other_results(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest strips leave the window out."""
    launch_of = triton_kernels.forward_launch

    def forgetful(*arguments: object, **options: object) -> Launch:
        launch = launch_of(*arguments, **options)  # type: ignore[arg-type]
        if launch.constants["COLUMNS"] == 2:
            launch.arguments["scale"] = 0.0
        return launch

    monkeypatch.setattr(triton_kernels, "forward_launch", forgetful)
    found = tuning.tune(WALKED, PretendedClock(COLUMNS=2, warps=2))
    assert isinstance(found.best.config, Walk)
    assert found.best.config.columns == 1
    assert found.refused > 0


def test_says_that_not_even_the_rule_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Launch, "run", lambda self: None)
    with pytest.raises(tuning.Wrong, match="not numbers everywhere"):
        tuning.tune(WALKED, PretendedClock())
