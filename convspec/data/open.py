"""From `--data` and the section @data to a dataset that fits the network."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from convspec.data.batch_folders import is_batch_folder, misfit, open_batches, provider_of
from convspec.data.dataset import Dataset, Notify
from convspec.data.digits import Digits
from convspec.data.folder import Folder
from convspec.data.jpeg_batches import JpegBatches
from convspec.data.layout import TEST_SHARE
from convspec.data.matrix_batches import MatrixBatches
from convspec.data.photos import Photos
from convspec.data.shards import Shards, is_prepared
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity

BUILT_IN = ("photos", "digits")
BATCHES = {"cifar": "matrices", "jpeg": "JPEG files"}
"""Providers of data batches, and what is in them."""


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
    @property
    def train_batches(self) -> str: ...
    @property
    def test_batches(self) -> str: ...


def dataset_name(settings: DataOptions, data: str | None) -> str:
    """ "photos", "digits" or a path: what --data says, else what @data says, else "photos"."""
    if data:
        return data
    return settings.provider or "photos" if settings.provider in (*BUILT_IN, "") else settings.path


def open_dataset(
    settings: DataOptions,
    *,
    data: str | None,
    seed: int,
    input_shape: tuple[int, int, int],
    classes: int | None,
    notify: Notify = lambda diagnostic: None,
    test_share: float = TEST_SHARE,
) -> Dataset:
    """The dataset that `data` names (see `dataset_name`), checked against the network.

    input_shape: of the network, (channels, height, width). classes: outputs of its softmax, None where it reads no labels.
    notify: is told what is worth a warning, also later, while pictures are read. test_share: see `layout.read_layout`.

    Raises DiagnosticError: CS701 no such folder, CS702 no pictures in it, CS703 too many broken ones, CS704 more
    classes than outputs, CS705 input larger than the pictures, CS713 neither 1 nor 3 channels, CS720 and CS723 batches
    that cannot be read or do not fit together, CS724 a prepared folder that is damaged, CS801 a package is missing.
    """
    channels, height, width = input_shape
    name = dataset_name(settings, data)
    is_said = not data and settings.provider in BATCHES
    root = Path(name).expanduser()
    is_batches = is_said or (name not in BUILT_IN and is_batch_folder(root))
    is_shards = not is_batches and name not in ("", *BUILT_IN) and is_prepared(root)
    if not is_batches and not is_shards:
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
        case _ if is_batches:
            wanted = settings.provider if is_said else ""
            dataset = _fitting(_open_batches(name, wanted, settings, input_shape, seed, notify), input_shape)
        case _ if is_shards:
            dataset = _fitting(Shards(name, notify=notify), input_shape)
        case _:
            dataset = Folder(name, size=settings.size, channels=channels, notify=notify, test_share=test_share)
    if classes is not None:
        _check_classes(dataset, classes, notify)
    return dataset


def _open_batches(
    name: str, wanted: str, settings: DataOptions, input_shape: tuple[int, int, int], seed: int, notify: Notify
) -> Dataset:
    """Batches of matrices or of JPEG files: what the first one holds decides. wanted: what @data says that it is."""
    if not name:
        help = "write path=DIR under [@data], or --data DIR"
        raise DiagnosticError(Diagnostic("CS701", "no folder of batches was named", help=help))
    batches = open_batches(Path(name).expanduser(), settings.train_batches, settings.test_batches)
    provider = provider_of(batches)
    if wanted and provider != wanted:
        help = f"write provider={provider} under [@data]"
        raise misfit(batches.root, f"it holds batches of {BATCHES[provider]}, not of {BATCHES[wanted]}", help)
    _check_channels(input_shape)
    if provider == "cifar":
        return MatrixBatches(batches)
    return JpegBatches(batches, channels=input_shape[0], seed=seed, notify=notify)


def _fitting(dataset: Dataset, input_shape: tuple[int, int, int]) -> Dataset:
    """The dataset, if a network can read its pictures, whose size is not ours to choose. Raises CS705 and CS713."""
    channels, height, width = input_shape
    stored_height, stored_width, stored_channels = dataset.shape
    if channels != stored_channels:
        dataset.close()
        message = f"the network reads {channels} channels, and the pictures of {dataset.name} have {stored_channels}"
        help = f"write input=data:{stored_channels}x{height}x{width} under [@net]"
        raise DiagnosticError(Diagnostic("CS713", message, help=help))
    if height > stored_height or width > stored_width:
        dataset.close()
        message = (
            f"the network reads {height}x{width}, and the pictures of {dataset.name} are {stored_height}x{stored_width}"
        )
        help = f"write input=data:{channels}x{stored_height}x{stored_width} or less under [@net]"
        raise DiagnosticError(Diagnostic("CS705", message, help=help))
    return dataset


def _check_channels(input_shape: tuple[int, int, int]) -> None:
    channels, height, width = input_shape
    if channels not in (1, 3):
        message = f"the network reads {channels}x{height}x{width}, and pictures have 1 channel or 3"
        raise DiagnosticError(Diagnostic("CS713", message, help=f"write input=data:3x{height}x{width} under [@net]"))


def _check_input(input_shape: tuple[int, int, int], size: int, *, is_cropped: bool) -> None:
    _, height, width = input_shape
    _check_channels(input_shape)
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
