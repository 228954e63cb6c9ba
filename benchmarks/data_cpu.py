"""How fast batches are assembled: JPEG files and memory-mapped pictures to uint8 crops of 227x227, by one and by two threads.

python benchmarks/data_cpu.py [ROUNDS]

The JPEG files are of ImageNet's usual size, 500x375 and about 95 KB, cut from the photographs of scikit-image. Beside them,
in the same rounds, the same crops by a plain loop over Pillow. What is printed is the median over rounds, in which all take
turns: images a second by the clock, and images a second of processor time, which other processes disturb less.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from convspec.data import BatchStream, Dataset, Split
from convspec.data.dataset import Pictures
from convspec.data.draws import Indices
from convspec.data.folder import Folder
from convspec.data.photos import PHOTOGRAPHS
from convspec.data.requirements import package_folder
from convspec.program.moves import Input
from convspec.program.program import Program
from convspec.program.shape import Shape
from convspec.train.inputs import InputTensors

SIZE, CROP, BATCH = 256, 227, 128
FILES, MAPPED = 384, 4096
WIDTH, HEIGHT = 500, 375

Rates = tuple[float, float]


class Mapped(Dataset):
    """Pictures of one memory-mapped file: the least that any way of keeping them can cost."""

    name = "mapped"
    classes = ("a", "b")
    fingerprint = ""

    def __init__(self, path: Path) -> None:
        self.pictures: Pictures = np.load(path, mmap_mode="r")
        self.shape = (SIZE, SIZE, 3)

    def count(self, split: Split) -> int:
        return len(self.pictures)

    def read(self, split: Split, indices: Indices, *, epoch: int, out: Pictures) -> Indices:
        np.take(self.pictures, indices, axis=0, out=out, mode="clip")
        return indices


def write_jpegs(root: Path) -> list[Path]:
    """Crops of the photographs in colour, in one class folder of two; about 95 KB each."""
    folder = package_folder("skimage", "scikit-image", "the benchmark") / "data"
    sources = [Image.open(folder / file).convert("RGB") for file in PHOTOGRAPHS.values()]
    random, paths = np.random.default_rng(0), []
    for split in ("train", "val"):
        for label in ("a", "b"):
            (root / split / label).mkdir(parents=True)
    for i in range(FILES):
        source = sources[i % len(sources)]
        share = random.uniform(0.6, 1.0) * min(source.width / WIDTH, source.height / HEIGHT)
        width, height = WIDTH * share, HEIGHT * share
        left, top = random.uniform(0, source.width - width), random.uniform(0, source.height - height)
        picture = source.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        paths.append(root / "train" / "ab"[i % 2] / f"{i}.jpg")
        picture.save(paths[-1], quality=97)
    for label in "ab":
        picture.save(root / "val" / label / "0.jpg")
    return paths


def write_mapped(path: Path) -> None:
    random = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, "w+", np.uint8, (MAPPED, SIZE, SIZE, 3))
    for start in range(0, MAPPED, 256):
        file[start : start + 256] = random.integers(0, 256, (256, SIZE, SIZE, 3), np.uint8)
    file.flush()


def stream(
    dataset: Dataset, readers: int, epoch: int, use: Callable[..., object] = lambda batch: None, **options: bool
) -> int:
    """Pictures of an epoch, each batch handed to `use`."""
    with BatchStream(
        dataset,
        Split.TRAIN,
        batch_size=BATCH,
        crop=(CROP, CROP),
        mirror=True,
        epoch=epoch,
        readers=readers,
        **options,  # type: ignore[arg-type]
    ) as batches:
        count = 0
        for batch in batches:
            count += len(batch.labels)
            use(batch)
    return count


def plain_pillow(paths: list[Path], epoch: int) -> int:
    """Decode, shorter side to 256, middle, random crop, mirror: what one writes first."""
    random = np.random.default_rng(epoch)
    for path in paths:
        image = Image.open(path).convert("RGB")
        scale = SIZE / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
        x, y = left + random.integers(SIZE - CROP + 1), top + random.integers(SIZE - CROP + 1)
        image = image.crop((x, y, x + CROP, y + CROP))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        np.asarray(image)
    return len(paths)


def measured(task: Callable[[int], int], epoch: int) -> Rates:
    """Images a second by the clock, and of processor time."""
    began, used = time.perf_counter(), time.process_time()
    count = task(epoch)
    return count / (time.perf_counter() - began), count / (time.process_time() - used)


def compared(tasks: dict[str, Callable[[int], int]], rounds: int) -> dict[str, Rates]:
    """Medians over rounds, after one that does not count."""
    found: dict[str, list[Rates]] = {name: [] for name in tasks}
    for i in range(rounds + 1):
        for name, task in tasks.items():
            rates = measured(task, i)
            if i:
                found[name].append(rates)
    return {name: (median(r[0] for r in rates), median(r[1] for r in rates)) for name, rates in found.items()}


def floats() -> Callable[..., object]:
    """What makes tensors of batches, mean subtracted."""
    data = Input(name="data", inputs=(), shape=Shape.of_maps(3, CROP, CROP), layers=("data",), data_index=0)
    mean: NDArray[np.float32] = np.full((CROP, CROP, 3), 120, np.float32)
    return InputTensors(Program("data", (data,), (), ()), mean, torch.device("cpu"), BATCH)


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        paths = write_jpegs(root / "jpeg")
        write_mapped(root / "mapped.npy")
        size = sum(path.stat().st_size for path in paths) / len(paths) / 1000
        folder = Folder(str(root / "jpeg"), size=SIZE, channels=3, notify=print, cache_bytes=0)
        mapped = Mapped(root / "mapped.npy")
        to_floats = floats()
        rates = compared(
            {
                "JPEG: plain loop over Pillow": lambda epoch: plain_pillow(paths, epoch),
                "JPEG: 1 thread": lambda epoch: stream(folder, 1, epoch),
                "JPEG: 2 threads": lambda epoch: stream(folder, 2, epoch),
                "mapped, crops: 1 thread": lambda epoch: stream(mapped, 1, epoch),
                "mapped, crops: 2 threads": lambda epoch: stream(mapped, 2, epoch),
                "mapped, whole: 2 threads": lambda epoch: stream(mapped, 2, epoch, stored=True),
                "mapped, floats: 2 threads": lambda epoch: stream(mapped, 2, epoch, to_floats),
            },
            rounds,
        )
    print(
        f"{FILES} JPEG files of {WIDTH}x{HEIGHT}, {size:.0f} KB; {MAPPED} mapped pictures of {SIZE}x{SIZE}; {rounds} rounds"
    )
    print(f"{'':<32}{'images/s':>10}{'a core-s':>10}")
    for title, (clock, core) in rates.items():
        print(f"{title:<32}{clock:>10,.0f}{core:>10,.0f}")
    for kind in ("JPEG", "mapped, crops"):
        print(
            f"{kind}: 2 threads are {rates[f'{kind}: 2 threads'][0] / rates[f'{kind}: 1 thread'][0]:.2f}x 1 by the clock"
        )
    print(
        f"JPEG: 1 thread is {rates['JPEG: 1 thread'][1] / rates['JPEG: plain loop over Pillow'][1]:.2f}x the plain loop"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
