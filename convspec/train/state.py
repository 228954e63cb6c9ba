"""All that a run needs to go on, and how a checkpoint holds it: weights, momentum, schedule, position, generators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.blocks import Misfit
from convspec.train.checkpoint import Checkpoint
from convspec.train.device import rng_states, set_rng_states
from convspec.train.epoch import EpochSums
from convspec.train.inputs import PictureStatistics
from convspec.train.integrity import check_complete
from convspec.train.optimizer import PaperSGD
from convspec.train.preparation import made_with, note_other_machine
from convspec.train.schedules import Plateau


@dataclass(slots=True)
class Position:
    """Where a run stands. `step` of `epoch` is the next to do; past the last, the epoch's validation is.

    steps: of an epoch. epochs: of the run.
    """

    steps: int
    epochs: int
    epoch: int = 0
    step: int = 0
    finished: bool = False
    best_error: float | None = None

    @property
    def steps_done(self) -> int:
        """Over the whole run."""
        return self.epoch * self.steps + self.step


@dataclass(slots=True)
class RunState:
    net: nn.Module
    optimizer: PaperSGD
    plateau: Plateau
    sums: EpochSums
    position: Position
    statistics: PictureStatistics
    devices: tuple[torch.device, ...]

    def checkpoint(self, metrics_lines: int) -> Checkpoint:
        """The state as it stands. metrics_lines: of metrics.jsonl, which a run that goes on from here cuts off after them."""
        buffers, rates = self.optimizer.momentum()
        training = {f"momentum/{name}": buffer.cpu() for name, buffer in buffers.items()}
        training |= {f"learning/{name}": piece.cpu() for name, piece in self.optimizer.memory().items()}
        training |= {f"rng/{name}": state for name, state in rng_states(self.devices[0]).items()}
        training |= self.statistics.tensors()
        state = {
            "epoch": self.position.epoch,
            "step": self.position.steps_done,
            "step_in_epoch": self.position.step,
            "finished": self.position.finished,
            "best_error": self.position.best_error,
            "epoch_sums": self.sums.state(),
            "plateau": self.plateau.state(),
            "momentum_rates": rates,
            "metrics_lines": metrics_lines,
            "made_with": made_with(self.devices),
        }
        weights = {name: tensor.detach().cpu() for name, tensor in self.net.state_dict().items()}
        return Checkpoint(weights, training, state)

    def restore(self, checkpoint: Checkpoint, folder: Path, notify: Notify) -> None:
        """Take up a checkpoint of `folder`. Raises DiagnosticError CS708 where another version wrote less than is needed, and
        CS709 where it is of another network or of another run."""
        state, training, path = checkpoint.state, checkpoint.training, folder / checkpoint.name
        check_complete(state, path)
        if (problem := self._unlike(state)) is not None:
            raise _of_another_run(path, problem)
        try:
            self.net.load_state_dict(dict(checkpoint.weights))
        except (RuntimeError, KeyError) as error:
            message = f"the weights in {folder} are not those of this network"
            raise DiagnosticError(Diagnostic("CS709", message, notes=(str(error),))) from error
        try:
            self.optimizer.load_momentum(_with_prefix("momentum/", training), state["momentum_rates"])
            self.optimizer.load_memory(_with_prefix("learning/", training))
            set_rng_states(_with_prefix("rng/", training), self.devices[0])
        except Misfit as error:
            raise _of_another_run(path, str(error)) from error
        self.plateau.load(state["plateau"])
        self.sums.load(state["epoch_sums"])
        position = self.position
        position.epoch, position.finished = state["epoch"], state["finished"]
        position.step = state["step_in_epoch"] or int(state.get("share_of_epoch", 0.0) * position.steps)
        position.best_error = state["best_error"]
        note_other_machine(state["made_with"], made_with(self.devices), notify)

    def _unlike(self, state: Mapping[str, Any]) -> str | None:
        """In which way a state cannot be one of this run."""
        position, epoch, step = self.position, state["epoch"], state["step_in_epoch"]
        if step > position.steps or epoch > position.epochs or (epoch == position.epochs and not state["finished"]):
            return f"it stands at step {step} of epoch {epoch + 1}, of {position.steps} and {position.epochs}"
        if len(state["epoch_sums"]) != self.sums.count:
            return f"it has {len(state['epoch_sums'])} sums of the epoch, and this network {self.sums.count}"
        if step and state["epoch_sums"][0] <= 0:
            return f"it stands at step {step} of an epoch of which it counts no picture"
        if state["plateau"]["dropped"] > self.plateau.drops:
            return (
                f"its rates were divided {state['plateau']['dropped']} times, and the spec allows {self.plateau.drops}"
            )
        return None


def _of_another_run(path: Path, problem: str) -> DiagnosticError:
    help = "go on from another checkpoint: move this one away; or train anew and begin with its weights: --init"
    return DiagnosticError(Diagnostic("CS709", f"{path} is not a checkpoint of this run: {problem}", help=help))


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with it, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
