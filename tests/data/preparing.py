"""`convspec.data.prepare` for tests, in one call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from convspec.data import Split
from convspec.data.dataset import Notify
from convspec.data.filling import Options
from convspec.data.integrity import CHECKED
from convspec.data.manifest import Manifest
from convspec.data.prepare import prepare
from convspec.data.shards import Shards
from convspec.data.sources import Choice, open_source


class Quiet:
    """Progress that nobody sees."""

    def start(self, what: str, total: int, done: int) -> None:
        self.total, self.done = total, done

    def advance(self, text: str) -> None:
        self.done += 1


def prepared(
    source: Path | str,
    target: Path,
    *,
    size: int | None = 8,
    channels: int | None = None,
    share: float = 0.2,
    shard_pictures: int | None = 4,
    jobs: int = 2,
    limit_broken: int | None = None,
    notify: Notify = lambda diagnostic: None,
    is_stopped: Callable[[], bool] = lambda: False,
    progress: Quiet | None = None,
) -> Manifest:
    found = open_source(str(source), Choice(size, channels, share), notify)
    options = Options(shard_pictures, jobs, limit_broken, {"test_share": share})
    return prepare(found, target, options, progress=progress or Quiet(), notify=notify, is_stopped=is_stopped)


def pictures_of(root: Path, split: Split) -> tuple[np.ndarray, list[str]]:
    """All pictures of a split, (N, H, W, C), and the names of their classes."""
    dataset = Shards(str(root))
    out = np.empty((dataset.count(split), *dataset.shape), np.uint8)
    labels = dataset.read(split, np.arange(len(out)), epoch=0, out=out)
    return out, [dataset.classes[label] for label in labels.tolist()]


def digests(root: Path) -> dict[str, str]:
    """Every file of a folder but the one that tells which were checked."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != CHECKED
    }
