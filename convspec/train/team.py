"""What a run asks of the processes that it runs in. `Team` is one process, which has the whole network and all cases;
`convspec.train.ranks` has the team of a run on several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from convspec.data import Dataset
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.program.program import Program
from convspec.train.checkpoint import Checkpoint, load_newest, save_checkpoint
from convspec.train.contract import CompiledSpec
from convspec.train.device import HostScalar
from convspec.train.run import RunFolder

T = TypeVar("T")


class Losses:
    """The losses of a step, on their way to the host."""

    def __init__(self, objective: Tensor, outputs: Mapping[str, Tensor]) -> None:
        self._objective, self._outputs = HostScalar(objective), outputs

    def objective(self) -> float:
        """What training makes small."""
        return self._objective.value()

    def of_cost(self, name: str) -> float:
        return float(self._outputs[name].detach())


class Team:
    """One process by itself."""

    here: str | None = None
    """What messages call this process; None where it is the only one."""
    is_chief = True
    """Whether this process writes what the run writes once, and speaks to the user."""
    counts_cases = True
    """Whether the cases that this process trains on are counted here; of the processes that share them, one does."""
    share = (0, 1)
    """(r, R): this process trains on share r of the R shares of each minibatch."""

    def part(self, program: Program) -> Program:
        """What this process has of the network."""
        return program

    def network(self, compiled: CompiledSpec) -> nn.Module:
        """The module of what this process has, its weights not drawn."""
        from convspec.emit.load import Undrawn, instantiate

        with Undrawn():
            return instantiate(compiled.source, compiled.name)

    def talk(self) -> AbstractContextManager[None]:
        """Around all that is done with the other processes."""
        return nullcontext()

    def watch(self, net: nn.Module) -> None:
        """Get ready for the backward passes of `net`, whose parameters are known to learn or not."""

    def forward(self, net: nn.Module, tensors: dict[str, Tensor], own: int, cases: int) -> dict[str, Tensor]:
        """The outputs for `own` of the `cases` of a minibatch."""
        outputs: dict[str, Tensor] = net(tensors)
        return outputs

    def backward(self, net: nn.Module, outputs: dict[str, Tensor], own: int, cases: int) -> Losses:
        """The backward pass; gradients are those of the whole minibatch then."""
        objective: Tensor = net.objective(outputs)  # type: ignore[operator]  # emitted modules have one
        losses = Losses(objective, outputs)
        objective.backward()  # type: ignore[no-untyped-call]
        return losses

    def agree(self, wish: bool) -> bool:
        """Whether any process wishes for it. All ask at the same point."""
        return wish

    def alone(self, wish: Callable[[], bool]) -> Callable[[], bool]:
        """The wish, where one process may follow it without the others."""
        return wish

    def first(self, found: str | None) -> str | None:
        """What the first of the processes found that found something."""
        return found

    def total(self, sums: Tensor) -> Tensor:
        """Sums over what the processes have."""
        return sums

    def merged(self, sums: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """What the parts of the network know together, of the same cases."""
        return sums

    def union(self, own: dict[str, T]) -> dict[str, T]:
        """What the processes have by name; of what several have, the first one's."""
        return own

    def chief_does(self, work: Callable[[], T]) -> T:
        """What `work` gives the chief, in all processes."""
        return work()

    def all_do(self, work: Callable[[], T]) -> list[T]:
        """What `work` gives, by process; where it raises in one, none goes on."""
        return [work()]

    def each_does(self, work: Callable[[], T]) -> T:
        """What `work` gives this process; where it raises in one, none goes on."""
        return work()

    def known_to_all(self, diagnostic: Diagnostic) -> Exception:
        """What to raise in each process where all have found the same."""
        return DiagnosticError(diagnostic)

    def check_alike(self, dataset: Dataset) -> None:
        """Raises DiagnosticError CS754 where the processes have different data before them."""

    def open_run(self, make: Callable[[], RunFolder]) -> RunFolder:
        """The folder of the run, made or opened by the chief."""
        return make()

    def save(self, folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
        return save_checkpoint(folder, checkpoint, keep=keep)

    def load_newest(self, folder: Path, notify: Notify) -> Checkpoint | None:
        return load_newest(folder, notify)

    def close(self) -> None:
        """Leave the other processes."""


ALONE = Team()
