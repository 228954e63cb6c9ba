"""Preparing pictures, beside a plain loop over Pillow that opens, converts, resizes, crops and saves, one picture after the
other: ratios of time, of the same pictures, in one run.

python benchmarks/prepare.py [--pictures N] [--rounds N] [--width W --height H] [--folder DIR]

`convspec data prepare` does more than the loop: checksums, sync, and mean and colours of all pixels. The pictures are crops
of the photographs of scikit-image, as JPEG files of quality 90, 500x375 like most of ImageNet. Ratios are of wall time, and,
in brackets, of the time that the processor spent, which others on the machine disturb less.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from convspec.data import Split
from convspec.data.filling import Options
from convspec.data.photos import Photos
from convspec.data.prepare import prepare
from convspec.data.sources import Choice, open_source
from convspec.machine import usable_cores

SIZE = 256


class Quiet:
    def start(self, what: str, total: int, done: int) -> None: ...
    def advance(self, text: str) -> None: ...


def write_pictures(root: Path, count: int, width: int, height: int) -> None:
    """`count` JPEG files in sixteen class folders, every third upright."""
    each = -(-count // 16)
    photos = Photos(size=max(width, height), channels=3, samples=each, test_samples=1, seed=0)
    picture = np.empty((1, *photos.shape), np.uint8)
    for number in range(count):
        label = int(photos.read(Split.TRAIN, np.array([number % 16 * each + number // 16]), epoch=0, out=picture)[0])
        columns, rows = (width, height) if number % 3 else (height, width)
        folder = root / photos.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[0, :rows, :columns]).save(folder / f"{number:06d}.jpg", quality=90)


def plain(source: Path, target: Path, *, as_jpeg: bool) -> None:
    """What a short script does: a `.npy` file of all pictures, or a JPEG file of each."""
    target.mkdir()
    pictures = []
    for path in sorted(source.rglob("*.jpg")):
        image = Image.open(path).convert("RGB")
        scale = SIZE / min(image.size)
        width, height = (max(SIZE, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - SIZE) // 2, (height - SIZE) // 2
        image = image.crop((left, top, left + SIZE, top + SIZE))
        if as_jpeg:
            image.save(target / path.name, quality=90)
        else:
            pictures.append(np.asarray(image))
    if not as_jpeg:
        np.save(target / "pictures.npy", np.stack(pictures))


def ours(source: Path, target: Path, *, jobs: int) -> None:
    options = Options(None, jobs, None, {})
    prepare(
        open_source(str(source), Choice(), lambda diagnostic: None),
        target,
        options,
        progress=Quiet(),
        notify=lambda diagnostic: None,
    )


def measured(work: Callable[[], None]) -> tuple[float, float]:
    """Wall time and processor time, in seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(source: Path, scratch: Path, rounds: int, count: int) -> None:
    cores = usable_cores()
    ways: dict[str, Callable[[Path], None]] = {
        "plain loop, .npy": lambda target: plain(source, target, as_jpeg=False),
        "plain loop, JPEG": lambda target: plain(source, target, as_jpeg=True),
        "prepare --jobs 1": lambda target: ours(source, target, jobs=1),
        f"prepare --jobs {cores}": lambda target: ours(source, target, jobs=cores),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(measured(lambda way=way: way(scratch / "out")))  # type: ignore[misc]
            shutil.rmtree(scratch / "out")
    first = times["plain loop, .npy"]
    print(f"{'':20} pictures/s   x the loop that writes .npy, median of {rounds} rounds: wall (processor)")
    for name, own in times.items():
        speed = count / statistics.median(wall for wall, _ in own)
        wall, processor = (statistics.median(a[i] / b[i] for a, b in zip(first, own, strict=True)) for i in range(2))
        print(f"{name:20} {speed:10.0f}   {wall:.2f} ({processor:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=500)
    parser.add_argument("--height", type=int, default=375)
    parser.add_argument("--folder", type=Path, help="where to write; else the folder for temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        scratch = Path(name)
        write_pictures(scratch / "in", options.pictures, options.width, options.height)
        print(f"{options.pictures} pictures, {options.width}x{options.height}, {usable_cores()} cores")
        compare(scratch / "in", scratch, options.rounds, options.pictures)


if __name__ == "__main__":
    main()
