"""What pictures can be prepared from: a folder, an archive, data batches, the built-in sets.

A source has its pictures numbered before any is read, split by split, so that the shards they go to do not depend on what
is found in them. `jobs` gives them as functions, for threads to call.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np

from convspec.data.archive import ArchiveTree, is_archive
from convspec.data.batch_folders import is_batch_folder, open_batches, provider_of
from convspec.data.dataset import Dataset, Notify, Pictures, Split
from convspec.data.digits import Digits
from convspec.data.draws import Indices
from convspec.data.jpeg_batches import JpegBatches
from convspec.data.layout import TEST_SHARE, Layout, Tree, read_folder, read_layout
from convspec.data.matrix_batches import MatrixBatches
from convspec.data.photos import Photos
from convspec.data.pictures import read_square
from convspec.data.shards import Shards, is_prepared
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity

SIZE = 256
"""Of the paper (section 2)."""

COLORS = 3
DIGITS_SIZE = 32
PHOTOS_SAMPLES, PHOTOS_TEST_SAMPLES = 100, 25

_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Job:
    """The picture number `index` of a split. read: makes it, (H, W, C); raises BrokenPicture or OSError."""

    split: Split
    index: int
    read: Callable[[], Pictures]


Wanted = Callable[[Split, int], bool]


class Source(ABC):
    """kind: folder, archive, batches or the name of a built-in set. name: last part of its path. shape: (H, W, C) of what
    it gives. labels: of all pictures, by split. refused: names of what is no picture, and why. digest: of all this. folder:
    that is read."""

    kind: str
    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    labels: dict[Split, Indices]
    refused: tuple[tuple[str, str], ...] = ()
    digest: str
    folder: Path | None = None

    def is_that_of(self, digest: object) -> bool:
        """Whether this is the source that was recorded by a digest, of this version or of an earlier one."""
        return digest == self.digest

    @abstractmethod
    def name_of(self, split: Split, index: int) -> str:
        """Of a picture, for people."""

    @abstractmethod
    def jobs(self, wanted: Wanted) -> Iterator[Job]:
        """The pictures that are wanted; within a split in the order of their numbers."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is made of a source. size: side of a picture; None for what suits it. channels: 1 or 3; None for 3, or what squares
    that are stored have. test_share: 0 to 1, where the source has no tests."""

    size: int | None = None
    channels: int | None = None
    test_share: float = TEST_SHARE


def open_source(name: str, choice: Choice, notify: Notify) -> Source:
    """Raises DiagnosticError: CS701, CS702 for a folder, CS725 an archive that is damaged, CS726 a size that is not had, CS720
    and CS723 for batches, CS801."""
    root = Path(name).expanduser()
    size, channels = choice.size or SIZE, choice.channels or COLORS
    if name == "photos":
        photos = Photos(size=size, channels=channels, samples=PHOTOS_SAMPLES, test_samples=PHOTOS_TEST_SAMPLES, seed=0)
        return DatasetSource(name, photos)
    if name == "digits":
        side = choice.size or DIGITS_SIZE
        return DatasetSource(name, Digits(height=side, width=side, channels=channels))
    if is_batch_folder(root):
        batches = open_batches(root, "", "")
        if provider_of(batches) == "jpeg":
            return JpegSource(JpegBatches(batches, channels=channels, seed=0, notify=notify), choice, notify)
        return _as_stored(DatasetSource("batches", MatrixBatches(batches)), choice)
    if is_prepared(root):
        return _as_stored(DatasetSource("prepared", Shards(name, notify=notify)), choice)
    if root.is_file() and is_archive(root):
        return ArchiveSource(root, choice, notify)
    if root.is_file():
        help = "name a folder of class folders, a .tar or .tar.gz of one, data batches, photos or digits"
        raise DiagnosticError(Diagnostic("CS701", f"{root} is neither a folder nor an archive", help=help))
    return FolderSource(name, choice)


def _as_stored(source: Source, choice: Choice) -> Source:
    """Pictures that are squares already are not resized twice."""
    height, width, channels = source.shape
    if choice.size in (None, height) and choice.channels in (None, channels) and height == width:
        return source
    message = f"the pictures of {source.name} are stored as {channels}x{height}x{width}, and stay so"
    help = "leave out --size and --grey"
    raise DiagnosticError(Diagnostic("CS726", message, help=help))


class _Listed(Source):
    """Pictures by name, in class folders."""

    def __init__(self, kind: str, name: str, tree: Tree, layout: Layout, choice: Choice) -> None:
        side = choice.size or SIZE
        self.kind, self.name, self.shape = kind, name, (side, side, choice.channels or COLORS)
        self.classes, self.samples = layout.classes, layout.samples
        self.labels = {split: np.array([s.label for s in layout.samples[split]], np.int64) for split in Split}
        self.refused = tuple((stranger, "not a picture") for stranger in layout.strangers)
        self.digest = layout.digest(kind.encode(), tree.sizes(layout.names()))
        self._by_names = layout.digest(kind.encode())

    def is_that_of(self, digest: object) -> bool:
        return digest in (self.digest, self._by_names)

    def name_of(self, split: Split, index: int) -> str:
        return self.samples[split][index].name

    def square(self, file: Path | BytesIO) -> Callable[[], Pictures]:
        return partial(read_square, file, self.shape[0], self.shape[2])


class FolderSource(_Listed):
    def __init__(self, root: str, choice: Choice) -> None:
        tree, layout = read_folder(root, choice.test_share)
        self.folder = self._root = tree.root
        super().__init__("folder", tree.root.resolve().name, tree, layout, choice)

    def jobs(self, wanted: Wanted) -> Iterator[Job]:
        for split in Split:
            for index, sample in enumerate(self.samples[split]):
                if wanted(split, index):
                    yield Job(split, index, self.square(self._root / sample.name))


class ArchiveSource(_Listed):
    """Pictures are numbered as the archive has them, so that it is read from its beginning to its end, once."""

    def __init__(self, path: Path, choice: Choice, notify: Notify) -> None:
        self._tree = ArchiveTree(path, notify)
        layout = read_layout(self._tree, choice.test_share)
        order = self._tree.order
        samples = {split: sorted(layout.samples[split], key=lambda sample: order[sample.name]) for split in Split}
        super().__init__("archive", path.name, self._tree, replace(layout, samples=samples), choice)
        self.refused = (*self._tree.refused, *self.refused)

    def jobs(self, wanted: Wanted) -> Iterator[Job]:
        places = {
            sample.name: (split, index)
            for split in Split
            for index, sample in enumerate(self.samples[split])
            if wanted(split, index)
        }
        for name, content in self._tree.contents({self._tree.order[name]: name for name in places}):
            yield Job(*places[name], self.square(BytesIO(content)))


class JpegSource(Source):
    """JPEG files in batches; a picture with several labels keeps its first."""

    def __init__(self, batches: JpegBatches, choice: Choice, notify: Notify) -> None:
        self._batches = batches
        side = choice.size or batches.shape[0]
        self.kind, self.name, self.shape = (
            "batches",
            Path(batches.name).resolve().name,
            (side, side, choice.channels or COLORS),
        )
        self.classes, self.labels = batches.classes, {split: batches.labels(split) for split in Split}
        self.digest = batches.fingerprint
        if batches.has_several_labels():
            message = f"{batches.name}: pictures with several labels keep the first"
            notify(Diagnostic("CS723", message, severity=Severity.WARNING))

    def name_of(self, split: Split, index: int) -> str:
        return self._batches.name_of(split, index)

    def jobs(self, wanted: Wanted) -> Iterator[Job]:
        for split in Split:
            for index in range(self._batches.count(split)):
                if wanted(split, index):
                    yield Job(split, index, partial(self._read, split, index))

    def _read(self, split: Split, index: int) -> Pictures:
        return read_square(self._batches.file(split, index), self.shape[0], self.shape[2])


class DatasetSource(Source):
    """Pictures as a dataset gives them in its first epoch."""

    def __init__(self, kind: str, dataset: Dataset) -> None:
        self._dataset = dataset
        self.kind, self.name, self.shape = kind, Path(dataset.name).resolve().name, dataset.shape
        self.classes, self.labels = dataset.classes, {split: dataset.labels(split) for split in Split}
        self.digest = hashlib.sha256(f"{kind} {dataset.fingerprint}".encode()).hexdigest()

    def name_of(self, split: Split, index: int) -> str:
        return f"{split.value} picture {index}"

    def jobs(self, wanted: Wanted) -> Iterator[Job]:
        for split in Split:
            left = (index for index in range(self._dataset.count(split)) if wanted(split, index))
            while chunk := list(islice(left, _CHUNK)):
                pictures = np.empty((len(chunk), *self.shape), np.uint8)
                self._dataset.read(split, np.array(chunk, np.int64), epoch=0, out=pictures)
                for index, picture in zip(chunk, pictures, strict=True):
                    yield Job(split, index, partial(np.asarray, picture))
