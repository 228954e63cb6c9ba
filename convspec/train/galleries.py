"""The pictures that a user names for a trained network, as it reads them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from convspec.data import Split
from convspec.data.batch_folders import is_batch_folder
from convspec.data.dataset import Notify
from convspec.data.gallery import (
    UNKNOWN,
    Files,
    Gallery,
    PictureFile,
    SplitGallery,
    evenly_spaced,
    list_pictures,
)
from convspec.data.layout import TEST_FOLDERS, TRAIN_FOLDER, FolderTree, read_folder
from convspec.data.open import BUILT_IN
from convspec.data.shards import is_prepared
from convspec.train.trained import Trained


def files_named(trained: Trained, names: Sequence[str], notify: Notify, *, label: int = UNKNOWN) -> Files:
    """Files, folders and standard input, see `list_pictures`, at the size that the training pictures were stored at."""
    files = list_pictures(names, trained.classes, label=label)
    return Files(files, trained.classes, trained.stored_shape, notify)


def pictures_in(
    trained: Trained,
    data: str | None,
    split: Split,
    notify: Notify,
    *,
    most: int | None = None,
    whole_folders: bool = True,
    takes_other_classes: bool = False,
) -> Gallery:
    """A split of data, of the run's own where `data` is None; of a folder of pictures that is not its own all of them.

    most: of evenly spaced ones so many; None for all. whole_folders: False takes the split of any folder.
    takes_other_classes: whether data may have classes that the run does not know; they are under their own then.

    Raises DiagnosticError what `open_data` and `list_pictures` raise.
    """
    root = trained.data if data is None else data
    if root is None or not is_folder_of_pictures(root):
        dataset = trained.open_data(data, notify=notify, takes_other_classes=takes_other_classes)
        return SplitGallery(dataset, split, most)
    classes = trained.classes
    if data is not None and takes_other_classes and not any(name in classes for name in _folders_in(root)):
        classes = tuple(_folders_in(root))
    is_whole = data is not None and whole_folders
    files = list_pictures([root], classes) if is_whole else _files_of_split(root, split, classes)
    chosen = evenly_spaced(len(files), most)
    title = root if is_whole else f"{root}:{split.value}"
    return Files([files[place] for place in chosen.tolist()], classes, trained.stored_shape, notify, title=title)


def with_data(trained: Trained, data: str | None, notify: Notify) -> Trained:
    """The network with the mean picture, the classes and the size of `data`, of which an old checkpoint tells nothing."""
    if data is None or (trained.mean is not None and trained.classes):
        return trained
    with closing(trained.open_data(data, notify=notify)) as dataset:
        found = {"stored_shape": list(dataset.shape), "classes": list(dataset.classes)}
        settings = {**trained.settings, **{key: trained.settings.get(key) or value for key, value in found.items()}}
        return replace(trained, mean=trained.mean_for(dataset), settings=settings)


def is_folder_of_pictures(data: str) -> bool:
    """Whether `data` names a folder of picture files, and not one of batches or shards, or what comes with the install."""
    folder = Path(data).expanduser()
    return data not in BUILT_IN and folder.is_dir() and not is_batch_folder(folder) and not is_prepared(folder)


def _folders_in(root: str) -> list[str]:
    """Names of the folders that lie in a folder, or in its training and test folders: class folders mostly."""
    tree = FolderTree(Path(root).expanduser())
    try:
        inner = set(tree.folders(""))
        parts = inner & {TRAIN_FOLDER, *TEST_FOLDERS}
        return sorted(name for part in parts for name in tree.folders(part)) if parts else sorted(inner)
    except OSError:
        return []  # whoever reads the pictures says why


def _files_of_split(root: str, split: Split, classes: Sequence[str]) -> list[PictureFile]:
    """The files that a run was trained or tested on: unlike its dataset they tell when one of them has changed."""
    tree, layout = read_folder(root)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [numbers.get(name, UNKNOWN) for name in layout.classes]
    return [
        PictureFile(tree.root / sample.name, str(tree.root / sample.name), labels[sample.label])
        for sample in layout.samples[split]
    ]
