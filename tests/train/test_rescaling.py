"""Random scales in training come from the generator that checkpoints hold: a run that is resumed draws the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convspec.compiler import Compiled, compile_spec
from convspec.train.checkpoint import load_newest
from convspec.train.display import SilentDisplay
from convspec.train.trainer import train
from tests.train.runs import losses

SPEC = """
[@net]
name=Scaled
input=data:1x16x16
classes=10
[@train]
batch=100
epochs=2
schedule=spec
[@data]
provider=digits
mirror=0
[@params]
initW=0.05
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[scaled]
type=rscale
inputs=data
maxScale=1.4
[conv]
type=conv
inputs=scaled
filters=4
filterSize=3
dropout=0.2
neuron=nrelu
[fc]
type=fc
inputs=conv
outputs=10
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    (tmp_path / "scaled.cfg").write_text(SPEC)
    return compile_spec(tmp_path / "scaled.cfg")


def test_goes_on_to_the_bit(compiled: Compiled, tmp_path: Path) -> None:
    train(compiled, run_dir=tmp_path / "whole", display=SilentDisplay(), max_steps=12, log_every=1)
    train(compiled, run_dir=tmp_path / "part", display=SilentDisplay(), max_steps=5, log_every=1)
    train(compiled, resume=tmp_path / "part", display=SilentDisplay(), max_steps=12)
    assert len(losses(tmp_path / "whole")) == 12
    assert losses(tmp_path / "whole") == losses(tmp_path / "part")
    whole, part = (load_newest(tmp_path / name / "checkpoints", lambda found: None) for name in ("whole", "part"))
    assert whole is not None
    assert part is not None
    assert all(torch.equal(tensor, part.weights[name]) for name, tensor in whole.weights.items())


def test_forgetting_the_generator_is_seen(compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken twin of the test above."""
    train(compiled, run_dir=tmp_path / "whole", display=SilentDisplay(), max_steps=12, log_every=1)
    train(compiled, run_dir=tmp_path / "part", display=SilentDisplay(), max_steps=5, log_every=1)
    monkeypatch.setattr("convspec.train.state.set_rng_states", lambda states, device: None)
    train(compiled, resume=tmp_path / "part", display=SilentDisplay(), max_steps=12)
    assert losses(tmp_path / "whole")[:5] == losses(tmp_path / "part")[:5]
    assert losses(tmp_path / "whole")[5:] != losses(tmp_path / "part")[5:]
