"""Section 6 of the paper in small: pre-train with a sixth convolutional layer on many classes, fine-tune on fewer.

    python benchmarks/fine_tuning.py [FOLDER]

The photographs that come with scikit-image are parted: every third, in alphabetical order, is a class to fine-tune on, with
few crops to learn from; the ten others are what is pre-trained on. No class, and no test pixel, is in both. Each seed trains
the same steps twice, from drawn weights and from the pre-trained ones, and both are tested by ten views. Everything is made
by commands, which are printed. FOLDER keeps data and runs; without it they are thrown away.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image

from convspec.data import Split
from convspec.data.photos import PHOTOGRAPHS, Photos
from convspec.resources import spec_path

SPEC = "alexnet-small-sixth-conv.cfg"
SIZE = 80
FEW = tuple(PHOTOGRAPHS)[::3]
MANY = tuple(name for name in PHOTOGRAPHS if name not in FEW)
CROPS = {"many": 128, "few": 12}
TEST_CROPS = 32
EPOCHS = {"many": 16, "few": 100}
SEEDS = (0, 1, 2, 3, 4)


def write_crops(root: Path, classes: tuple[str, ...], crops: int) -> None:
    """ROOT/train/CLASS and ROOT/val/CLASS: crops of the two halves of each photograph."""
    photos = Photos(size=SIZE, channels=3, samples=crops, test_samples=TEST_CROPS, seed=0)
    for split, folder, count in ((Split.TRAIN, "train", crops), (Split.TEST, "val", TEST_CROPS)):
        for label, name in enumerate(photos.classes):
            if name not in classes:
                continue
            pictures = np.empty((count, *photos.shape), np.uint8)
            photos.read(split, np.arange(label * count, (label + 1) * count), epoch=0, out=pictures)
            place = root / folder / name
            place.mkdir(parents=True)
            for i, picture in enumerate(pictures):
                Image.fromarray(picture).save(place / f"{i:03}.png")


def convspec(*arguments: str) -> str:
    print("convspec", *arguments, flush=True)
    done = subprocess.run([sys.executable, "-m", "convspec", *arguments], check=True, capture_output=True, text=True)
    for line in done.stderr.splitlines():
        if "CS742" in line:
            print(f"  {line}")
    return done.stdout


def train(folder: Path, data: str, classes: tuple[str, ...], run: str, seed: int, *more: str) -> str:
    settings = {
        "@net.classes": len(classes),
        "fc8.outputs": len(classes),
        "@train.epochs": EPOCHS[data],
        "@train.validateEvery": EPOCHS[data],
        "@train.schedule": "spec",
        "@train.seed": seed,
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    path = str(folder / run)
    convspec("train", str(spec_path(SPEC)), "--data", str(folder / data), "--run", path, *sets, *more)
    return path


def error(run: str) -> float:
    return float(
        json.loads(convspec("test", run, "--views", "10", "--format", "json"))["runs"][0]["costs"]["logprob"]["error"]
    )


def demonstrate(folder: Path) -> None:
    write_crops(folder / "many", MANY, CROPS["many"])
    write_crops(folder / "few", FEW, CROPS["few"])
    before = train(folder, "many", MANY, "pre-trained", 0)
    print(f"  {error(before):.1%} of the crops of {len(MANY)} classes wrong")
    errors: dict[str, list[float]] = {"from drawn weights": [], "from the pre-trained run": []}
    for seed in SEEDS:
        errors["from drawn weights"].append(error(train(folder, "few", FEW, f"drawn-{seed}", seed)))
        errors["from the pre-trained run"].append(
            error(train(folder, "few", FEW, f"tuned-{seed}", seed, "--init", before))
        )
    steps = EPOCHS["few"] * -(-len(FEW) * CROPS["few"] // 64)
    print(f"\n{len(FEW)} classes, {CROPS['few']} crops each to learn from, {steps} steps; top-1 error by ten views")
    for name, found in errors.items():
        each = ", ".join(f"{value:.1%}" for value in found)
        print(f"{name:<26} mean {mean(found):.1%}   ({each})")


def main() -> None:
    if len(sys.argv) > 1:
        demonstrate(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        demonstrate(Path(folder))


if __name__ == "__main__":
    main()
