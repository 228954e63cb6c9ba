"""The paper's choices, taken away one by one: a spec, and a variant of it for each choice, trained alike over several seeds.

What is compared is the test error after the last validation of each training, by the cost that steers. A change is the
difference between a variant and the spec at equal seeds, which share the order of pictures and their crops. One choice is
no training: the trainings of the spec itself are tested by ten views as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from convspec.checker import Checked, check
from convspec.compiler import Compiled, compile_checked
from convspec.data.durable import replace_file
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.train.checkpoint import newest_state
from convspec.train.choices import Choice, choices_of
from convspec.train.preparation import check_trainable
from convspec.train.run_settings import read_settings
from convspec.train.scores import has_error, trained_cost
from convspec.train.sight import check_alike
from convspec.train.testing import Test
from convspec.train.trained import open_trained
from convspec.train.trainings import Ending, Trained, Trainings, writing_results
from convspec.train.variants import as_text

BASE = "base"
VIEWS = "views"


class Score(NamedTuple):
    """Shares of test pictures that a training got wrong in the end; topk_error: None where the cost counts none."""

    error: float
    topk_error: float | None


@dataclass
class Row:
    """A network of the table. file: its spec. trouble: why there is none, or why it could not be trained; scores: by seed."""

    name: str
    title: str
    section: str = ""
    paper: str = ""
    file: str = ""
    trouble: str = ""
    parameters: int | None = None
    scores: dict[int, Score] = field(default_factory=dict)

    def values(self, what: str) -> dict[int, float]:
        """`error` or `topk_error` by seed."""
        found = {seed: getattr(score, what) for seed, score in self.scores.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def changes(self, base: Row, what: str) -> list[float]:
        """What is worse than in `base`, at each seed that both have."""
        mine, others = self.values(what), base.values(what)
        return [mine[seed] - others[seed] for seed in sorted(mine.keys() & others.keys())]


@dataclass(frozen=True)
class Ablation:
    """rows: that of the spec first. k: of the top-k errors. settings: of a run, as settings.json has them."""

    spec: str
    rows: Sequence[Row]
    seeds: Sequence[int]
    k: int | None
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    batch: int
    epochs: int

    def record(self) -> dict[str, Any]:
        """As it stands in ablate.json; docs/ablate.md describes it."""
        return {
            "spec": self.spec,
            "data": self.settings["data"],
            "train_pictures": self.settings["train_pictures"],
            "test_pictures": self.settings["test_pictures"],
            "batch": self.batch,
            "epochs": self.epochs,
            "seeds": list(self.seeds),
            "k": self.k,
            "machine": dict(self.machine),
            "rows": [self._row(row) for row in self.rows],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        base = self.rows[0]
        measured = {
            what: {
                "by_seed": {str(seed): value for seed, value in row.values(what).items()},
                **summary(list(row.values(what).values())),
                "change": None if row is base else summary(row.changes(base, what)),
            }
            for what in ("error", "topk_error")
        }
        about = {"name": row.name, "title": row.title, "section": row.section, "paper": row.paper}
        return {**about, "spec": row.file, "trouble": row.trouble, "parameters": row.parameters, **measured}


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation (of the sample); None where there are too few."""
    return {
        "mean": mean(values) if values else None,
        "deviation": stdev(values) if len(values) > 1 else None,
    }


Tell = Callable[[Ablation, Row, int], None]
"""Is told of a training as it ends: all that is known by then, its row and its seed."""


def ablate(
    checked: Checked,
    *,
    only: Sequence[str] | None,
    seeds: Sequence[int],
    trainings: Trainings,
    tell: Tell = lambda ablation, row, seed: None,
    allow_init_imports: bool = False,
) -> Ablation:
    """Train the spec and its variants, or read what was trained before; all of them with one seed before the next.

    only: names of choices, and `VIEWS`, in any order; None for all that there are. seeds: at least one.

    Raises DiagnosticError where the spec itself cannot be trained, CS709 where the folder holds specs of another call. A
    variant that is no network, or that cannot be trained, has its `trouble` instead of scores.
    """
    base_text = _HEAD + checked.resolved_text
    base = check(base_text, overrides=(f"@train.seed={seeds[0]}",))
    compiler = partial(compile_checked, allow_init_imports=allow_init_imports)
    compiled = compiler(base)
    check_trainable(compiled.program)
    if not has_error(trained_cost(compiled.program)):
        message = f"{compiled.name} makes no mistakes that are counted: {trained_cost(compiled.program).name} has no error rate"
        raise DiagnosticError(Diagnostic("CS735", message, help="give it a cost with classes, such as cost.logreg"))
    check_alike([(BASE, compiled)], trainings.data, trainings.notify)
    choices = [choice for choice in choices_of(base) if only is None or choice.name in only]
    rows, texts = _variants(base, choices)
    views = [Row(VIEWS, "ten views averaged", "4.1", "-1.5 top-1, -1.3 top-5")] if only is None or VIEWS in only else []
    _write(trainings.folder, {f"{BASE}.cfg": base_text, **texts})
    for row in rows:
        _check(row, trainings.folder, seeds[0], compiler)
    ablation: Ablation | None = None
    for seed in seeds:
        for row in rows:
            if row.trouble:
                continue
            trained = _carry_out(row, seed, trainings, compiler)
            ablation = ablation or _about(checked, compiled, [*rows, *views], seeds, trained)
            tell(ablation, row, seed)
            if row is rows[0] and not row.trouble:
                for other in views:
                    other.parameters = row.parameters
                    other.scores[seed] = _by_ten_views(trained, trainings)
                    tell(ablation, other, seed)
    assert ablation is not None, "the spec itself has been trained"
    return ablation


_Compiler = Callable[[Checked], Compiled]
_HEAD = "# The network whose choices are taken away, as it was resolved: every variant in this folder extends it.\n\n"


def _variants(base: Checked, choices: Sequence[Choice]) -> tuple[list[Row], dict[str, str]]:
    """The rows of the table, and the specs that are to be written, by name of the file."""
    rows, texts = [Row(BASE, "as it is", file=f"{BASE}.cfg")], {}
    for choice in choices:
        row = Row(choice.name, choice.title, choice.section, choice.paper)
        rows.append(row)
        edits = choice.derive(base)
        if isinstance(edits, str):
            row.trouble = edits
            continue
        row.file = choice.file
        what = f"{choice.title[0].upper()}{choice.title[1:]}: section {choice.section} of the paper, {choice.paper}."
        texts[choice.file] = as_text(edits, f"{BASE}.cfg", what)
    return rows, texts


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Raises DiagnosticError CS709, before anything is written, where a file is there and says something else."""
    for name, text in texts.items():
        path = folder / name
        is_other = path.read_bytes() != text.encode() if path.is_file() else os.path.lexists(path)
        if is_other:
            message = f"{path} is of another spec, or was edited since"
            raise DiagnosticError(Diagnostic("CS709", message, help="name another folder with -o, or delete this one"))
    with writing_results(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            replace_file(folder / name, text.encode())


def _check(row: Row, folder: Path, seed: int, compiler: _Compiler) -> None:
    """Fill in what is known of a network before it is trained."""
    if not row.file:
        return
    try:
        compiled = compiler(_checked(folder / row.file, seed))
        check_trainable(compiled.program)
    except DiagnosticError as error:
        found = next((d for d in error.diagnostics if d.severity is Severity.ERROR), error.diagnostics[0])
        row.trouble = f"{found.code}: {found.message}"
        return
    row.parameters = sum(prod(parameter.shape) for parameter in compiled.program.parameters)


def _checked(spec: Path, seed: int) -> Checked:
    return check(spec, overrides=(f"@train.seed={seed}",))


def _carry_out(row: Row, seed: int, trainings: Trainings, compiler: _Compiler) -> Trained:
    """Train a network with a seed, and take in what came of it."""
    compiled = compiler(_checked(trainings.folder / row.file, seed))
    trained = trainings.carry_out(f"{Path(row.file).stem}-seed{seed}", compiled)
    if trained.ending is Ending.DIVERGED:
        row.trouble = f"seed {seed}: {trained.trouble}"
        return trained
    tests = [record["test"] for record in trained.progress.records if record["event"] == "validation"]
    if tests:
        cost = tests[-1]["costs"][trained_cost(compiled.program).name]
        row.scores[seed] = Score(cost["error"], cost.get("topk_error"))
    return trained


def _by_ten_views(trained: Trained, trainings: Trainings) -> Score:
    """Section 4.1: the four corners and the middle, and their mirror images, averaged after the softmax."""
    run = open_trained(trained.folder, device=trainings.device, notify=trainings.notify)
    with Test([run], views=10, data=trainings.data, notify=trainings.notify) as test:
        (outcome,) = test.run().runs
    cost = outcome.validation.costs[outcome.validation.steering]
    assert cost.error is not None
    return Score(cost.error, cost.topk_error)


def _about(
    checked: Checked, compiled: Compiled, rows: Sequence[Row], seeds: Sequence[int], trained: Trained
) -> Ablation:
    """What holds for all trainings, as one of them has it."""
    state = newest_state(trained.folder / "checkpoints") or {}
    return Ablation(
        checked.document.file.name,
        rows,
        seeds,
        getattr(trained_cost(compiled.program), "top_k", None),
        read_settings(trained.folder),
        state.get("made_with", {}),
        compiled.train.batch,
        compiled.train.epochs,
    )
