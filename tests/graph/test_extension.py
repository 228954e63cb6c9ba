"""`[@net] extends=`, `remove=1`, `after=`: which network comes out, and where the messages point."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import convspec
from convspec.checker import Checked
from convspec.resources import spec_path

BASE = """
[@net]
name=Base
note=of the base
input=data:3x9x9
classes=4
[@params]
initW=0.1
epsW=0.01
epsB=0.02
momW=0.9
momB=0.9
scale=0.1
pow=0.75
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
filters=4
filterSize=3
[norm1]
type=cmrnorm
inputs=conv1
size=3
[conv2]
type=conv
inputs=norm1
filters=6
filterSize=3
neuron=relu
[fc]
type=fc
inputs=conv2
outputs=4
[probs]
type=softmax
inputs=fc
[cost]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base.cfg").write_text(BASE)
    return tmp_path


def variant(folder: Path, text: str, name: str = "variant.cfg", of: str = "base.cfg") -> Checked:
    (folder / name).write_text(f"[@net]\nextends={of}\n{text}")
    return convspec.check(folder / name)


def reads(checked: Checked) -> dict[str, str]:
    return {row.name: ",".join(row.inputs) for row in checked.layers}


def codes(checked: Checked) -> list[str]:
    return [d.code for d in checked.diagnostics]


def test_a_key_overrides(base: Path) -> None:
    checked = variant(base, "[conv1]\nFILTERS=8\n[@params]\nepsW=0.5\n[@train]\nepochs=3\n")
    assert codes(checked) == []
    assert checked.layers[2].shape == (8, 7, 7)
    assert checked.graph.train.epochs == 3
    assert [row.name for row in checked.layers] == [row.name for row in convspec.check(BASE).layers]
    assert "epsW=0.5" in checked.resolved_text


def test_nothing_changed_is_the_same_program(base: Path) -> None:
    checked = variant(base, "")
    assert (checked.graph.net.network_name, checked.graph.net.note) == ("", "")
    assert convspec.compile(checked.resolved_text).replace("String", "Base") == convspec.compile(
        BASE, overrides=["@net.name=String"]
    ).replace("String", "Base")


def test_the_resolved_spec_stands_alone(base: Path, tmp_path: Path) -> None:
    checked = variant(base, "name=V\n[norm1]\nremove=1\n[conv3]\ntype=conv\nafter=conv2\nfilters=5\nfilterSize=1\n")
    assert "extends" not in checked.resolved_text
    assert "remove" not in checked.resolved_text
    assert "after" not in checked.resolved_text
    alone = tmp_path / "elsewhere" / "alone.cfg"
    alone.parent.mkdir()
    alone.write_text(checked.resolved_text)
    again = convspec.check(alone)
    assert again.diagnostics == ()
    assert again.resolved_text == checked.resolved_text
    assert convspec.compile(alone) == convspec.compile(base / "variant.cfg").replace("variant.cfg", "alone.cfg")


def test_remove_joins_the_neighbours(base: Path) -> None:
    checked = variant(base, "[norm1]\nremove=1\n")
    assert codes(checked) == []  # nor that nothing reads scale= and pow= of [@params], which the base has for norm1
    assert reads(checked)["conv2"] == "conv1"
    assert "norm1" not in reads(checked)


def test_remove_of_a_layer_that_is_not_there(base: Path) -> None:
    [diagnostic] = variant(base, "[norn1]\nremove=1\n").diagnostics
    assert (diagnostic.code, diagnostic.help) == ("CS307", "did you mean 'norm1'?")


def test_remove_of_several_in_a_row(base: Path) -> None:
    checked = variant(base, "[norm1]\nremove=1\n[conv2]\nremove=1\n[conv1]\nremove=1\n")
    assert codes(checked) == []
    assert reads(checked) == {"data": "", "labels": "", "fc": "data", "probs": "fc", "cost": "labels,probs"}


def test_remove_is_a_key_that_a_later_file_can_take_back(base: Path) -> None:
    variant(base, "[norm1]\nremove=1\n", "a.cfg")
    checked = variant(base, "[norm1]\nremove=0\n", "b.cfg", "a.cfg")
    assert reads(checked)["conv2"] == "norm1"


def test_remove_from_the_command_line(base: Path) -> None:
    checked = convspec.check(base / "base.cfg", overrides=["norm1.remove=1"])
    assert (codes(checked), reads(checked)["conv2"]) == ([], "conv1")


def test_readers_of_a_removed_join_read_all_of_it_and_stay_on_their_gpu() -> None:
    checked = convspec.check(spec_path("alexnet.cfg"), overrides=["conv3a.remove=1", "conv3b.remove=1"])
    assert codes(checked) == []
    assert (reads(checked)["conv4a"], reads(checked)["conv4b"]) == ("pool2a,pool2b", "pool2a,pool2b")
    gpus = {row.name: row.gpus for row in checked.layers}
    assert (gpus["conv4a"], gpus["conv4b"], gpus["conv5b"]) == ((0,), (1,), (1,))


def test_a_name_that_would_come_twice_comes_once(base: Path) -> None:
    text = "[side]\ntype=neuron\ninputs=conv1\nneuron=abs\n[conv2]\ninputs=norm1,side\n"
    variant(base, text, "wide.cfg")
    checked = variant(base, "[norm1]\nremove=1\n[side]\nremove=1\n", "narrow.cfg", "wide.cfg")
    assert reads(checked)["conv2"] == "conv1"


def test_after_rewires_the_readers_of_the_extended_file(base: Path) -> None:
    checked = variant(base, "[pool1]\ntype=pool\npool=max\nafter=norm1\nsizeX=3\nstride=2\n")
    assert codes(checked) == []
    assert (reads(checked)["pool1"], reads(checked)["conv2"]) == ("norm1", "pool1")
    assert list(reads(checked)) == ["data", "labels", "conv1", "norm1", "pool1", "conv2", "fc", "probs", "cost"]


def test_what_the_file_itself_writes_stays(base: Path) -> None:
    text = "[a]\ntype=neuron\nneuron=abs\nafter=conv1\n[both]\ntype=concat\ninputs=a,conv1\n[norm1]\ninputs=both\n"
    checked = variant(base, text)
    assert codes(checked) == []
    assert reads(checked) | {"a": "conv1", "both": "a,conv1", "norm1": "both"} == reads(checked)


def test_two_after_the_same_layer_follow_one_another(base: Path) -> None:
    text = "[a]\ntype=neuron\nneuron=abs\nafter=conv1\n[b]\ntype=neuron\nneuron=relu\nafter=conv1\n"
    checked = variant(base, text, "two.cfg")
    assert [reads(checked)[name] for name in ("a", "b", "norm1")] == ["conv1", "a", "b"]
    assert list(reads(checked))[2:6] == ["conv1", "a", "b", "norm1"]
    checked = variant(base, "[c]\ntype=neuron\nneuron=square\nafter=conv1\n", "three.cfg", "two.cfg")
    assert [reads(checked)[name] for name in ("c", "a", "b", "norm1")] == ["conv1", "c", "a", "b"]
    assert list(reads(checked))[2:7] == ["conv1", "c", "a", "b", "norm1"]


def test_after_moves_a_layer_of_the_extended_file(base: Path) -> None:
    checked = variant(base, "[norm1]\nafter=conv2\n")
    assert codes(checked) == []
    assert [reads(checked)[name] for name in ("conv2", "norm1", "fc")] == ["conv1", "conv2", "norm1"]


def test_a_new_layer_takes_the_place_of_an_old_one(base: Path) -> None:
    checked = variant(base, "[norm1]\nremove=1\n[abs1]\ntype=neuron\nneuron=abs\nafter=norm1\n")
    assert codes(checked) == []
    assert [reads(checked)[name] for name in ("abs1", "conv2")] == ["conv1", "abs1"]


def test_another_type_keeps_the_keys_that_it_takes(base: Path) -> None:
    checked = variant(base, "[norm1]\ntype=pool\npool=avg\nsizeX=2\nstride=1\n")
    assert codes(checked) == ["CS207", "CS207"]  # scale= and pow= of [@params], which no layer takes any more
    assert "size=3" not in checked.resolved_text
    assert reads(checked)["norm1"] == "conv1"


def test_layers_that_stand_after_one_another_in_a_circle(base: Path) -> None:
    text = "[a]\ntype=neuron\nneuron=abs\nafter=b\n[b]\ntype=neuron\nneuron=abs\nafter=a\n"
    assert "CS302" in codes(variant(base, text))


def test_two_files_that_are_extended_are_one(tmp_path: Path) -> None:
    (tmp_path / "layers-x.cfg").write_text(
        "[data]\ntype=data\ndataIdx=0\n[fc]\ntype=fc\ninputs=data\noutputs=4\ninitW=1\n"
    )
    (tmp_path / "layer-params-x.cfg").write_text(
        "[fc]\nepsW=0.1\nepsB=0.2\nmomW=0\nmomB=0\nwc=0\noutputs=9\n[gone]\nepsW=1\n"
    )
    checked = variant(tmp_path, "input=data:3x4x4\noutputs=fc\n[fc]\nepsB=0.5\n", of="layers-x.cfg")
    assert codes(checked) == ["CS208", "CS209"]
    assert {d.span.file.name for d in checked.diagnostics if d.span} == {str(tmp_path / "layer-params-x.cfg")}
    assert checked.layers[1].shape == (4,)
    assert "epsB=0.5" in checked.resolved_text
    assert convspec.check(checked.resolved_text).diagnostics == ()


def test_two_files_that_extend_lay_both_over(base: Path) -> None:
    (base / "layers-v.cfg").write_text("[@net]\nextends=base.cfg\n[conv1]\nfilters=8\n")
    (base / "layer-params-v.cfg").write_text("[conv1]\nepsW=0.75\nfilters=9\n")
    checked = convspec.check(base / "layers-v.cfg")
    assert codes(checked) == ["CS208"]
    assert (checked.layers[2].shape, "epsW=0.75" in checked.resolved_text) == ((8, 7, 7), True)


def test_layers_of_two_files_are_taken_out_together_with_their_parameters(tmp_path: Path) -> None:
    layers = "[data]\ntype=data\ndataIdx=0\n[d]\ntype=dropout\ninputs=data\n[n]\ntype=neuron\ninputs=d\nneuron=abs\ngpu=0\n[@net]\ndialect=convspec\noutputs=n\n"
    params = "[d]\nkeep=0.25\n"
    checked = convspec.check(layers, params, inputs={"data": (4,)}, overrides=["d.remove=1"])
    assert (codes(checked), reads(checked)["n"]) == ([], "data")


def test_overrides_come_last(base: Path) -> None:
    (base / "v.cfg").write_text("[@net]\nextends=base.cfg\n[conv1]\nfilters=8\n")
    checked = convspec.check(base / "v.cfg", overrides=["conv1.filters=2", "norm1.remove=1", "fc.inputs=conv1"])
    assert checked.layers[2].shape == (2, 7, 7)
    assert reads(checked)["fc"] == "conv1"


def test_specs_of_ours_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert variant(tmp_path, "", of="alexnet.cfg").ok
    assert variant(tmp_path, "", of="specs/alexnet-small.cfg").ok
    assert convspec.check("[@net]\nextends=alexnet.cfg\n").ok


def test_a_path_is_relative_to_the_file_that_says_it(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "deep").mkdir()
    variant(base, "[conv1]\nfilters=8\n", "deep/v.cfg", "../base.cfg")
    monkeypatch.chdir(base)
    checked = variant(base, "", "w.cfg", "deep/v.cfg")
    assert checked.layers[2].shape == (8, 7, 7)


def test_messages_stand_in_the_file_of_the_mistake(base: Path) -> None:
    (base / "base.cfg").write_text(BASE.replace("filters=6", "filters=six"))
    checked = variant(base, "[conv1]\nfiltersize=x\n")
    assert [(d.code, Path(d.span.file.name).name, d.span.text) for d in checked.diagnostics if d.span] == [
        ("CS204", "variant.cfg", "x"),
        ("CS204", "base.cfg", "six"),
    ]
    lines = {row.name: (Path(row.file).name, row.line) for row in checked.layers}
    assert lines["conv2"] == ("base.cfg", BASE[: BASE.index("[conv2]")].count("\n") + 1)


def test_a_reader_of_what_was_removed_is_blamed_where_it_reads(base: Path) -> None:
    checked = variant(base, "[norm1]\nremove=1\ninputs=nothing\n")
    [diagnostic] = checked.diagnostics
    assert diagnostic.span is not None
    assert (diagnostic.code, diagnostic.span.text, Path(diagnostic.span.file.name).name) == (
        "CS301",
        "norm1",
        "base.cfg",
    )


@pytest.mark.parametrize(
    ("extends", "code"),
    [
        ("nowhere.cfg", "CS101"),
        ("", "CS101"),
        (".", "CS101"),
        ("x\0y", "CS101"),
        ("bin.cfg", "CS102"),
        ("a/b/c", "CS101"),
    ],
)
def test_a_file_that_cannot_be_extended_is_the_only_mistake(base: Path, extends: str, code: str) -> None:
    (base / "bin.cfg").write_bytes(b"\0\1")
    checked = convspec.check(f"[@net]\nextends={base / extends}\n[conv1]\nfilters=8\n")
    [diagnostic] = checked.diagnostics
    assert diagnostic.code == code
    assert diagnostic.span is not None
    assert diagnostic.span.file is checked.document.file
    assert checked.layers == ()


def test_a_pipe_is_not_waited_for(base: Path) -> None:
    os.mkfifo(base / "pipe.cfg")
    assert codes(variant(base, "", of="pipe.cfg")) == ["CS101"]


def test_a_slip_in_how_it_is_extended_is_the_first_thing_that_is_told(base: Path) -> None:
    (base / "a.cfg").write_text("extends=base.cfg\n[norm1]\nremove=1\n")
    assert codes(convspec.check(base / "a.cfg")) == ["CS104"]
    (base / "b.cfg").write_text("[@net]\nextend=base.cfg\n[norm1]\nremove=1\n")
    found = [d for d in convspec.check(base / "b.cfg").diagnostics if d.code == "CS110"]
    assert [(d.span.text, d.help) for d in found if d.span] == [("extend", "did you mean 'extends'?")]


def test_cycles_and_long_chains_end(tmp_path: Path) -> None:
    for name, of in (("a", "b"), ("b", "c"), ("c", "./b")):
        (tmp_path / f"{name}.cfg").write_text(f"[@net]\nextends={of}.cfg\n")
    [diagnostic] = convspec.check(tmp_path / "a.cfg").diagnostics
    assert diagnostic.code == "CS113"
    assert diagnostic.span is not None
    assert Path(diagnostic.span.file.name).name == "c.cfg"
    for i in range(40):
        (tmp_path / f"{i}.cfg").write_text(f"[@net]\nextends={i + 1}.cfg\n")
    assert [d.code for d in convspec.check(tmp_path / "0.cfg").diagnostics] == ["CS113"]
    (tmp_path / "40.cfg").write_text(BASE)
    assert convspec.check(tmp_path / "9.cfg").ok
    assert not convspec.check(tmp_path / "8.cfg").ok


def test_a_chain_in_which_files_have_the_same_text(tmp_path: Path) -> None:
    """Where a text stands does not follow from what it says."""
    (tmp_path / "x").mkdir()
    (tmp_path / "base.cfg").write_text(BASE)
    (tmp_path / "x" / "base.cfg").write_text("[@net]\nextends=../base.cfg\n[a]\ntype=neuron\nneuron=abs\nafter=conv1\n")
    checked = convspec.check(tmp_path / "x" / "base.cfg")
    assert reads(checked)["norm1"] == "a"


def test_ten_thousand_removed_layers_take_a_bounded_time() -> None:
    text = "[@net]\ninput=data:4\noutputs=last\n[data]\ntype=data\ndataIdx=0\n"
    text += "".join(
        f"[a{i}]\ntype=neuron\nneuron=abs\ninputs={f'a{i - 1}' if i else 'data'}\nremove=1\n" for i in range(10_000)
    )
    checked = convspec.check(f"{text}[last]\ntype=neuron\nneuron=abs\ninputs=a9999\n")
    assert (codes(checked), reads(checked)) == ([], {"data": "", "last": "data"})


@pytest.mark.parametrize("override", ["@net.extends=other.cfg", "@net.Extends = other.cfg"])
def test_an_override_cannot_name_another_base(tmp_path: Path, override: str) -> None:
    (tmp_path / "base.cfg").write_text(BASE)
    (tmp_path / "v.cfg").write_text("[@net]\nextends=base.cfg\n")
    (diagnostic,) = convspec.check(tmp_path / "v.cfg", overrides=[override]).diagnostics
    assert diagnostic.code == "CS213"
    assert "said in its file alone" in diagnostic.message


def test_an_override_of_two_lines_is_two(tmp_path: Path) -> None:
    (tmp_path / "base.cfg").write_text(BASE)
    (diagnostic,) = convspec.check(tmp_path / "base.cfg", overrides=["conv1.filters=4\nstride=2"]).diagnostics
    assert diagnostic.code == "CS213"
    assert "has more than one line" in diagnostic.message


def test_an_empty_extends_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "v.cfg").write_text("[@net]\nextends=\n")
    (diagnostic,) = convspec.check(tmp_path / "v.cfg").diagnostics
    assert (diagnostic.code, diagnostic.message) == ("CS101", "extends= names no file")
