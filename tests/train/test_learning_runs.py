"""Keys of learning from the layer file to the weights: whole runs of small networks, dialect by dialect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from convspec.compiler import Compiled, compile_spec
from convspec.train.checkpoint import load_newest
from convspec.train.display import SilentDisplay
from convspec.train.optimizer import PaperSGD
from convspec.train.trainer import train

SPEC = """[@net]
dialect={dialect}
input=data:1x8x8,labels:1
classes=10
[@params]
epsB=0.005
momW=0.9
momB=0.9
wc=0.0005
initW=0.1
[@train]
batch=100
epochs=1
schedule=spec
seed={seed}
[@data]
provider=digits
size=8
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
channels=1
filters=16
filterSize=3
padding=0
stride=1
partialSum=1
sumWidth=1
neuron=relu
gpu=0
epsW=0.005
{conv1}
[local2]
type=local
inputs=conv1
channels=16
filters=16
filterSize=3
padding=0
stride=2
neuron=relu
gpu=0
epsW=0.005
{local2}
[fc3]
type=fc
inputs=local2
outputs=10
gpu=0
epsW=0.005
{fc3}
[probs]
type=softmax
inputs=fc3
gpu=0
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
gpu=0
"""


def compiled(dialect: str, *, seed: int = 0, conv1: str = "", local2: str = "", fc3: str = "") -> Compiled:
    return compile_spec(SPEC.format(dialect=dialect, seed=seed, conv1=conv1, local2=local2, fc3=fc3))


def weights(one: Compiled, folder: Path, steps: int | None = None) -> dict[str, Tensor]:
    train(one, run_dir=folder, display=SilentDisplay(), max_steps=steps)
    checkpoint = load_newest(folder / "checkpoints", lambda diagnostic: None)
    assert checkpoint is not None
    return dict(checkpoint.weights)


def norms(weight: Tensor) -> Tensor:
    """Of each filter; of each filter at each window of a local layer."""
    return weight.square().sum((1, 2, 3) if weight.dim() > 2 else 1).sqrt()


@pytest.mark.parametrize(("dialect", "bounds"), [("convspec", (0.3, 0.3, 0.3)), ("alexnet2012", (2.7, 43.2, 43.2))])
def test_wball_clips(tmp_path: Path, dialect: str, bounds: tuple[float, float, float]) -> None:
    """In 2012 the bound is for each of the 9, 144 and 144 weights of a filter: so it never bites here."""
    keys = {"conv1": "wball=0.3", "local2": "wball=0.3", "fc3": "wball=0.3"}
    held = weights(compiled(dialect, **keys), tmp_path / "held", 6)
    free = weights(compiled(dialect), tmp_path / "free", 6)
    for name, bound in zip(("conv1.weight", "local2.weight", "fc3.weight"), bounds, strict=True):
        assert norms(held[name]).max() <= bound * (1 + 1e-6)
        assert (norms(held[name]) > bound * 0.99).any() == (dialect == "convspec")
        assert torch.equal(held[name], free[name]) == (dialect == "alexnet2012")


def test_wball_of_2012_is_for_each_weight(tmp_path: Path) -> None:
    held = weights(compiled("alexnet2012", fc3="wball=0.008"), tmp_path / "held", 6)
    assert norms(held["fc3.weight"]).max() <= 1.152 * (1 + 1e-6)
    assert norms(held["fc3.weight"]).max() > 1.15


def test_wball_of_cuda_convnet2_is_the_norm(tmp_path: Path) -> None:
    """But for local layers, which it clips."""
    keys = {"conv1": "wball=0.5", "local2": "wball=1.2", "fc3": "wball=0.5"}
    held = weights(compiled("ccn2", **keys), tmp_path / "held", 6)
    for name in ("conv1.weight", "fc3.weight"):
        torch.testing.assert_close(norms(held[name]), torch.full_like(norms(held[name]), 0.5))
    local = norms(held["local2.weight"])
    assert local.shape == (16, 3, 3)
    assert local.max() <= 1.2 * (1 + 1e-6)
    assert (local < 1.1).any()


@pytest.mark.parametrize("dialect", ["convspec", "ccn2"])
def test_nothing_moves_before_a_period_is_over(tmp_path: Path, dialect: str) -> None:
    one = compiled(dialect, conv1="updatePeriod=5")
    before = weights(one, tmp_path / "four", 4)
    start = weights(compiled(dialect, conv1="epsW=0\nepsB=0"), tmp_path / "frozen", 4)
    after = weights(one, tmp_path / "five", 5)
    for name in ("conv1.weight", "conv1.bias"):
        assert torch.equal(before[name], start[name])
        assert not torch.equal(after[name], start[name])


def test_noise_is_a_function_of_the_seed(tmp_path: Path) -> None:
    keys = {"conv1": "schedW=exp[tgtFactor=1,noiseStdev=0.5]"}
    one = weights(compiled("alexnet2012", **keys), tmp_path / "one", 4)
    again = weights(compiled("alexnet2012", **keys), tmp_path / "again", 4)
    plain = weights(compiled("alexnet2012"), tmp_path / "plain", 4)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], plain["conv1.weight"])


def test_the_trainer_counts_steps_and_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1438 pictures in minibatches of 100: the fifteenth has 38, and the second epoch goes on counting."""
    seen: list[tuple[int, float]] = []
    step = PaperSGD.step

    def recorded(self: PaperSGD, number: int, share: float = 1.0) -> None:
        seen.append((number, share))
        step(self, number, share)

    monkeypatch.setattr(PaperSGD, "step", recorded)
    one = compile_spec(SPEC.format(dialect="ccn2", seed=0, conv1="", local2="", fc3=""), overrides=["@train.epochs=2"])
    weights(one, tmp_path / "run", 17)
    weights(one, tmp_path / "part", 3)
    train(one, resume=tmp_path / "part", display=SilentDisplay(), max_steps=5)
    assert seen[:17] == [(i, 0.38 if i == 14 else 1.0) for i in range(17)]
    assert seen[17:] == [(i, 1.0) for i in range(5)]
