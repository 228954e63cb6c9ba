"""How pictures lie in class folders, ImageNet's layout: train/CLASS and val/CLASS, or CLASS alone.

It is read off a `Tree`, which a folder on disk is, and an archive too. Without a folder for testing, a share of each
class is kept for it, chosen by a hash of the file names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Protocol

from convspec.data.dataset import Split
from convspec.diagnostics import Diagnostic, DiagnosticError

TRAIN_FOLDER = "train"
TEST_FOLDERS = ("val", "test", "valid", "validation")
TEST_SHARE = 0.2
"""Part of each class that is kept for testing where there is no test folder."""

EXTENSIONS = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

_AT_ONCE, _ASKED = 8, 1000
"""Threads that ask for the sizes of files, and of how many each asks at a time: over a network an answer takes a while."""

_ARCHIVES = frozenset({".tar", ".tgz", ".gz", ".bz2", ".xz"})


class Tree(Protocol):
    """Folders and files, by names relative to its root, with slashes; the root is "". Hidden ones are not in it."""

    @property
    def name(self) -> str:
        """Of the root, as it is shown."""

    def folders(self, folder: str) -> Sequence[str]:
        """Names of the folders directly in a folder, without that of their parent. Empty where there is no such folder."""

    def files(self, folder: str) -> Iterable[str]:
        """Names of all files in it, which is not the root, and below."""

    def sizes(self, names: Sequence[str]) -> dict[str, int]:
        """Of files, in bytes; -1 of one that cannot be had."""


@dataclass(frozen=True, slots=True)
class Sample:
    """name: relative to the root, with slashes. label: index of its class."""

    name: str
    label: int


@dataclass(frozen=True, slots=True)
class Layout:
    """classes: in order. samples: of each split, at least one. strangers: names of files that cannot be pictures."""

    classes: tuple[str, ...]
    samples: dict[Split, list[Sample]]
    strangers: list[str]

    @property
    def files(self) -> int:
        return sum(map(len, self.samples.values())) + len(self.strangers)

    def names(self) -> list[str]:
        """Of all samples, each once."""
        return list(dict.fromkeys(sample.name for split in Split for sample in self.samples[split]))

    def digest(self, content: bytes, told: Mapping[str, int | str] | None = None) -> str:
        """A fingerprint of `content`, the classes and the samples in their order.

        told: of each sample, by its name, what tells its picture from another: its size, or the hash of its bytes. None for
        the names alone, which is all that earlier versions recorded.
        """
        digest = hashlib.sha256(content + b"".join(os.fsencode(name) + b"\0" for name in self.classes))
        for split in Split:
            for sample in self.samples[split]:
                picture = "" if told is None else f"\0{told[sample.name]}"
                digest.update(os.fsencode(f"{split.value}\0{sample.name}\0{sample.label}{picture}\n"))
        return digest.hexdigest()


class FolderTree:
    """A folder on disk. Its methods raise OSError where it cannot be read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.name = str(root)

    def folders(self, folder: str) -> list[str]:
        path = self.root / folder
        if not path.is_dir():
            return []
        return [entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith(".")]

    def files(self, folder: str) -> Iterable[str]:
        top = str(self.root / folder)
        for parent, folders, files in os.walk(top):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inner = folder + parent[len(top) :].replace(os.sep, "/")
            yield from (f"{inner}/{name}" for name in files if not name.startswith("."))

    def sizes(self, names: Sequence[str]) -> dict[str, int]:
        parts = [names[start : start + _ASKED] for start in range(0, len(names), _ASKED)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="convspec-sizes") as workers:
            return dict(zip(names, chain.from_iterable(workers.map(self._sizes, parts)), strict=True))

    def _sizes(self, names: Sequence[str]) -> list[int]:
        found = []
        for name in names:
            try:
                found.append(os.stat(os.path.join(self.root, name)).st_size)  # noqa: PTH116, PTH118 - a third of the time
            except OSError:
                found.append(-1)
        return found


def read_folder(root: str, share: float = TEST_SHARE) -> tuple[FolderTree, Layout]:
    """The layout of a folder on disk. Raises DiagnosticError: CS701 where it cannot be read, and see `read_layout`."""
    if not root:
        raise DiagnosticError(
            Diagnostic("CS701", "no folder was named", help="write path=DIR under [@data], or --data DIR")
        )
    tree = FolderTree(Path(root).expanduser())
    try:
        if not tree.root.is_dir():
            raise _no_folder(tree.root)
        return tree, read_layout(tree, share)
    except OSError as error:
        message = f"{error.filename or root} cannot be read: {error.strerror or error}"
        raise DiagnosticError(Diagnostic("CS701", message, help="name a folder that can be read")) from error


def read_layout(tree: Tree, share: float = TEST_SHARE) -> Layout:
    """Classes, and the samples of both splits. share: kept for testing where there is no folder for it, 0 to 1; with 1, all
    pictures of class folders without a folder above them are in both.

    Raises DiagnosticError CS702 where no class folder or no picture is in the tree.
    """
    at_root = tree.folders("")
    if TRAIN_FOLDER not in at_root:
        classes, samples, strangers = _list_classes(tree, "", None)
        train, test = (samples, samples) if share == 1 else split_off_tests(samples, share)
        if not test:
            raise no_pictures(f"each class under {tree.name} has a single picture, so that none is left for testing")
        return Layout(classes, {Split.TRAIN: train, Split.TEST: test}, strangers)
    test_folder = next((name for name in TEST_FOLDERS if name in at_root), None)
    classes, train, strangers = _list_classes(tree, TRAIN_FOLDER, None)
    if test_folder is None:
        train, test = split_off_tests(train, share)
    else:
        _, test, more = _list_classes(tree, test_folder, classes)
        strangers += more
    if not test:
        raise no_pictures(f"{_shown(tree, test_folder or TRAIN_FOLDER)} holds no pictures to test with")
    return Layout(classes, {Split.TRAIN: train, Split.TEST: test}, strangers)


def split_off_tests(samples: Sequence[Sample], share: float = TEST_SHARE) -> tuple[list[Sample], list[Sample]]:
    """A share of each class, rounded, but at least one where there are two, for testing. Order is kept."""
    names: dict[int, list[str]] = {}
    for sample in samples:
        names.setdefault(sample.label, []).append(sample.name)
    chosen: set[str] = set()
    for each in names.values():
        each.sort(key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
        chosen.update(each[: min(max(1, round(len(each) * share)), len(each) - 1)])
    return [s for s in samples if s.name not in chosen], [s for s in samples if s.name in chosen]


def _list_classes(
    tree: Tree, folder: str, known: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[Sample], list[str]]:
    """As `read_layout`, for one folder of class folders. With `known`, other classes are passed over."""
    names = sorted(tree.folders(folder))
    if not names:
        raise no_pictures(f"{_shown(tree, folder)} holds no class folders")
    below = f"{folder}/" if folder else ""
    files = {
        name: sorted(tree.files(below + name), key=lambda file: file.split("/"))
        for name in names
        if known is None or name in known
    }
    pictures = {name: [file for file in inside if _is_picture(file)] for name, inside in files.items()}
    classes = known or tuple(name for name in names if pictures[name])
    if not any(pictures.values()):
        raise no_pictures(
            f"no pictures under {_shown(tree, folder)}: {len(names)} folders, "
            f"{sum(map(len, files.values()))} other files"
        )
    samples = [Sample(file, label) for label, name in enumerate(classes) for file in pictures.get(name, ())]
    strangers = [file for inside in files.values() for file in inside if not _is_picture(file)]
    return classes, samples, strangers


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def _shown(tree: Tree, folder: str) -> str:
    return f"{tree.name}/{folder}" if folder else tree.name


def _no_folder(root: Path) -> DiagnosticError:
    message = f"{root} is a file, not a folder of class folders" if root.exists() else f"there is no folder {root}"
    help = "--data takes photos, digits, or a folder: DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or DIR/CLASS/*.jpg"
    if root.is_file() and root.suffix.lower() in _ARCHIVES:
        help = f"prepare the archive once, with convspec data prepare {root} DIR, and name DIR"
    return DiagnosticError(Diagnostic("CS701", message, help=help))


def no_pictures(message: str) -> DiagnosticError:
    help = "lay the pictures out as DIR/train/CLASS/*.jpg and DIR/val/CLASS/*.jpg, or as DIR/CLASS/*.jpg"
    return DiagnosticError(Diagnostic("CS702", message, help=help))
