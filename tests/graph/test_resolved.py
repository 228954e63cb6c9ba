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


def test_sizes_that_were_given_are_part_of_it() -> None:
    """A run that began with --input goes on with the network that it has, whatever the file says."""
    name = "alexnet-small.cfg"
    checked = convspec.check(spec_path(name), inputs={"data": (3, 56, 56)}, overrides=("fc8.outputs=9",), classes=9)
    again = convspec.check(checked.resolved_text)
    assert not again.errors
    assert [row.shape for row in again.layers] == [row.shape for row in checked.layers]
    assert (again.graph.net.classes, again.resolved_text) == (9, checked.resolved_text)
    assert checked.resolved_text.count("input=") == 1


def test_sizes_that_no_file_has(tmp_path: Path) -> None:
    """Of a pair of files, in the language of its program."""
    (tmp_path / "layers-a.cfg").write_text(LAYERS)
    (tmp_path / "layer-params-a.cfg").write_text(PARAMS)
    checked = convspec.check(tmp_path / "layers-a.cfg", inputs={"data": (1, 3, 3)}, classes=4, dialect="ccn2")
    assert checked.ok, checked.diagnostics
    assert checked.resolved_text.startswith("[@net]\ndialect=ccn2\ninput=data:1x3x3\nclasses=4\n")
    again = convspec.check(checked.resolved_text)
    assert again.ok
    assert [row.shape for row in again.layers] == [row.shape for row in checked.layers]
