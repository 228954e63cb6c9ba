"""Rates over a run against the formulas of the original programs, written out number by number."""

from __future__ import annotations

from math import exp, inf, isnan, log, nextafter, sqrt

import pytest

from convspec.checker import check
from convspec.layers.weights import WeightLayer
from convspec.program.schedule import Schedule, ScheduleKind

BASE = """[@net]
input=data:3
outputs=fc1

[data]
type=data
dataIdx=0

[fc1]
type=fc
inputs=data
outputs=2
initW=0.1
momW=0.9
momB=0.9
"""


def layer(keys: str) -> WeightLayer:
    checked = check(BASE + keys)
    assert checked.ok, checked.diagnostics
    fc1 = checked.graph.layers["fc1"]
    assert isinstance(fc1, WeightLayer)
    return fc1


def weight_rate(keys: str) -> Schedule:
    return layer(f"epsB=0.5\n{keys}\n").weight_update(0).rate


def test_each_kind_at_its_corners() -> None:
    linear = Schedule(ScheduleKind.LINEAR, 0.4, 8)
    assert [linear.rate(p) for p in (0, 0.5, 1)] == pytest.approx([0.4, 0.2 + 0.025, 0.05])
    falling = Schedule(ScheduleKind.EXP, 0.4, 8)
    assert [falling.rate(p) for p in (0, 1 / 3, 2 / 3, 1)] == pytest.approx([0.4, 0.2, 0.1, 0.05])
    stepped = Schedule(ScheduleKind.DEXP, 0.4, 8, 4)
    at = (0, 0.25, 0.26, 0.5, 0.51, 0.75, 0.76, 1)
    assert [stepped.rate(p) for p in at] == pytest.approx([0.4, 0.4, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])
    assert Schedule(ScheduleKind.DEXP, 0.4, 8, 1).rate(0) == 0.05


def test_steps_are_found_at_once_however_many() -> None:
    """The first i with p <= (i + 1) / n, as the programs search it."""
    for steps in (2, 3, 7, 10, 100, 999):
        falling = Schedule(ScheduleKind.DEXP, 0.4, 8, steps)
        for k in range(2 * steps + 1):
            half = k / (2 * steps)
            for progress in (half, *(min(1, max(0, nextafter(half, way))) for way in (0, 1)), min(1, half + 1e-12)):
                step = next((i for i in range(steps - 1) if progress <= (i + 1) / steps), steps - 1)
                rate = 0.05 if step == steps - 1 else 0.4 * 8 ** (-step / (steps - 1))
                assert falling.rate(progress) == pytest.approx(rate, rel=1e-12), (steps, progress)
    assert Schedule(ScheduleKind.DEXP, 0.4, 8, 10**17).rate(0.5) == pytest.approx(0.4 / sqrt(8))


@pytest.mark.parametrize("steps", [0, -3])
def test_less_than_one_step_is_one(steps: int) -> None:
    """lr.cu:113-133: with one step or less there is the last rate alone."""
    for kind in (ScheduleKind.DEXP, ScheduleKind.JDEXP):
        assert [Schedule(kind, 0.4, 8, steps).rate(p) for p in (0, 0.5, 1)] == [0.05] * 3


def test_factors_that_make_no_sense() -> None:
    """No exception: linear is defined for a negative factor, and what is not is no number."""
    assert Schedule(ScheduleKind.LINEAR, 0.4, -8).rate(0.5) == pytest.approx(0.2 - 0.025)
    assert Schedule(ScheduleKind.DEXP, 0.4, -8, 2).rate(1) == -0.05
    for kind in (ScheduleKind.LINEAR, ScheduleKind.EXP, ScheduleKind.DEXP, ScheduleKind.JDEXP):
        assert isnan(Schedule(kind, 0.4, 0, 4).rate(0.6))
    for kind in (ScheduleKind.EXP, ScheduleKind.DEXP, ScheduleKind.JDEXP):
        assert isnan(Schedule(kind, 0.4, -8, 4).rate(0.6))
    assert Schedule(ScheduleKind.EXP, 0.4, 1e-320).rate(1) == inf


def test_jdexp_takes_the_mean_in_the_second_half_of_a_step() -> None:
    """Four steps, 0.4, 0.2, 0.1, 0.05; halves end at 0.375, 0.625 and 0.875; outside 0.2 to 0.9 as dexp."""
    rate = Schedule(ScheduleKind.JDEXP, 0.4, 8, 4).rate
    assert rate(0.24) == 0.4, "the first step has no rate before it"
    assert rate(0.375) == pytest.approx(0.2)
    assert rate(0.376) == pytest.approx(sqrt(0.2 * 0.4))
    assert rate(0.5) == pytest.approx(sqrt(0.2 * 0.4))
    assert rate(0.51) == pytest.approx(0.1)
    assert rate(0.63) == pytest.approx(sqrt(0.1 * 0.2))
    assert rate(0.88) == pytest.approx(sqrt(0.05 * 0.1))
    assert rate(0.9) == pytest.approx(0.05)
    # twenty steps: that from 0.15 to 0.2 lies below 0.2, and its second half is as its first
    many = Schedule(ScheduleKind.JDEXP, 0.4, 8, 20)
    assert many.rate(0.19) == Schedule(ScheduleKind.DEXP, 0.4, 8, 20).rate(0.19)
    # of nine, the second half of the second, 0.167 to 0.222, has 0.2 in it, which is still as dexp
    for progress, over in ((0.2, 0.4 * 8 ** (-1 / 8)), (0.2001, 0.4 * 8 ** (-1 / 16))):
        assert Schedule(ScheduleKind.JDEXP, 0.4, 8, 9).rate(progress) == pytest.approx(over)


@pytest.mark.parametrize("base", [0.02, 0.5, 3.0])
def test_exp_is_what_the_2012_code_computes_but_for_one(base: float) -> None:
    """lr.cu:85-108: b^(1 + p (log(b/T)/log b - 1)), which leaves a base of exactly 1 at 1."""
    for p in (0.0, 0.3, 1.0):
        theirs = exp(log(base) * (1 + p * (log(base / 50) / log(base) - 1)))
        assert Schedule(ScheduleKind.EXP, base, 50).rate(p) == pytest.approx(theirs, rel=1e-12)
    assert Schedule(ScheduleKind.EXP, 1, 50).rate(1) == pytest.approx(1 / 50)


@pytest.mark.parametrize(
    ("keys", "rate"),
    [
        ("epsW=0.01", Schedule.constant(0.01)),
        ("epsW=const[base=0.01]", Schedule.constant(0.01)),
        ("epsW=0.01\nschedW=default", Schedule.constant(0.01)),
        ("epsW=0.01\nschedW=default[]", Schedule.constant(0.01)),
        ("epsW=dexp[base=0.01;tgtFactor=250;numSteps=4]", Schedule(ScheduleKind.DEXP, 0.01, 250, 4)),
        ("epsW=DEXP[BASE=0.01;TGTFACTOR=250;NUMSTEPS=4]", Schedule(ScheduleKind.DEXP, 0.01, 250, 4)),
        (
            "epsW=0.01\nschedW=dexp[tgtFactor=250,noiseStdev=0.1,numSteps=4]",
            Schedule(ScheduleKind.DEXP, 0.01, 250, 4, 0.1),
        ),
        (
            "epsW=0.01\nschedW= JDexp [ tgtfactor = 250 , NOISESTDEV=0, numSteps=4 ]",
            Schedule(ScheduleKind.JDEXP, 0.01, 250, 4),
        ),
        ("epsW=0.01\nschedW=exp[tgtFactor=1e3,noiseStdev=.5]", Schedule(ScheduleKind.EXP, 0.01, 1000, 1, 0.5)),
        ("epsW=0.01\nschedW=dexp[250,0.1,4]", Schedule(ScheduleKind.DEXP, 0.01, 250, 4, 0.1)),
        ("epsW=0.01\nschedW=dexp[1000,4]", Schedule(ScheduleKind.DEXP, 0.01, 1000, 4)),
        ("epsW=0.01\nschedW=linear[1,1]", Schedule(ScheduleKind.LINEAR, 0.01, 1, 1, 1.0)),
        ("epsW=0.01\nschedW=exp[20]", Schedule(ScheduleKind.EXP, 0.01, 20)),
    ],
)
def test_rates_as_files_give_them(keys: str, rate: Schedule) -> None:
    assert weight_rate(keys) == rate
    swapped = keys.replace("epsW", "epsB").replace("schedW", "schedB")
    assert layer(f"epsW=0.5\n{swapped}\n").bias_update.rate == rate


def test_text_of_a_schedule_reads_back() -> None:
    for schedule in (
        Schedule.constant(0.1),
        Schedule(ScheduleKind.LINEAR, 0.1, 5),
        Schedule(ScheduleKind.DEXP, 0.1, 5, 3),
    ):
        assert weight_rate(f"epsW={schedule}") == schedule
    assert str(Schedule(ScheduleKind.JDEXP, 0.1, 5, 3, 0.2)) == "jdexp[base=0.1;tgtFactor=5;noiseStdev=0.2;numSteps=3]"
