"""From `--data` and the section @data to a dataset that fits the network."""

from __future__ import annotations

from typing import Protocol

from convspec.data.dataset import Dataset, Notify
from convspec.data.digits import Digits
from convspec.data.folder import Folder
from convspec.data.photos import Photos
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity

BUILT_IN = ("photos", "digits")


class DataOptions(Protocol):
    """What of @data decides which pictures there are."""

    @property
    def provider(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def test_samples(self) -> int: ...


def dataset_name(settings: DataOptions, data: str | None) -> str:
    """ "photos", "digits" or a path: what --data says, else what @data says, else "photos"."""
    if data:
        return data
    return settings.path if settings.provider == "folder" else settings.provider or "photos"


def open_dataset(
    settings: DataOptions,
    *,
    data: str | None,
    seed: int,
    input_shape: tuple[int, int, int],
    classes: int | None,
    notify: Notify = lambda diagnostic: None,
) -> Dataset:
    """The dataset that `data` names (see `dataset_name`), checked against the network.

    input_shape: of the network, (channels, height, width). classes: outputs of its softmax, None where it reads no labels.
    notify: is told what is worth a warning, also later, while pictures are read.

    Raises DiagnosticError: CS701 no such folder, CS702 no pictures in it, CS703 too many broken ones, CS704 more
    classes than outputs, CS705 input larger than the pictures, CS713 neither 1 nor 3 channels, CS801 a package is missing.
    """
    channels, height, width = input_shape
    name = dataset_name(settings, data)
    _check_input(input_shape, settings.size, is_cropped=name != "digits")
    match name:
        case "photos":
            dataset: Dataset = Photos(
                size=settings.size,
                channels=channels,
                samples=settings.samples,
                test_samples=settings.test_samples,
                seed=seed,
            )
        case "digits":
            dataset = Digits(height=height, width=width, channels=channels)
        case _:
            dataset = Folder(name, size=settings.size, channels=channels, notify=notify)
    if classes is not None:
        _check_classes(dataset, classes, notify)
    return dataset


def _check_input(input_shape: tuple[int, int, int], size: int, *, is_cropped: bool) -> None:
    channels, height, width = input_shape
    if channels not in (1, 3):
        message = f"the network reads {channels}x{height}x{width}, and pictures have 1 channel or 3"
        raise DiagnosticError(Diagnostic("CS713", message, help=f"write input=data:3x{height}x{width} under [@net]"))
    if is_cropped and max(height, width) > size:
        message = f"the network reads {height}x{width}, and the pictures are stored as {size}x{size}"
        help = f"write size={max(height, width)} or more under [@data], or --set @data.size={max(height, width)}"
        raise DiagnosticError(Diagnostic("CS705", message, help=help))


def _check_classes(dataset: Dataset, outputs: int, notify: Notify) -> None:
    found = len(dataset.classes)
    if found < 2:
        message = f"{dataset.name} holds one class, '{dataset.classes[0]}': there is nothing to tell apart"
        raise DiagnosticError(
            Diagnostic("CS704", message, help="put the pictures of each class in a folder of its own")
        )
    help = f"write outputs={found} in the last fc layer, and classes={found} under [@net]"
    if found > outputs:
        message = f"{dataset.name} has {found} classes, and the network has {outputs} outputs"
        raise DiagnosticError(Diagnostic("CS704", message, help=help))
    if found < outputs:
        message = (
            f"{dataset.name} has {found} classes: {outputs - found} of the network's {outputs} outputs are never right"
        )
        notify(Diagnostic("CS704", message, help=help, severity=Severity.NOTE))
