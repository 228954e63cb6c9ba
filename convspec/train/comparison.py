"""Which of several networks learns faster: Figure 1 of the paper, for any specs.

Each is trained over the same pictures until it reaches the target, at each learning rate that it may choose from; the rate
with the fewest steps is its own ("the learning rates for each network were chosen independently to make training as fast as
possible"). A rate is given up once it has taken as many steps as a better one needed. With several seeds the rate is chosen
by the first, and the others are trained at that rate alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from convspec.checker import Checked, check
from convspec.compiler import Compiled, compile_checked
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.contract import CompiledSpec
from convspec.train.metrics import Point, curve, thinned
from convspec.train.preparation import check_trainable
from convspec.train.rates import at_rate, rate_of
from convspec.train.run_settings import read_settings
from convspec.train.scores import has_error, trained_cost
from convspec.train.sight import check_alike
from convspec.train.target import Target
from convspec.train.trainings import Ending, Progress, Trained, Trainings


@dataclass(frozen=True)
class Contender:
    """A spec that is compared.

    name: in tables, legends and names of folders. options: keywords of `check`. allow_init_imports: as of `compile_spec`.
    """

    name: str
    layers: str | Path
    options: Mapping[str, Any]
    allow_init_imports: bool = False

    def checked(self, *overrides: str) -> Checked:
        """What `check` says of it, with overrides over those that it has. Raises DiagnosticError where it has errors."""
        options = {**self.options, "overrides": (*self.options.get("overrides", ()), *overrides)}
        return check(self.layers, **options).require_ok()

    def compiled(self, rate: float | None, seed: int) -> Compiled:
        """At a rate, see `rates`, or at its own, and with a seed."""
        rates = () if rate is None else at_rate(self.checked(), rate)
        checked = self.checked(*rates, f"@train.seed={seed}")
        return compile_checked(checked, allow_init_imports=self.allow_init_imports)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One training of one spec. reached: the step at which it was at the target; None where it never was."""

    rate: float
    seed: int
    trained: Trained
    points: Sequence[Point]
    reached: int | None

    @property
    def epochs(self) -> float | None:
        """Until it was at the target."""
        return None if self.reached is None else self.reached / self.trained.progress.steps_per_epoch

    def record(self) -> dict[str, Any]:
        trained = self.trained
        return {
            "rate": self.rate,
            "seed": self.seed,
            "steps_to_target": self.reached,
            "epochs_to_target": self.epochs,
            "steps": trained.progress.steps,
            "ending": trained.ending.value,
            **({"trouble": trained.trouble} if trained.trouble else {}),
            "run": trained.folder.name,
        }


Tell = Callable[[str, Attempt], None]
"""Is told of an attempt as it ends, with the name of its spec."""


@dataclass(frozen=True, slots=True)
class Racer:
    """What came of a spec. attempts: at the rate that it chose, one a seed. rejected: at the other rates."""

    contender: Contender
    attempts: Sequence[Attempt]
    rejected: Sequence[Attempt]

    @property
    def name(self) -> str:
        return self.contender.name

    @property
    def rate(self) -> float:
        return self.attempts[0].rate

    @property
    def steps(self) -> float | None:
        """Mean over the seeds of the steps to the target; None where one of them never got there."""
        reached = [attempt.reached for attempt in self.attempts if attempt.reached is not None]
        return mean(reached) if len(reached) == len(self.attempts) else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of these steps; None of a single seed."""
        reached = [attempt.reached for attempt in self.attempts if attempt.reached is not None]
        return stdev(reached) if len(reached) == len(self.attempts) > 1 else None

    @property
    def least(self) -> float:
        """What the mean steps are at least, also where a seed never got there: the steps that it was trained for."""
        return mean(
            attempt.trained.progress.steps if attempt.reached is None else attempt.reached for attempt in self.attempts
        )

    def record(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "spec": str(self.contender.layers),
            "rate": self.rate,
            "mean_steps": self.steps,
            "deviation": self.spread,
            "trainings": [
                {**attempt.record(), "curve": [list(point) for point in thinned(attempt.points)]}
                for attempt in self.attempts
            ],
            "rejected": [attempt.record() for attempt in self.rejected],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """racers: in the order of the specs. settings: of one of the runs, as settings.json has them; batch: of each spec."""

    target: Target
    racers: Sequence[Racer]
    settings: Mapping[str, Any]
    batches: Sequence[int]

    @property
    def fastest(self) -> Racer | None:
        """None where no spec reached the target with every seed."""
        reached = [racer for racer in self.racers if racer.steps is not None]
        return min(reached, key=lambda racer: racer.steps or inf, default=None)

    def ratio(self, racer: Racer) -> float | None:
        """How many times sooner the fastest reached the target; the least that it can be where `racer` never did."""
        fastest = self.fastest
        return None if fastest is None or not fastest.steps else racer.least / fastest.steps

    def record(self) -> dict[str, Any]:
        """As it stands in compare.json; docs/compare.md describes it."""
        fastest = self.fastest
        return {
            "target": {"quantity": self.target.quantity.value, "value": self.target.value},
            "data": self.settings["data"],
            "train_pictures": self.settings["train_pictures"],
            "test_pictures": self.settings["test_pictures"],
            "specs": [
                {**racer.record(), "batch": batch} for racer, batch in zip(self.racers, self.batches, strict=True)
            ],
            "fastest": None if fastest is None else fastest.name,
            "ratios": [
                {"spec": racer.name, "times": self.ratio(racer), "is_bound": racer.steps is None}
                for racer in self.racers
                if fastest is not None and racer is not fastest
            ],
        }


def compare(
    contenders: Sequence[Contender],
    *,
    target: Target,
    rates: Sequence[float],
    seeds: Sequence[int],
    trainings: Trainings,
    tell: Tell = lambda name, attempt: None,
) -> Comparison:
    """Train all of them, or read what was trained before.

    rates: to choose from, each the largest `epsW` of a spec with all others in proportion; none: each spec as it is.
    seeds: at least one. tell: is told each attempt, by its spec, as it ends.

    Raises DiagnosticError before anything is trained where a spec has errors, cannot be trained on the data or towards
    the target, or (CS735) where the specs do not see the same pictures.
    """
    choices: Sequence[float | None] = list(rates) or [None]
    compiled = [(each.name, each.compiled(choices[0], seeds[0])) for each in contenders]
    for name, each in compiled:
        check_trainable(each.program)
        check_target(name, each, target)
    check_alike(compiled, trainings.data, trainings.notify)
    for contender in contenders:
        for rate in choices[1:]:
            contender.compiled(rate, seeds[0])
    race = _Race(target, trainings, tell)
    racers = [race.run(contender, choices, seeds) for contender in contenders]
    settings = read_settings(racers[0].attempts[0].trained.folder)
    batches = [each.checked().graph.train.batch for each in contenders]
    return Comparison(target, racers, settings, batches)


def check_target(name: str, compiled: CompiledSpec, target: Target) -> None:
    """Raises DiagnosticError CS735 where a spec, by its name, has no error rate and one is to be reached."""
    cost = trained_cost(compiled.program)
    if target.quantity.is_error and not has_error(cost):
        message = (
            f"{name} makes no mistakes that are counted: {cost.name}, the cost that it is trained by, has no error rate"
        )
        raise DiagnosticError(Diagnostic("CS735", message, help="compare losses: --until train_loss=0.5, say"))


class _Race(NamedTuple):
    target: Target
    trainings: Trainings
    tell: Tell

    def run(self, contender: Contender, rates: Sequence[float | None], seeds: Sequence[int]) -> Racer:
        """Choose a rate by the first seed, and train with the others."""
        tried: list[Attempt] = []
        for rate in rates:
            tried.append(self.attempt(contender, rate, seeds[0], min((_cost(each) for each in tried), default=inf)))
        chosen = min(tried, key=_preference)
        rate = rates[tried.index(chosen)]
        attempts = [chosen, *(self.attempt(contender, rate, seed, inf) for seed in seeds[1:])]
        return Racer(contender, attempts, [each for each in tried if each is not chosen])

    def attempt(self, contender: Contender, rate: float | None, seed: int, most: float) -> Attempt:
        """Train until the target, or for as many steps as a better attempt needed."""
        compiled = contender.compiled(rate, seed)
        value = rate_of(contender.checked()) if rate is None else rate

        def is_enough(progress: Progress) -> bool:
            return progress.steps >= most or self.target.reached(self.points(progress)) is not None

        trained = self.trainings.carry_out(f"{contender.name}-rate{value:.9g}-seed{seed}", compiled, is_enough)
        points = self.points(trained.progress)
        attempt = Attempt(value, seed, trained, points, self.target.reached(points))
        self.tell(contender.name, attempt)
        return attempt

    def points(self, progress: Progress) -> list[Point]:
        return curve(progress.records, self.target.quantity, progress.steps_per_epoch)


def _cost(attempt: Attempt) -> float:
    return inf if attempt.reached is None else attempt.reached


def _preference(attempt: Attempt) -> tuple[float, bool, float]:
    """The rate that needs the fewest steps; of those that never reach the target the one that comes closest."""
    last = attempt.points[-1].value if attempt.points else inf
    return _cost(attempt), attempt.trained.ending is Ending.DIVERGED, last
