"""The spec that a run keeps: one file that says what two files and the overrides said."""

from __future__ import annotations

from pathlib import Path

import convspec
from convspec.resources import spec_path

LAYERS = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fc]
type=fc
inputs=data
outputs=4
initW=0.1
gpu=0
[drop]
type=dropout
inputs=fc
keep=0.25
[probs]
type=softmax
inputs=drop
[cost]
type=cost.logreg
inputs=labels,probs
gpu=0
"""
PARAMS = """
[fc]
epsW=0.01
epsB=0.02
momW=0.9
momB=0.9
outputs=7
[drop]
[cost]
coeff=1
"""


def test_two_files_become_one() -> None:
    """Keys in the wrong file, which nothing reads there, must not come to life in the one file."""
    overrides = ("fc.epsW=0.5", "cost.topk=2")
    sizes = {"data": (3, 4, 4)}
    checked = convspec.check(LAYERS, PARAMS, inputs=sizes, overrides=overrides)
    assert sorted(d.code for d in checked.diagnostics) == ["CS208", "CS208"]
    again = convspec.check(checked.resolved_text, inputs=sizes)
    assert again.diagnostics == ()
    assert "epsW=0.5" in checked.resolved_text
    one, other = (
        convspec.compile(text, params, inputs=sizes, overrides=o)
        for text, params, o in (
            (LAYERS, PARAMS, overrides),
            (checked.resolved_text, None, ()),
        )
    )
    assert one == other
    assert 'dropout(fc, 0.5, self.training, noise, "drop")' in one


def test_a_resolved_spec_is_the_same_network(tmp_path: Path) -> None:
    for spec in sorted(spec_path("alexnet.cfg").parent.glob("*.cfg")):
        copy = tmp_path / spec.name
        copy.write_text(convspec.check(spec).resolved_text)
        assert convspec.compile(copy) == convspec.compile(spec)
