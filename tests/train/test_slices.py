"""Data layers that give a part of the pictures: each is fed the whole, and takes its rows."""

from __future__ import annotations

from pathlib import Path

from convspec.compiler import compile_spec
from convspec.train.display import SilentDisplay
from convspec.train.trainer import train

SPEC = """
[@net]
name=Halves
input=top:1x16x16,bottom:1x16x16
classes=10
[@train]
batch=100
epochs=6
schedule=spec
[@data]
provider=digits
mirror=0
[@params]
initW=0.01
epsW=0.0003
epsB=0.0003
momW=0.9
momB=0.9
[top]
type=data
dataIdx=0
end=128
[bottom]
type=data
dataIdx=0
start=128
[labels]
type=data
dataIdx=1
[hidden]
type=fc
inputs=top,bottom
outputs=32
neuron=relu
[fc]
type=fc
inputs=hidden
outputs=10
[probs]
type=softmax
inputs=fc
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


def test_learns_from_both_halves(tmp_path: Path) -> None:
    (tmp_path / "halves.cfg").write_text(SPEC)
    compiled = compile_spec(tmp_path / "halves.cfg")
    assert [(op.key, op.shape.dims) for op in compiled.program.inputs] == [
        ("top", (1, 16, 16)),
        ("bottom", (1, 16, 16)),
        ("labels", (1,)),
    ]
    assert compiled.program.values["top"].shape.dims == (128,)
    result = train(compiled, run_dir=tmp_path / "run", display=SilentDisplay())
    assert result.validation is not None
    assert result.validation.error < 0.3
