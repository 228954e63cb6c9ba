"""Trains a compiled spec: `train` from top to bottom is the whole of it.

A run is a function of the spec, the data, the seed and the number of threads. Whatever it needs to go on is in its
checkpoints, so that on the CPU a run that was stopped, or killed, goes on to the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convspec.data import BatchStream, Dataset, Split
from convspec.data.batches import steps_per_epoch
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.checkpoint import Checkpoint, load_newest, remove_unfinished, save_checkpoint
from convspec.train.contract import CompiledSpec, TrainOptions
from convspec.train.device import HostScalar, note_slow_bf16, open_device, rng_states, set_rng_states
from convspec.train.display import Display, as_line, open_display
from convspec.train.evaluate import Validation, evaluate, wide
from convspec.train.initial import set_initial_values
from convspec.train.inputs import InputTensors
from convspec.train.nonfinite import first_nonfinite
from convspec.train.optimizer import PaperSGD
from convspec.train.preparation import (
    check_batches,
    check_trainable,
    describe_run,
    initial_network,
    made_with,
    mean_of_input,
    note_other_machine,
    open_data,
)
from convspec.train.run import RUNS, MetricsLog, RunFolder
from convspec.train.schedules import Plateau, progress_at
from convspec.train.scores import has_error, mistakes, trained_cost, values_by_name
from convspec.train.signals import Interrupted, StopSignals

LOGGED_STEPS = 100
"""About this many steps of an epoch stand in metrics.jsonl."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a call of `train` came to.

    steps, epochs: that are done, over the whole run. validation: the last of this call, None if it made none.
    best_error: lowest `Validation.score` of the whole run, None before the first that is finite.
    finished: no step is left to do. seconds: wall time of this call.
    """

    run_dir: Path
    steps: int
    epochs: int
    validation: Validation | None
    best_error: float | None
    finished: bool
    seconds: float


def train(
    compiled: CompiledSpec,
    *,
    data: str | None = None,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    device: str = "cpu",
    max_steps: int | None = None,
    log_every: int | None = None,
    runs: str | Path = RUNS,
    display: Display | None = None,
    notify: Notify | None = None,
    network: nn.Module | None = None,
) -> Result:
    """Train until the schedule ends, or up to step `max_steps` of the run.

    data: "photos", "digits" or a folder; None takes what @data says, or what the resumed run used.
    run_dir: a new folder for the run; None takes the next free one under `runs`.
    resume: folder of a run to go on with, from its newest good checkpoint.
    log_every: metrics.jsonl records the first step of an epoch and each that many after it; None: about 100 an epoch.
    notify: is told warnings; None shows them on `display`.
    network: trained in place of an instance of the emitted module; follows the same contract.

    Raises DiagnosticError for a mistake of the user's or a trouble of the machine's, and Interrupted after a signal.
    """
    display = display or open_display()
    notify = notify or (lambda diagnostic: display.line(as_line(diagnostic)))
    check_trainable(compiled.program)
    options, place = compiled.train, open_device(device)
    note_slow_bf16(place, options.precision, notify)
    with ExitStack() as stack:
        stack.callback(display.close)
        if resume is not None:
            run = RunFolder.reopen(resume)
            stack.callback(run.close)
            run.check_spec(compiled.resolved_text)
            data = data or run.settings().get("data")
        dataset = open_data(compiled, data, notify)
        stack.callback(dataset.close)
        check_batches(compiled.program, dataset.count(Split.TRAIN), options.batch)
        if resume is None:
            run = RunFolder.create(compiled.name, run_dir=run_dir, runs=runs)
            stack.callback(run.close)
            run.describe(compiled, describe_run(compiled, dataset, log_every))
        if run.settings().get("fingerprint") is None:
            run.adopt(describe_run(compiled, dataset, log_every))
        run.check_data(dataset.name, dataset.fingerprint)
        checkpoint = load_newest(run.checkpoints, notify) if resume is not None else None

        torch.manual_seed(options.seed)
        net = initial_network(compiled, network)
        if checkpoint is None:
            set_initial_values(net, compiled.initial_values, options.init_from, notify)
        net.to(place)
        kept = None if checkpoint is None else checkpoint.training.get("mean")
        mean = mean_of_input(compiled, dataset) if kept is None else kept.numpy()
        training = Training(compiled, net, dataset, mean, run, place, display, log_every=_log_every(run, log_every))
        stack.callback(training.close)
        training.restore(checkpoint, notify)
        with StopSignals() as signals:
            return training.run(max_steps, should_stop=lambda: signals.received)


@dataclass(slots=True)
class Position:
    """Where a run stands. `step` of `epoch` is the next to do; past the last, the epoch's validation is."""

    epoch: int = 0
    step: int = 0
    finished: bool = False
    best_error: float | None = None


class Training:
    """A network, its optimizer and its data, part of the way through a run."""

    def __init__(
        self,
        compiled: CompiledSpec,
        net: nn.Module,
        dataset: Dataset,
        mean: NDArray[np.float32],
        run: RunFolder,
        device: torch.device,
        display: Display,
        *,
        log_every: int | None,
    ) -> None:
        options: TrainOptions = compiled.train
        self.options, self.program, self.net, self.dataset = options, compiled.program, net, dataset
        self.run_folder, self.device, self.display = run, device, display
        self.mirror, self.mean = compiled.data.mirror, mean
        self.optimizer = PaperSGD(self.program, net, seed=options.seed)
        self.plateau = Plateau(options.plateau_factor, options.plateau_patience, options.plateau_drops)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16")
        self.inputs = InputTensors(self.program, mean, device, options.batch)
        self.cost = trained_cost(self.program)
        self.steps = steps_per_epoch(dataset, Split.TRAIN, options.batch)
        self.log_every = log_every or max(1, self.steps // LOGGED_STEPS)
        self.position = Position()
        # Over the epoch so far: cases, mistakes by the cost that steers, and the loss of each cost.
        self.epoch_sums = torch.zeros(2 + len(self.program.costs), dtype=wide(device), device=device)
        self.validation: Validation | None = None
        self.metrics: MetricsLog | None = None
        self.began = time.perf_counter()

    # the run

    def run(self, max_steps: int | None, *, should_stop: Callable[[], bool]) -> Result:
        """Epoch after epoch: its steps, its validation, its checkpoint."""
        while not self.position.finished:
            stopped = self.run_steps(max_steps, should_stop) or not self.end_epoch(should_stop)
            path = self.save()
            if should_stop() and not self.position.finished:
                raise Interrupted(self.run_folder.path, path, self.steps_done)
            if stopped:
                break
        return Result(
            run_dir=self.run_folder.path,
            steps=self.steps_done,
            epochs=self.position.epoch,
            validation=self.validation,
            best_error=self.position.best_error,
            finished=self.position.finished,
            seconds=time.perf_counter() - self.began,
        )

    def run_steps(self, max_steps: int | None, should_stop: Callable[[], bool]) -> bool:
        """The steps that the epoch still has. True if it must stop before they are all done."""
        position, every = self.position, self.options.checkpoint_every
        self.display.start(f"epoch {position.epoch + 1}/{self.options.epochs}", self.steps, position.step)
        with self.batches(Split.TRAIN, start=position.step) as stream:
            while position.step < self.steps:
                if should_stop() or (max_steps is not None and self.steps_done >= max_steps):
                    return True
                self.one_step(*self.inputs(next(stream)))
                if every and position.step % every == 0 and position.step < self.steps:
                    self.save()
        return should_stop() or (max_steps is not None and self.steps_done >= max_steps)

    def one_step(self, tensors: dict[str, Tensor], labels: Tensor) -> None:
        """Forward, backward, update: one minibatch."""
        began = time.perf_counter()
        self.set_rates()
        before = rng_states(self.device)
        self.net.train()
        with self.autocast:
            outputs: dict[str, Tensor] = self.net(tensors)
            objective: Tensor = self.net.objective(outputs)  # type: ignore[operator]  # emitted modules have one
        loss_to_host = HostScalar(objective)
        objective.backward()  # type: ignore[no-untyped-call]
        loss = loss_to_host.value()
        if not isfinite(loss):
            raise self.not_finite(loss, tensors, before)
        self.optimizer.step(self.steps_done, len(labels) / self.options.batch)
        self.optimizer.zero_grad()
        self.position.step += 1
        self.add_to_epoch(outputs, tensors, len(labels))
        speed = len(labels) / (time.perf_counter() - began)
        self.display.advance(f"loss {loss:.4f}  {speed:.0f} images/s")
        if (self.position.step - 1) % self.log_every == 0:
            self.log_step(loss, outputs, speed)

    def end_epoch(self, should_stop: Callable[[], bool]) -> bool:
        """Validate if it is time, and move on to the next epoch. False if a stop was asked for before that."""
        position, options = self.position, self.options
        is_last = position.epoch + 1 == options.epochs
        if is_last or (position.epoch + 1) % options.validate_every == 0:
            validation = self.validate(should_stop)
            if validation is None:
                return False
            self.take_in(validation)
        position.epoch, position.step = position.epoch + 1, 0
        position.finished = is_last or self.plateau.is_finished
        self.epoch_sums.zero_()
        return True

    # its parts

    @property
    def steps_done(self) -> int:
        return self.position.epoch * self.steps + self.position.step

    def set_rates(self) -> None:
        progress = progress_at(self.steps_done, self.options.epochs * self.steps)
        self.optimizer.set_rates(progress, self.plateau.scale)

    def batches(self, split: Split, start: int = 0) -> BatchStream:
        return BatchStream(
            self.dataset,
            split,
            batch_size=self.options.batch,
            crop=(self.mean.shape[0], self.mean.shape[1]),
            mirror=self.mirror and split is Split.TRAIN,
            seed=self.options.seed,
            epoch=self.position.epoch,
            start=start,
        )

    def validate(self, should_stop: Callable[[], bool]) -> Validation | None:
        """The test pass, on random numbers of its own; None if a stop was asked for."""
        devices = [self.device.index] if self.device.type == "cuda" else []
        with self.batches(Split.TEST) as stream, torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.options.seed)
            return evaluate(
                self.net, self.program, stream, self.inputs, autocast=self.autocast, should_stop=should_stop
            )

    def take_in(self, validation: Validation) -> None:
        """What follows from a validation: the record of it, the best error, the schedule."""
        self.validation, position = validation, self.position
        if isfinite(validation.score) and (position.best_error is None or validation.score < position.best_error):
            position.best_error = validation.score
        if self.options.schedule == "plateau":
            self.plateau.update(validation.score)
        trained = self.epoch_means()
        self.log(
            {
                "event": "validation",
                "epoch": position.epoch + 1,
                "step": self.steps_done,
                "train": trained,
                "test": validation.record(),
                "rates_divided": self.plateau.dropped,
            },
            wall={},
        )
        losses = ", ".join(f"{name} {loss:.4f}" for name, loss in trained["costs"].items())
        epoch = f"epoch {position.epoch + 1}/{self.options.epochs}"
        self.display.line(f"{epoch}: train {losses}; test {validation.text()}")
        for line in validation.class_lines(self.dataset.classes):
            self.display.line(line)

    def add_to_epoch(self, outputs: dict[str, Tensor], tensors: dict[str, Tensor], cases: int) -> None:
        wide_type = self.epoch_sums.dtype
        with torch.no_grad():
            self.epoch_sums[0] += cases
            wrong = mistakes(self.cost, values_by_name(self.program, outputs, tensors))
            if wrong is not None:
                self.epoch_sums[1] += wrong.sum(dtype=wide_type)
            losses = [outputs[cost.name].detach().to(wide_type) for cost in self.program.costs]
            self.epoch_sums[2:] += torch.stack(losses) * cases

    def epoch_means(self) -> dict[str, Any]:
        """Of the training pictures, as metrics.jsonl has them: `loss` and `error` are those of the cost that steers."""
        cases, wrong, *losses = self.epoch_sums.tolist()
        costs = {cost.name: loss / cases for cost, loss in zip(self.program.costs, losses, strict=True)}
        error = {"error": wrong / cases} if has_error(self.cost) else {}
        return {"cases": int(cases), "loss": costs[self.cost.name], **error, "costs": costs}

    def log_step(self, loss: float, outputs: dict[str, Tensor], speed: float) -> None:
        record = {
            "event": "step",
            "epoch": self.position.epoch + 1,
            "step": self.steps_done,
            "loss": loss,
            "costs": {cost.name: float(outputs[cost.name].detach()) for cost in self.program.costs},
            "rate": next(iter(self.optimizer.rates().values()), 0.0),
        }
        self.log(record, wall={"images_per_second": round(speed, 1)})

    def log(self, record: dict[str, Any], wall: dict[str, float]) -> None:
        """All that depends on the clock stays under "wall"."""
        assert self.metrics is not None
        seconds = round(time.perf_counter() - self.began, 3)
        self.metrics.write({**record, "wall": {"seconds": seconds, **wall}})

    def not_finite(self, loss: float, tensors: dict[str, Tensor], before: dict[str, Tensor]) -> DiagnosticError:
        """CS707, with the layer that began it. The weights are those before the step."""
        self.optimizer.zero_grad()
        set_rng_states(before, self.device)
        where = first_nonfinite(self.net, self.program, tensors, self.autocast)
        return DiagnosticError(
            Diagnostic(
                "CS707",
                f"the loss is {loss} at step {self.steps_done + 1}; the first that is not finite is {where}",
                notes=(f"the checkpoints in {self.run_folder.checkpoints} are from before this step",),
                help="lower the learning rates (epsW, epsB) or the initial weights (initW) from that layer on",
            )
        )

    # checkpoints

    def save(self) -> Path:
        assert self.metrics is not None
        self.metrics.sync()
        buffers, rates = self.optimizer.momentum()
        training = {f"momentum/{name}": buffer.cpu() for name, buffer in buffers.items()}
        training |= {f"learning/{name}": piece.cpu() for name, piece in self.optimizer.memory().items()}
        training |= {f"rng/{name}": state for name, state in rng_states(self.device).items()}
        training["mean"] = torch.from_numpy(self.mean)
        position = self.position
        state = {
            "epoch": position.epoch,
            "step": self.steps_done,
            "step_in_epoch": position.step,
            "finished": position.finished,
            "best_error": position.best_error,
            "epoch_sums": self.epoch_sums.tolist(),
            "plateau": self.plateau.state(),
            "momentum_rates": rates,
            "metrics_lines": self.metrics.lines,
            "made_with": made_with(self.device),
        }
        weights = {name: tensor.detach().cpu() for name, tensor in self.net.state_dict().items()}
        checkpoint = Checkpoint(weights, training, state)
        return save_checkpoint(self.run_folder.checkpoints, checkpoint, keep=self.options.keep_checkpoints)

    def restore(self, checkpoint: Checkpoint | None, notify: Notify) -> None:
        """Take up a checkpoint, or the beginning, and cut the metrics back to it. Raises DiagnosticError CS709."""
        lines = 0
        remove_unfinished(self.run_folder.checkpoints)
        if checkpoint is not None:
            state, training = checkpoint.state, checkpoint.training
            lines = state["metrics_lines"]
            self.load_weights(checkpoint)
            self.optimizer.load_momentum(_with_prefix("momentum/", training), state["momentum_rates"])
            self.optimizer.load_memory(_with_prefix("learning/", training))
            self.plateau.load(state["plateau"])
            step = state["step_in_epoch"] or int(state.get("share_of_epoch", 0.0) * self.steps)
            self.position = Position(state["epoch"], step, state["finished"], state["best_error"])
            self.epoch_sums.copy_(torch.tensor(state["epoch_sums"], dtype=self.epoch_sums.dtype))
            set_rng_states(_with_prefix("rng/", training), self.device)
            note_other_machine(state["made_with"], made_with(self.device), notify)
        self.metrics = MetricsLog(self.run_folder.path / "metrics.jsonl", keep_lines=lines)

    def load_weights(self, checkpoint: Checkpoint) -> None:
        try:
            self.net.load_state_dict(dict(checkpoint.weights))
        except (RuntimeError, KeyError) as error:
            message = f"the weights in {self.run_folder.checkpoints} are not those of this network"
            raise DiagnosticError(Diagnostic("CS709", message, notes=(str(error),))) from error

    def close(self) -> None:
        if self.metrics is not None:
            self.metrics.close()


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with it, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _log_every(run: RunFolder, log_every: int | None) -> int | None:
    """A resumed run logs as it did before, so that its metrics stay one series."""
    return log_every or run.settings().get("log_every")
