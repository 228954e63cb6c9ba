"""The trainer with what the compiler makes, for one device and for towers kept apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from convspec.checker import check
from convspec.compiler import Compiled, compile_spec
from convspec.diagnostics import DiagnosticError
from convspec.emit.module import emit
from convspec.graph.lower import lower
from convspec.passes.merge_towers import merge_towers
from convspec.passes.pipeline import FOLDED, run_passes
from convspec.train.display import SilentDisplay
from convspec.train.trainer import train
from tests.train.runs import losses, weights

TOWERS = """
[@net]
name=Towers
input=data:1x13x13
classes=10
[@train]
batch=64
epochs=4
schedule=spec
[@data]
provider=digits
mirror=0
[@params]
initW=0.05
epsW=exp[base=0.002;tgtFactor=10]
epsB=0.002
momW=0.9
momB=0.9
wc=0.001
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
sizeX=3
stride=2
[pool1b]
type=pool
pool=max
inputs=conv1b
sizeX=3
stride=2
[conv2a]
type=conv
inputs=pool1a,pool1b
filters=6
filterSize=3
initW=0.1,0.1
neuron=relu
gpu=0
[conv2b]
type=conv
inputs=pool1a,pool1b
filters=6
filterSize=3
initW=0.1,0.1
neuron=relu
gpu=1
[fc3]
type=fc
inputs=conv2a,conv2b
outputs=10
gpu=0
[probs]
type=softmax
inputs=fc3
[logprob]
type=cost.logreg
inputs=labels,probs
topk=3
coeff=1
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "towers.cfg").write_text(TOWERS)
    return tmp_path / "towers.cfg"


def compiled_apart(spec: Path) -> Compiled:
    """The same network with no tower merged."""
    checked, compiled = check(spec), compile_spec(spec)
    program = lower(compiled.name, checked.graph, checked.shapes, checked.placement, ())
    passes = tuple(rewrite for rewrite in FOLDED if rewrite is not merge_towers)
    program = run_passes(program, passes, after=lambda name, program: None)
    return replace(compiled, program=program, source=emit(program, "towers.cfg"))


def go(compiled: Compiled, **options: Any) -> None:
    train(compiled, display=SilentDisplay(), **options)


def test_goes_on_to_the_bit(spec: Path, tmp_path: Path) -> None:
    compiled = compile_spec(spec)
    go(compiled, run_dir=tmp_path / "whole")
    go(compiled, run_dir=tmp_path / "part", max_steps=30)
    go(compiled, resume=tmp_path / "part")
    assert losses(tmp_path / "whole") == losses(tmp_path / "part")
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "part")[name]), name
    assert (tmp_path / "part" / "model.py").read_text() == compiled.source


@pytest.mark.parametrize("merged_first", [True, False])
def test_goes_on_under_another_placement(spec: Path, tmp_path: Path, merged_first: bool) -> None:
    """Towers merged into one operator or apart: the same parameters, the same momentum, the same losses."""
    merged, apart = compile_spec(spec), compiled_apart(spec)
    assert len(merged.program.parameters) < len(apart.program.parameters)
    first, second = (merged, apart) if merged_first else (apart, merged)
    go(first, run_dir=tmp_path / "whole", max_steps=20)
    go(first, run_dir=tmp_path / "part", max_steps=10)
    go(second, resume=tmp_path / "part", max_steps=20)
    whole, part = weights(tmp_path / "whole"), weights(tmp_path / "part")
    assert set(whole) == set(part)
    assert losses(tmp_path / "part") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    for name, tensor in whole.items():
        torch.testing.assert_close(part[name], tensor, rtol=1e-4, atol=1e-5)


def test_losing_the_momentum_between_placements_is_seen(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin of the test above."""
    go(compile_spec(spec), run_dir=tmp_path / "whole", max_steps=20)
    go(compile_spec(spec), run_dir=tmp_path / "part", max_steps=10)
    monkeypatch.setattr("convspec.train.state.PaperSGD.load_momentum", lambda self, buffers, rates: None)
    go(compiled_apart(spec), resume=tmp_path / "part", max_steps=20)
    assert losses(tmp_path / "part") != pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


def test_a_loss_that_is_not_finite_names_the_layer_of_the_spec(spec: Path, tmp_path: Path) -> None:
    compiled = compile_spec(spec, overrides=["conv2a.initW=1e38,1e38", "conv2b.initW=1e38,1e38"])
    with pytest.raises(DiagnosticError, match=r"CS707.*output of layer conv2a and conv2b"):
        go(compiled, run_dir=tmp_path / "run")


def test_learns(spec: Path, tmp_path: Path) -> None:
    result = train(compile_spec(spec), run_dir=tmp_path / "run", display=SilentDisplay())
    assert result.validation is not None
    assert result.validation.error < 0.2
