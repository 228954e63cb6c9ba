"""Runs of tiny networks on folders of random pictures, made in a moment, for tests of what reads runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from convspec.compiler import compile_spec
from convspec.data.dataset import Pictures
from convspec.train.display import SilentDisplay
from convspec.train.trainer import train

STORED = 11
CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox")
TEST_PICTURES = 5
"""Of each class."""

SPEC = """[@net]
name=Tiny
input=data:3x{side}x{side}
classes={classes}
[@params]
epsW=0.0001
epsB=0.0001
momW=0.9
momB=0.9
[@train]
epochs=1
batch={batch}
seed={seed}
precision={precision}
[@data]
provider={provider}
path={path}
size={stored}
{data}
[data]
type=data
dataIdx=0
{label_layer}[conv1]
type=conv
inputs=data
filters=4
filterSize=3
neuron=relu
initW=0.02
[fc2]
type=fc
inputs=conv1
outputs={outputs}
initW=0.02
{top}"""

SOFTMAX = """[probs]
type=softmax
inputs=fc2
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
topk=2
"""


def write_folder(root: Path, *, classes: tuple[str, ...] = CLASSES, stored: int = STORED, seed: int = 0) -> Path:
    """ROOT/train/CLASS/i.png and ROOT/val/CLASS/i.png, `stored` pixels a side, which reading changes nothing of."""
    random = np.random.default_rng(seed)
    for split, count in (("train", 3), ("val", TEST_PICTURES)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            tint = random.integers(0, 120, 3)
            for i in range(count):
                pixels = random.integers(0, 136, (stored, stored, 3)) + tint
                Image.fromarray(pixels.astype(np.uint8)).save(root / split / name / f"{i}.png")
    return root


def read_folder(root: Path, split: str) -> tuple[Pictures, list[int], list[str]]:
    """Pictures, (N, H, W, C), labels and names, in the order of classes and files."""
    paths = sorted((root / split).glob("*/*.png"))
    pictures = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    names = sorted({path.parent.name for path in paths})
    return pictures, [names.index(path.parent.name) for path in paths], [str(p.relative_to(root)) for p in paths]


def make_run(
    folder: Path,
    data: Path,
    *,
    side: int = 8,
    seed: int = 0,
    top: str = SOFTMAX,
    labels: int = 1,
    classes: int = len(CLASSES),
    outputs: int | None = None,
    batch: int = 7,
    stored: int = STORED,
    more_data: str = "",
    provider: str = "folder",
    precision: str = "fp32",
) -> Path:
    """A run of one epoch. labels: matrix of the data that they are, 0 for a network that reads none."""
    spec = SPEC.format(
        side=side,
        classes=classes,
        seed=seed,
        path=data,
        stored=stored,
        top=top,
        label_layer=f"[labels]\ntype=data\ndataIdx={labels}\n" if labels else "",
        outputs=outputs or classes,
        batch=batch,
        data=more_data,
        provider=provider,
        precision=precision,
    )
    train(compile_spec(spec), run_dir=folder, display=SilentDisplay())
    return folder
