"""A small run with two towers, trained once on pictures of four colours, that all tests here look through."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convspec.compiler import compile_spec
from convspec.train.display import SilentDisplay
from convspec.train.trainer import train

COLORS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (210, 50, 40), "yellow": (220, 210, 60)}

SPEC = """[@net]
name=Colours
input=data:3x12x12
classes=4
[@train]
batch=20
epochs=8
schedule=spec
[@data]
size=16
mean=image
[@params]
epsW=0.002
epsB=0.002
momW=0.9
momB=0.9
initW=0.05
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1a]
type=conv
inputs=data
filters=4
filterSize=3
initW=0.01
neuron=relu
gpu=0
[conv1b]
type=conv
inputs=data
filters=4
filterSize=3
initW=0.01
neuron=relu
gpu=1
[pool1a]
type=pool
pool=max
inputs=conv1a
sizeX=2
stride=2
[pool1b]
type=pool
pool=max
inputs=conv1b
sizeX=2
stride=2
[fc2a]
type=fc
inputs=pool1a,pool1b
outputs=8
neuron=relu
gpu=0
[fc2b]
type=fc
inputs=pool1a,pool1b
outputs=8
neuron=relu
gpu=1
[drop2a]
type=dropout2
inputs=fc2a
keep=0.5
[drop2b]
type=dropout2
inputs=fc2b
keep=0.5
[fc3]
type=fc
inputs=drop2a,drop2b
outputs=4
gpu=0
[probs]
type=softmax
inputs=fc3
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
topk=2
"""


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


def picture(color: str, seed: int, size: tuple[int, int] = (20, 24)) -> Image.Image:
    """About this colour, noisy; size: (height, width)."""
    noise = np.random.default_rng(seed).normal(0, 25, (*size, 3))
    return Image.fromarray(np.clip(np.array(COLORS[color]) + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders, 20 pictures of each colour."""
    root = tmp_path_factory.mktemp("colours")
    for number, color in enumerate(COLORS):
        (root / color).mkdir()
        for i in range(20):
            picture(color, 100 * number + i).save(root / color / f"{i:02}.png")
    return root


@pytest.fixture(scope="session")
def trained_run(colors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to: take `run` for that."""
    run = tmp_path_factory.mktemp("runs") / "colours"
    result = train(compile_spec(SPEC), data=str(colors), run_dir=run, display=SilentDisplay())
    assert result.validation is not None
    assert result.validation.error == 0, "the tests here take a network that tells the colours"
    return run


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))
