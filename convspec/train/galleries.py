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
from convspec.data.layout import read_folder
from convspec.data.open import BUILT_IN
from convspec.data.shards import is_prepared
from convspec.train.trained import Trained


def files_named(trained: Trained, names: Sequence[str], notify: Notify, *, label: int = UNKNOWN) -> Files:
    """Files, folders and standard input, see `list_pictures`, at the size that the training pictures were stored at."""
    return Files(list_pictures(names, trained.classes, label=label), trained.stored_shape, notify)


def pictures_in(
    trained: Trained,
    data: str | None,
    split: Split,
    notify: Notify,
    *,
    most: int | None = None,
    whole_folders: bool = True,
) -> Gallery:
    """A split of data, of the run's own where `data` is None; of a folder of pictures that is not its own all of them.

    most: of evenly spaced ones so many; None for all. whole_folders: False takes the split of any folder.
    """
    root = trained.data if data is None else data
    if root is None or not is_folder_of_pictures(root):
        return SplitGallery(trained.open_data(data, notify=notify), split, most)
    is_whole = data is not None and whole_folders
    files = list_pictures([root], trained.classes) if is_whole else _files_of_split(trained, root, split)
    chosen = evenly_spaced(len(files), most)
    title = root if is_whole else f"{root}:{split.value}"
    return Files([files[place] for place in chosen.tolist()], trained.stored_shape, notify, title=title)


def with_data(trained: Trained, data: str | None, notify: Notify) -> Trained:
    """The network with the mean picture and the classes of `data`, which the run of an old checkpoint has none of."""
    if data is None or (trained.mean is not None and trained.classes):
        return trained
    with closing(trained.open_data(data, notify=notify)) as dataset:
        settings = {**trained.settings, "classes": list(trained.classes or dataset.classes)}
        return replace(trained, mean=trained.mean_for(dataset), settings=settings)


def is_folder_of_pictures(data: str) -> bool:
    """Whether `data` names a folder of picture files, and not one of batches or shards, or what comes with the install."""
    folder = Path(data).expanduser()
    return data not in BUILT_IN and folder.is_dir() and not is_batch_folder(folder) and not is_prepared(folder)


def _files_of_split(trained: Trained, root: str, split: Split) -> list[PictureFile]:
    """The files that a run was trained or tested on: unlike its dataset they tell when one of them has changed."""
    tree, layout = read_folder(root)
    numbers = {name: number for number, name in enumerate(trained.classes)}
    labels = [numbers.get(name, UNKNOWN) for name in layout.classes]
    return [
        PictureFile(tree.root / sample.name, str(tree.root / sample.name), labels[sample.label])
        for sample in layout.samples[split]
    ]
