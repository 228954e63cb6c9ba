"""The loop of a run: epochs of steps, validations, checkpoints, and what is recorded of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn

from convspec.data import Batch, BatchStream, Dataset, Split
from convspec.data.batches import steps_per_epoch
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic
from convspec.train.checkpoint import Checkpoint, remove_unfinished
from convspec.train.contract import CompiledSpec, TrainOptions
from convspec.train.device import rng_states, set_rng_states
from convspec.train.display import Display
from convspec.train.epoch import EpochSums
from convspec.train.evaluate import Validation, evaluate
from convspec.train.inputs import InputTensors, PictureStatistics
from convspec.train.memory import fitting_minibatch, lacks_memory, too_little_memory, too_little_memory_of_one
from convspec.train.nonfinite import first_nonfinite
from convspec.train.optimizer import PaperSGD
from convspec.train.preparation import color_noise
from convspec.train.records import Records
from convspec.train.replay import Recorder, Replay
from convspec.train.run import RunFolder
from convspec.train.schedules import Plateau, progress_at
from convspec.train.signals import Interrupted
from convspec.train.state import Position, RunState
from convspec.train.team import ALONE, Losses, Team
from convspec.train.waiting import StopAsked, Waiting


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


class Training:
    """A network, its optimizer and its data, part of the way through a run."""

    def __init__(
        self,
        compiled: CompiledSpec,
        net: nn.Module,
        dataset: Dataset,
        statistics: PictureStatistics,
        run: RunFolder,
        devices: tuple[torch.device, ...],
        display: Display,
        *,
        log_every: int | None,
        notify: Notify = lambda diagnostic: None,
        tensorboard: bool = False,
        team: Team = ALONE,
        recorder: Recorder | None = None,
    ) -> None:
        """devices: those of the network, in the order of the GPUs of the spec; inputs and records are on the first.

        recorder: of the passes of a step, which are replayed then; only for emitted modules.
        """
        options: TrainOptions = compiled.train
        device = devices[0]
        self.options, self.program, self.net, self.dataset = options, compiled.program, net, dataset
        self.run_folder, self.device, self.display, self.notify = run, device, display, notify
        self.team = team
        self.is_centered = compiled.data.crop == "center"
        self.mirror, self.mean = compiled.data.mirror, statistics.mean
        self.colors = color_noise(compiled.data, statistics)
        self.optimizer = PaperSGD(team.part(self.program), net, seed=options.seed)
        team.watch(net)
        self.plateau = Plateau(options.plateau_factor, options.plateau_patience, options.plateau_drops)
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16")
        self.replay: Replay | None = None
        if recorder is not None:
            self.replay = Replay(self.program, net, self.autocast, recorder, cases=options.batch, say=display.line)
        self.inputs = InputTensors(self.program, self.mean, device, options.batch)
        self.steps = steps_per_epoch(dataset, Split.TRAIN, options.batch)
        self.position, self.sums = Position(self.steps, options.epochs), EpochSums(self.program, device, team)
        self.state = RunState(net, self.optimizer, self.plateau, self.sums, self.position, statistics, devices)
        self.validation: Validation | None = None
        self.records = Records(
            self.program, self.optimizer, self.sums, self.position, devices, every=log_every, team=team
        )
        self.uses_tensorboard = tensorboard
        self.began = time.perf_counter()

    # the run

    def run(
        self, max_steps: int | None, *, should_stop: Callable[[], bool], is_enough: Callable[[], bool] = lambda: False
    ) -> Result:
        """Epoch after epoch: its steps, its validation, its checkpoint; after which it may be enough."""
        while not self.position.finished:
            stopped = self.run_steps(max_steps, should_stop) or not self.end_epoch(should_stop)
            path = self.save()
            if should_stop() and not self.position.finished:
                raise Interrupted(self.run_folder.path, path, self.position.steps_done)
            if stopped or is_enough():
                break
        return Result(
            run_dir=self.run_folder.path,
            steps=self.position.steps_done,
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
        with suppress(StopAsked), self.batches(Split.TRAIN, should_stop, start=position.step) as stream:
            while position.step < self.steps:
                if should_stop() or (max_steps is not None and self.position.steps_done >= max_steps):
                    return True
                batch = next(stream)
                self.records.data_wait += stream.waited
                self.step_on(batch)
                if every and position.step % every == 0 and position.step < self.steps:
                    self.save()
        return should_stop() or (max_steps is not None and self.position.steps_done >= max_steps)

    def step_on(self, batch: Batch) -> None:
        """`one_step`. Raises DiagnosticError CS718, with the minibatch that would fit, where the memory does not suffice; of
        several processes the others wait for this one, and no other minibatch can be tried."""
        try:
            self.one_step(*self.inputs(batch))
            return
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
        if self.team.here is not None:
            raise too_little_memory_of_one(self.team.here, len(batch.labels), self.run_folder.checkpoints)
        # out here, where the error and all that its frames held are gone
        self.replay = None
        fitting = fitting_minibatch(self.net, self.inputs(batch)[0], self.autocast)
        raise too_little_memory(len(batch.labels), fitting, self.run_folder.checkpoints)

    def one_step(self, tensors: dict[str, Tensor], labels: Tensor) -> None:
        """Forward, backward, update: one minibatch."""
        began = time.perf_counter()
        self.set_rates()
        before = rng_states(self.device)
        self.net.train()
        own, cases = len(labels), self.cases_of_step()
        outputs, losses = self.passes(tensors, own)
        loss = losses.objective()
        if not isfinite(loss):
            raise self.team.known_to_all(self.not_finite(loss, lambda: self.forward(tensors, own), before))
        self.optimizer.step(self.position.steps_done, cases / self.options.batch)
        self.optimizer.zero_grad()
        self.position.step += 1
        self.sums.add(outputs, tensors, own)
        speed = cases / (time.perf_counter() - began)
        self.display.advance(f"loss {loss:.4f}  {speed:.0f} images/s")
        self.records.step(losses, speed)

    def passes(self, tensors: dict[str, Tensor], own: int) -> tuple[dict[str, Tensor], Losses]:
        """Outputs and losses; afterwards the gradients are there, or on their way. own: as of `forward`."""
        replayed = None if self.replay is None else self.replay(tensors, own)
        if replayed is not None:
            return replayed
        outputs = self.forward(tensors, own)
        return outputs, self.team.backward(self.net, outputs, own, self.cases_of_step())

    def forward(self, tensors: dict[str, Tensor], own: int) -> dict[str, Tensor]:
        """own: cases of the minibatch that is next, which this process has."""
        with self.autocast:
            return self.team.forward(self.net, tensors, own, self.cases_of_step())

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
        self.sums.clear()
        return True

    # its parts

    def cases_of_step(self) -> int:
        """Of the minibatch that is next, in all processes together."""
        batch = self.options.batch
        return min(batch, self.dataset.count(Split.TRAIN) - self.position.step * batch)

    def set_rates(self) -> None:
        progress = progress_at(self.position.steps_done, self.options.epochs * self.steps)
        self.optimizer.set_rates(progress, self.plateau.scale)

    def batches(self, split: Split, should_stop: Callable[[], bool], start: int = 0) -> BatchStream:
        """Waiting for one raises StopAsked where `should_stop` says so."""
        return BatchStream(
            self.dataset,
            split,
            batch_size=self.options.batch,
            crop=(self.mean.shape[0], self.mean.shape[1]),
            is_centered=self.is_centered,
            mirror=self.mirror and split is Split.TRAIN,
            colors=self.colors,
            seed=self.options.seed,
            epoch=self.position.epoch,
            start=start,
            share=self.team.share if split is Split.TRAIN else (0, 1),
            stored=self.inputs.takes_stored,
            allocate=self.inputs.allocate,
            on_return=self.inputs.release,
            on_wait=Waiting(self.dataset.name, self.team.alone(should_stop), self.notify),
        )

    def validate(self, should_stop: Callable[[], bool]) -> Validation | None:
        """The test pass, on random numbers of its own; None if a stop was asked for."""
        devices = [self.device.index] if self.device.type == "cuda" else []
        with (
            suppress(StopAsked),
            self.batches(Split.TEST, should_stop) as stream,
            torch.random.fork_rng(devices=devices),
        ):
            torch.manual_seed(self.options.seed)
            return evaluate(
                self.net,
                self.program,
                stream,
                self.inputs,
                autocast=self.autocast,
                team=self.team,
                should_stop=should_stop,
            )
        return None

    def take_in(self, validation: Validation) -> None:
        """What follows from a validation: the record of it, the best error, the schedule."""
        self.validation, position = validation, self.position
        if isfinite(validation.score) and (position.best_error is None or validation.score < position.best_error):
            position.best_error = validation.score
        divisions = self.plateau.dropped
        if self.options.schedule == "plateau":
            self.plateau.update(validation.score)
        trained = self.sums.means()
        self.records.validation(trained, validation, self.plateau.dropped)
        losses = ", ".join(f"{name} {loss:.4f}" for name, loss in trained["costs"].items())
        epoch = f"epoch {position.epoch + 1}/{self.options.epochs}"
        divided = "" if self.plateau.dropped == divisions else f"; {self.plateau.text()}"
        self.display.line(f"{epoch}: train {losses}; test {validation.text()}{divided}")
        for line in validation.class_lines(self.dataset.classes):
            self.display.line(line)

    def not_finite(
        self, loss: float, forward: Callable[[], dict[str, Tensor]], before: dict[str, Tensor]
    ) -> Diagnostic:
        """CS707, with the layer that began it. The weights are those before the step."""
        self.optimizer.zero_grad()
        set_rng_states(before, self.device)
        where = first_nonfinite(self.net, self.program, forward, self.team)
        return Diagnostic(
            "CS707",
            f"the loss is {loss} at step {self.position.steps_done + 1}; the first that is not finite is {where}",
            notes=(f"the checkpoints in {self.run_folder.checkpoints} are from before this step",),
            help="lower the learning rates (epsW, epsB) or the initial weights (initW) from that layer on",
        )

    # checkpoints

    def save(self) -> Path:
        self.team.chief_does(self.run_folder.check_is_held)
        self.records.sync()
        checkpoint = self.state.checkpoint(self.records.lines)
        return self.team.save(self.run_folder.checkpoints, checkpoint, keep=self.options.keep_checkpoints)

    def restore(self, checkpoint: Checkpoint | None, notify: Notify) -> None:
        """Take up a checkpoint, or the beginning, and cut the metrics back to it. Raises DiagnosticError CS709."""
        if self.team.is_chief:
            remove_unfinished(self.run_folder.checkpoints)
        if checkpoint is not None:
            self.state.restore(checkpoint, self.run_folder.checkpoints, notify)
        lines = 0 if checkpoint is None else checkpoint.state["metrics_lines"]
        if self.team.is_chief:
            self.records.open(self.run_folder.path, keep_lines=lines, tensorboard=self.uses_tensorboard, notify=notify)

    def close(self) -> None:
        self.records.close()
