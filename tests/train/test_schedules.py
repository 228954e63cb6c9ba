"""Progress, and the heuristic of the paper."""

from __future__ import annotations

import json

from convspec.train.schedules import Plateau, progress_at


def test_progress_starts_at_zero_and_stays_below_one() -> None:
    assert [progress_at(step, 4) for step in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert progress_at(9, 4) == 1


def test_three_drops_then_the_end() -> None:
    plateau = Plateau(factor=10, patience=2, drops=3)
    scales = []
    for _ in range(20):
        plateau.update(0.5)
        scales.append(plateau.scale)
        if plateau.is_finished:
            break
    assert scales == [1, 1, 0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-3]
    assert plateau.is_finished


def test_an_improvement_starts_the_count_anew() -> None:
    plateau = Plateau(patience=2)
    for error in (0.9, 0.9, 0.8, 0.8, 0.7):
        plateau.update(error)
    assert (plateau.dropped, plateau.stalled, plateau.best) == (0, 0, 0.7)
    plateau.update(0.7)
    plateau.update(0.7)
    assert plateau.dropped == 1


def test_state_goes_through_json() -> None:
    for errors in ((), (0.5, 0.1 + 0.2, 0.4, 0.4, 0.4, 0.4)):
        before, after = Plateau(patience=2), Plateau(patience=2)
        for error in errors:
            before.update(error)
        after.load(json.loads(json.dumps(before.state(), allow_nan=False)))
        assert after == before
