"""CUDA graphs on a machine that has none: a recorder of torch's operators, with what they were given and gave.

As on a GPU, nothing is computed while it records, numbers that are no tensor are those of the recording for ever, each
tensor is read and written where it was, and who asks for a value ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")

REFUSED = ("_local_scalar_dense", "nonzero", "draw_seed", "randint", "bernoulli_", "normal_", "equal")


@dataclass(frozen=True, slots=True)
class Call:
    """An operator, what it was given, and the tensors that it gave."""

    function: Any
    args: Any
    kwargs: Any
    results: list[Tensor]

    @property
    def name(self) -> str:
        return str(self.function._schema.name.rpartition("::")[2])

    @property
    def is_view(self) -> bool:
        """Gives memory that it was given, as it is."""
        results = self.function._schema.returns
        return any(result.alias_info is not None and not result.alias_info.is_write for result in results)

    def replay(self) -> None:
        if self.is_view:
            return
        with torch.no_grad():
            again = list(tensors_in(self.function(*self.args, **self.kwargs)))
            for kept, computed in zip(self.results, again, strict=True):
                if kept.data_ptr() != computed.data_ptr():
                    kept.data.copy_(computed)


def tensors_in(value: object) -> Iterator[Tensor]:
    match value:
        case Tensor():
            yield value
        case dict():
            yield from tensors_in(list(value.values()))
        case list() | tuple():
            for each in value:
                yield from tensors_in(each)
        case _:
            pass


class Recording(TorchDispatchMode):
    """The operators that are called in it, which are computed."""

    def __init__(self, refused: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.refused = refused
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        """Tensors that were written to, and copies from before."""

    def __torch_dispatch__(self, func: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (name := func._schema.name.rpartition("::")[2]) in self.refused:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        is_silent = name in ("native_batch_norm", "_native_batch_norm_legit")  # of statistics its schema says nothing
        for given, argument in zip(func._schema.arguments, args, strict=False):
            if is_silent or (given.alias_info is not None and given.alias_info.is_write):
                for tensor in tensors_in(argument):
                    self.before.setdefault(tensor.data_ptr(), (tensor, tensor.clone()))
        result = func(*args, **kwargs)
        self.calls.append(Call(func, args, kwargs, list(tensors_in(result))))
        return result


class PretendedGraphs:
    """recordings: how many were made. replays: how often they were replayed. The `broken` spoils what a recording is."""

    def __init__(self, broken: Callable[[list[Call]], list[Call]] = lambda calls: calls) -> None:
        self.recordings, self.replays, self.broken = 0, 0, broken
        self.compiled: set[str] = set()

    def prepare(self, work: Callable[[], object]) -> None:
        with Recording() as recording:
            work()
        self.compiled |= {call.name for call in recording.calls}

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        with Recording(REFUSED) as recording:
            result = work()
        if unknown := {call.name for call in recording.calls} - self.compiled:
            raise RuntimeError(f"operation not permitted when stream is capturing: loading {unknown}")
        given = {id(tensor) for tensor, _ in recording.before.values()}
        for call in recording.calls:
            for tensor in call.results:
                if not call.is_view and tensor.is_floating_point() and id(tensor) not in given:
                    tensor.data.fill_(torch.nan)
        for tensor, before in recording.before.values():
            tensor.data.copy_(before)
        self.recordings += 1
        calls = self.broken(recording.calls)

        def replay() -> None:
            self.replays += 1
            for call in calls:
                call.replay()

        return result, replay
