"""Trains a compiled spec: `train` sets a run up from spec, data and checkpoint; `loop` runs it.

A run is a function of the spec, the data, the seed and the number of threads. Whatever it needs to go on is in its
checkpoints, so that on the CPU a run that was stopped, or killed, goes on to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import nn

from convspec.data import Dataset, Split
from convspec.data.dataset import Notify
from convspec.diagnostics import DiagnosticError
from convspec.train.checkpoint import list_checkpoints
from convspec.train.contract import CompiledSpec
from convspec.train.device import chosen_convolutions, note_slow_bf16, open_device, open_devices, place
from convspec.train.display import Display, SilentDisplay, as_line, open_display
from convspec.train.inherited import Inherited, inherit
from convspec.train.initial import set_initial_values
from convspec.train.loop import Result, Training
from convspec.train.preparation import (
    check_batches,
    check_trainable,
    describe_run,
    initial_network,
    note_grey,
    open_data,
    statistics_of_input,
)
from convspec.train.replay import recorder_for
from convspec.train.run import RUNS, RunFolder
from convspec.train.signals import StopSignals
from convspec.train.team import ALONE, Team
from convspec.train.tensorboard import require_tensorboard


def train(
    compiled: CompiledSpec,
    *,
    data: str | None = None,
    run_dir: str | Path | None = None,
    resume: str | Path | None = None,
    device: str = "cpu",
    devices: Sequence[str] = (),
    max_steps: int | None = None,
    log_every: int | None = None,
    numbered: str | Path | None = None,
    display: Display | None = None,
    notify: Notify | None = None,
    network: nn.Module | None = None,
    is_enough: Callable[[], bool] = lambda: False,
    tensorboard: bool = False,
    team: Team = ALONE,
) -> Result:
    """Train until the schedule ends, or up to step `max_steps` of the run.

    data: "photos", "digits" or a folder; None takes what @data says, or what the resumed run used.
    run_dir: a new folder for the run; None takes the first free one of `numbered`, `numbered`-2, ...
    numbered: None is `runs/`, and the name of the network.
    resume: folder of a run to go on with, from its newest good checkpoint.
    device, devices: where; `devices` for a network that was compiled for several, one for each GPU of its spec.
    log_every: metrics.jsonl records the first step of an epoch and each that many after it; None: about 100 an epoch.
    notify: is told warnings; None shows them on `display`.
    network: trained in place of an instance of the emitted module; follows the same contract.
    team: the processes that train together, each of which calls this; left at the end.
    is_enough: asked at the end of each epoch, after its checkpoint; True ends this call there.

    tensorboard: whether to write what metrics.jsonl records for TensorBoard too, into the run's folder.

    Raises DiagnosticError for a mistake of the user's or a trouble of the machine's, and Interrupted after a signal.
    """
    display = display or (open_display() if team.is_chief else SilentDisplay())
    notify = notify or (lambda diagnostic: display.line(as_line(diagnostic)))
    options = compiled.train
    with ExitStack() as stack:
        stack.callback(team.close)
        stack.callback(display.close)
        stack.enter_context(team.talk())
        stack.enter_context(chosen_convolutions())
        places = team.each_does(lambda: _places(compiled, device, devices, notify, tensorboard=tensorboard))
        if resume is not None:
            run = team.open_run(lambda: _reopened(compiled, resume))
            stack.callback(run.close)
            data = data or run.settings().get("data")
        dataset = team.each_does(lambda: _opened(compiled, data, notify))
        stack.callback(dataset.close)
        team.check_alike(dataset)
        # before there is a folder: what is wrong with the other run leaves none behind
        is_begun = resume is not None and list_checkpoints(run.checkpoints)
        inherited = None if is_begun else team.each_does(lambda: inherit(compiled, notify))
        if resume is None:
            run = team.open_run(lambda: _created(compiled, dataset, run_dir, numbered, log_every, inherited))
            stack.callback(run.close)
        team.chief_does(lambda: _take_up(run, compiled, dataset, log_every))
        checkpoint = team.load_newest(run.checkpoints, notify) if resume is not None else None
        if resume is not None and checkpoint is None:
            team.chief_does(lambda: run.begin_again(options.checkpoint_every, notify))

        torch.manual_seed(options.seed)
        net = initial_network(compiled, network, team, is_drawn=checkpoint is None)
        if inherited is not None:
            inherited.put_into(net)
        if checkpoint is None:
            team.each_does(lambda: set_initial_values(net, compiled.initial_values, options.init_from, notify))
        place(net, places)
        torch.manual_seed(options.seed)  # again: how much was drawn for first weights depends on the target
        kept = {} if checkpoint is None else checkpoint.training
        training = Training(
            compiled,
            net,
            dataset,
            team.each_does(lambda: statistics_of_input(compiled, dataset, kept)),
            run,
            places,
            display,
            log_every=_log_every(run, log_every),
            notify=notify,
            tensorboard=tensorboard,
            team=team,
            recorder=None if network is not None else recorder_for(compiled.program, places, team, display.line),
        )
        stack.callback(training.close)
        team.each_does(lambda: training.restore(checkpoint, notify))
        with StopSignals() as signals:
            return training.run(max_steps, should_stop=lambda: team.agree(signals.received), is_enough=is_enough)


def _places(
    compiled: CompiledSpec, device: str, devices: Sequence[str], notify: Notify, *, tensorboard: bool
) -> tuple[torch.device, ...]:
    """The devices, once it is known that there is something to train on them."""
    check_trainable(compiled.program)
    if tensorboard:
        require_tensorboard()
    places = open_devices(compiled.name, compiled.program, devices) if devices else (open_device(device),)
    note_slow_bf16(places[0], compiled.train.precision, notify)
    note_grey(compiled, notify)
    return places


def _opened(compiled: CompiledSpec, data: str | None, notify: Notify) -> Dataset:
    dataset = open_data(compiled, data, notify)
    try:
        check_batches(compiled.program, dataset.count(Split.TRAIN), compiled.train.batch)
    except DiagnosticError:
        dataset.close()
        raise
    return dataset


def _reopened(compiled: CompiledSpec, resume: str | Path) -> RunFolder:
    run = RunFolder.reopen(resume)
    try:
        run.check_spec(compiled.resolved_text)
    except DiagnosticError:
        run.close()
        raise
    return run


def _created(
    compiled: CompiledSpec,
    dataset: Dataset,
    run_dir: str | Path | None,
    numbered: str | Path | None,
    log_every: int | None,
    inherited: Inherited | None,
) -> RunFolder:
    free = Path(RUNS, compiled.name) if numbered is None else Path(numbered)
    run = RunFolder.create(free.name, run_dir=run_dir, runs=free.parent)
    try:
        run.describe(compiled, describe_run(compiled, dataset, log_every, inherited))
    except DiagnosticError:
        run.close()
        raise
    return run


def _take_up(run: RunFolder, compiled: CompiledSpec, dataset: Dataset, log_every: int | None) -> None:
    """Give an imported run what describes its data; raises where another run has other data."""
    if run.settings().get("fingerprint") is None:
        run.adopt(describe_run(compiled, dataset, log_every))
    run.check_data(dataset)


def _log_every(run: RunFolder, log_every: int | None) -> int | None:
    """A resumed run logs as it did before, so that its metrics stay one series."""
    return log_every or run.settings().get("log_every")
