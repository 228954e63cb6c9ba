"""The folder of a run, opened for use: what tests, predicts, compares or draws a trained network begins here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from convspec.checker import Checked
from convspec.compiler import Compiled, compile_checked
from convspec.data import Dataset, open_dataset
from convspec.data.dataset import Notify, center_crop
from convspec.data.folder import Folder
from convspec.data.layout import TEST_SHARE
from convspec.data.relabelled import Relabelled
from convspec.data.statistics import mean_image
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity, did_you_mean, listed
from convspec.emit.load import Undrawn, instantiate
from convspec.program.costs import Cost
from convspec.program.program import Program
from convspec.train.device import note_slow_bf16, open_device
from convspec.train.inputs import InputTensors, PictureStatistics, label_capacity, picture_shape
from convspec.train.saved import SPEC, SavedRun, read_run
from convspec.train.scores import trained_cost


@dataclass(frozen=True)
class Trained:
    """A trained network, ready to be used.

    run_dir: the folder of the run. compiled: its spec, with the outputs that were asked for.
    net: in evaluation mode, on `device`. checkpoint: name of the one that the weights are from.
    state: of that checkpoint: `epoch`, `step`, `finished`, `best_error`. settings: of the run, see `describe_run`.
    mean: what is subtracted from an input, (H, W, C); None where the run has met no data, as an imported one.
    """

    run_dir: Path
    compiled: Compiled
    net: nn.Module
    device: torch.device
    checkpoint: str
    state: Mapping[str, Any]
    settings: Mapping[str, Any]
    mean: NDArray[np.float32] | None

    @property
    def name(self) -> str:
        """Of the network."""
        return str(self.settings.get("name") or self.compiled.name)

    @property
    def program(self) -> Program:
        return self.compiled.program

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it was trained on, in the order of the outputs; none if the run has met no data."""
        return tuple(self.settings.get("classes") or ())

    @property
    def data(self) -> str | None:
        """The data that it was trained on, as for `--data`; None if it has met none."""
        return self.settings.get("data")

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """What the network reads, (channels, height, width)."""
        return picture_shape(self.program)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """The pictures that inputs are cropped from, (height, width, channels)."""
        size = self.compiled.data.size
        height, width, channels = self.settings.get("stored_shape") or (size, size, self.input_shape[0])
        return (height, width, channels)

    @cached_property
    def cost(self) -> Cost | None:
        """The cost whose error counts, as in training; None for a network without costs."""
        return trained_cost(self.program) if self.program.costs else None

    @property
    def judged(self) -> str | None:
        """The layer whose outputs that cost judges, such as a softmax, (N, classes); None where it has no error rate."""
        value = None if self.cost is None else self.cost.predictions
        return next((output.layer for output in self.program.outputs if output.value == value), None)

    def autocast(self) -> torch.autocast:
        """The precision that it was trained in, for a `with` around each forward pass."""
        is_bf16 = self.compiled.train.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=is_bf16)

    def open_data(
        self, data: str | None = None, *, notify: Notify = lambda diagnostic: None, takes_other_classes: bool = False
    ) -> Dataset:
        """The data that it was trained on, or those that `data` names, under the classes of the run. Close it.

        Other data may lack classes of the run and have them in another order: they are known by name. A folder of class
        folders that is not the run's own, by its pictures, is for testing as a whole, unless it says itself what is.

        takes_other_classes: data with a class that the run does not know stay under their own.

        Raises DiagnosticError CS701 where the run tells of no data and none are named, CS704 for a class that it does
        not know, and what `open_dataset` raises. Warns with CS709 of data that have changed since.
        """
        if not data and self.data is None and not self.compiled.data.is_given("provider"):
            message = f"{self.run_dir} tells of no data: it was made of an old checkpoint, and has not met any since"
            raise DiagnosticError(Diagnostic("CS701", message, help="name data with --data"))
        dataset = self._open(data or self.data, TEST_SHARE if self._is_own_place(data) else 1.0, notify)
        if isinstance(dataset, Folder) and dataset.is_whole_of(self.settings.get("fingerprint")):
            # the pictures of the run, under another name: most of them were trained on
            dataset = self._open(data, TEST_SHARE, notify)
        self._note_changes(dataset, notify)
        if takes_other_classes and not set(dataset.classes) <= set(self.classes):
            return dataset
        return self._under_own_classes(dataset)

    def inputs(self, batch_size: int, dataset: Dataset | None = None) -> InputTensors:
        """Turns batches of at most `batch_size` cases into what `net` reads.

        dataset: its training pictures give the mean where the run has none. Raises DiagnosticError CS701 without both.
        """
        return InputTensors(self.program, self.mean_for(dataset), self.device, batch_size)

    def mean_for(self, dataset: Dataset | None = None) -> NDArray[np.float32]:
        """What is subtracted from an input, (H, W, C): as in training, or else the mean of `dataset`."""
        if self.mean is not None:
            return self.mean
        kind = self.compiled.data.mean
        channels, height, width = self.input_shape
        if dataset is not None:
            return center_crop(mean_image(dataset, kind), height, width)
        if kind != "none":
            message = (
                f"{self.run_dir} has no mean image: it was made of an old checkpoint, and has not met any data since"
            )
            raise DiagnosticError(Diagnostic("CS701", message, help="name the data that it was trained on with --data"))
        return np.zeros((height, width, channels), np.float32)

    def _open(self, data: str | None, test_share: float, notify: Notify) -> Dataset:
        return open_dataset(
            self.compiled.data,
            data=data,
            seed=self.compiled.train.seed,
            input_shape=self.input_shape,
            classes=None if self.classes else label_capacity(self.program),
            notify=notify,
            test_share=test_share,
        )

    def _is_own_place(self, data: str | None) -> bool:
        """Whether `data` names what the run was trained on, however its path is written."""
        if not data or data == self.data:
            return True
        return self.data is not None and _real(data) == _real(self.data)

    def _note_changes(self, dataset: Dataset, notify: Notify) -> None:
        before = self.settings.get("fingerprint")
        if self._is_own_place(dataset.name) and before is not None and not dataset.is_that_of(before):
            message = f"{dataset.name} has other pictures now than when {self.run_dir} was trained on it"
            notify(Diagnostic("CS709", message, severity=Severity.WARNING))

    def _under_own_classes(self, dataset: Dataset) -> Dataset:
        if not self.classes or dataset.classes == self.classes:
            return dataset
        strangers = [name for name in dataset.classes if name not in self.classes]
        if not strangers:
            return Relabelled(dataset, self.classes)
        dataset.close()
        more = f" and {len(strangers) - 1} more classes" if len(strangers) > 1 else ""
        message = f"{dataset.name} has class '{strangers[0]}'{more}, which {self.run_dir} was not trained on"
        help = did_you_mean(strangers[0], self.classes) or f"it knows {listed(self.classes)}; classes are told by name"
        raise DiagnosticError(Diagnostic("CS704", message, help=help))


def open_trained(
    run: str | Path,
    *,
    outputs: Sequence[str] | Callable[[Checked], Sequence[str]] = (),
    device: str = "auto",
    checkpoint: str | None = None,
    notify: Notify = lambda diagnostic: None,
) -> Trained:
    """Open the folder of a run for use.

    outputs: layers that the network gives beside its costs and what they judge, or what finds them in the spec.
    device: as in `open_device`. checkpoint, notify: as in `read_run`.

    Raises DiagnosticError what `read_run` raises, CS601 for an output that is no layer, CS709 for weights that do not
    fit the spec, because it was edited, and CS710 for a device that is not there.
    """
    return open_saved(
        read_run(run, checkpoint=checkpoint, notify=notify), outputs=outputs, device=device, notify=notify
    )


def open_saved(
    saved: SavedRun,
    *,
    outputs: Sequence[str] | Callable[[Checked], Sequence[str]] = (),
    device: str = "auto",
    notify: Notify = lambda diagnostic: None,
) -> Trained:
    """As `open_trained`, of a folder that has been read."""
    place = open_device(device)
    try:
        # the functions that drew initial weights are not called: there are weights now
        wanted = outputs(saved.checked) if callable(outputs) else outputs
        compiled = compile_checked(saved.checked, outputs=wanted, allow_init_imports=True)
    except DiagnosticError as error:
        raise DiagnosticError(*(d for d in error.diagnostics if d.severity is Severity.ERROR)) from None
    _check_classes(compiled.program, saved)
    note_slow_bf16(place, compiled.train.precision, notify)
    statistics = PictureStatistics.kept(saved.checkpoint.training, picture_shape(compiled.program), with_colors=False)
    return Trained(
        run_dir=saved.path,
        compiled=compiled,
        net=_network(compiled, saved).to(place).eval().requires_grad_(False),
        device=place,
        checkpoint=saved.checkpoint.name,
        state=saved.checkpoint.state,
        settings=saved.settings,
        mean=None if statistics is None else statistics.mean,
    )


def _check_classes(program: Program, saved: SavedRun) -> None:
    """Raises DiagnosticError CS708 for names of more classes than the network has outputs: `train` had refused them."""
    names, capacity = saved.settings.get("classes") or (), label_capacity(program)
    if capacity is not None and len(names) > capacity:
        message = f"{saved.path / 'settings.json'} names {len(names)} classes, and the network tells {capacity} apart"
        raise DiagnosticError(Diagnostic("CS708", message))


def _network(compiled: Compiled, saved: SavedRun) -> nn.Module:
    # the caller's random numbers stay as they are; connections are drawn all the same
    with torch.random.fork_rng(devices=[]), Undrawn():
        net = instantiate(compiled.source, compiled.name)
    try:
        net.load_state_dict(dict(saved.checkpoint.weights))
    except (RuntimeError, KeyError) as error:
        message = f"the weights of {saved.path} are not those of the network in its {SPEC}"
        help = f"undo what was changed in {saved.path / SPEC} since the run began"
        raise DiagnosticError(Diagnostic("CS709", message, notes=(str(error),), help=help)) from error
    return net


def _real(path: str) -> str:
    return os.path.realpath(Path(path).expanduser())
