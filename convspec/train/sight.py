"""What networks see of their data, so that trainings of several can be compared: all must see the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from convspec.data import Split
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.contract import CompiledSpec
from convspec.train.inputs import label_capacity, picture_shape
from convspec.train.preparation import check_batches, check_trainable, open_data


def check_alike(compiled: Sequence[tuple[str, CompiledSpec]], data: str | None, notify: Notify) -> None:
    """Raises DiagnosticError where a spec cannot be trained on the data; CS735 where one, by its name, would see other
    pictures than the first."""
    seen: dict[str, _Sight] = {}
    for name, each in compiled:
        check_trainable(each.program)
        seen[name] = _sight_of(each, data, notify)
    (first, sight), *others = seen.items()
    for name, other in others:
        for what, before, now in zip(_Sight._fields, sight, other, strict=True):
            if before != now:
                message = f"{first} and {name} do not see the same: {what.replace('_', ' ')} {before} and {now}"
                help = "give them the same input=, classes= and [@data], or name the data of both with --data"
                raise DiagnosticError(Diagnostic("CS735", message, help=help))


class _Sight(NamedTuple):
    """What a network sees of the data. content: the beginning of their fingerprint."""

    input: str
    classes: int | None
    data: str
    stored_pictures: str
    content: str


def _sight_of(compiled: CompiledSpec, data: str | None, notify: Notify) -> _Sight:
    with closing(open_data(compiled, data, notify)) as dataset:
        check_batches(compiled.program, dataset.count(Split.TRAIN), compiled.train.batch)
        return _Sight(
            "x".join(map(str, picture_shape(compiled.program))),
            label_capacity(compiled.program),
            dataset.name,
            f"{dataset.count(Split.TRAIN)} of {'x'.join(map(str, dataset.shape[:2]))}",
            dataset.fingerprint[:12],
        )
