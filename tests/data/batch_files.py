"""Data batches in the layouts of cuda-convnet and CIFAR, as Python 2 wrote them, with pictures of random bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convspec.data import Dataset, Split, open_dataset
from convspec.diagnostics import Diagnostic
from tests.data.python2 import dumps
from tests.data.settings import Settings

SIDE, CASES, CLASSES = 8, 6, 4
NAMES = ["ant", "bee", "cat", "dog"]


def cases(number: int, count: int = CASES) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Pictures, (N, H, W, 3), and labels of batch `number`."""
    random = np.random.default_rng(number)
    return random.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8), random.integers(0, CLASSES, count).tolist()


def matrix(images: np.ndarray[Any, Any], layout: str) -> np.ndarray[Any, Any]:
    """Planes of red, green and blue: a row a picture (`python`) or a column (`column`, `Fortran` in memory)."""
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    match layout:
        case "python":
            return np.ascontiguousarray(rows)
        case "column":
            return np.ascontiguousarray(rows.T)
        case _:
            return np.asfortranarray(rows.T)


def write_matrices(root: Path, layout: str, batches: int = 3) -> Path:
    root.mkdir()
    names = [f"data_batch_{n}" for n in range(1, batches + 1)]
    meta: dict[str, Any] = {"label_names": NAMES, "num_vis": 3 * SIDE * SIDE}
    if layout == "python":
        names[-1] = "test_batch"
    else:
        mean = np.stack([cases(n)[0] for n in range(1, batches)]).mean((0, 1))
        meta["data_mean"] = mean.transpose(2, 0, 1).reshape(-1, 1).astype(np.float32)
    for number, name in enumerate(names, 1):
        images, labels = cases(number)
        value = {"batch_label": f"batch {number}", "data": matrix(images, layout), "labels": labels}
        (root / name).write_bytes(dumps(value))
    (root / "batches.meta").write_bytes(dumps(meta))
    return root


def jpeg(images: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(images).save(file, "JPEG", quality=95)
    return file.getvalue()


BIG = 32


LABELS = [[0], [1, 2], [3], [0, 1, 2, 3], [2], [1]]


def strings(number: int) -> list[bytes]:
    random = np.random.default_rng(number)
    return [jpeg(random.integers(0, 256, (BIG, BIG, 3), np.uint8)) for _ in LABELS]


def jpeg_meta(**more: Any) -> dict[str, Any]:
    deviations, directions = np.array([3.0, 2.0, 1.0]), np.eye(3)
    return {
        "batch_size": len(LABELS),
        "num_vis": 3 * BIG * BIG,
        "label_names": NAMES,
        "data_mean": np.arange(3 * BIG * BIG, dtype=np.float32).reshape(-1, 1),
        "color_pca": (deviations, directions),
        **more,
    }


def write_jpegs(root: Path, wrap: Callable[[Any], bytes] = dumps, **meta: Any) -> Path:
    """Batch 1 is a folder of two files, batch 2 a file."""
    (root / "data_batch_1").mkdir(parents=True)
    for part in (0, 1):
        value = {"data": strings(1)[3 * part : 3 * part + 3], "labels": LABELS[3 * part : 3 * part + 3]}
        (root / "data_batch_1" / f"data_batch_1.{part}").write_bytes(wrap(value))
    (root / "data_batch_2").write_bytes(wrap({"data": strings(2), "labels": LABELS}))
    (root / "batches.meta").write_bytes(dumps(jpeg_meta(**meta)))
    return root


def opened(
    root: Path | None,
    settings: Settings | None = None,
    shape: tuple[int, int, int] = (3, SIDE, SIDE),
    seed: int = 0,
    notify: Callable[[Diagnostic], None] = lambda diagnostic: None,
) -> Dataset:
    return open_dataset(
        settings or Settings(),
        data=None if root is None else str(root),
        seed=seed,
        input_shape=shape,
        classes=CLASSES,
        notify=notify,
    )


def pictures(dataset: Dataset, split: Split, epoch: int = 0) -> tuple[np.ndarray[Any, Any], list[int]]:
    count = dataset.count(split)
    out = np.zeros((count, *dataset.shape), np.uint8)
    labels = dataset.read(split, np.arange(count), epoch=epoch, out=out)
    return out, labels.tolist()
