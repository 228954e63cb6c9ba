"""The rules of `gpu=`: who must say it, and which numbers of replicas fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from convspec.checker import Checked, check
from convspec.cli import main

ORIGINALS_WITH_GPUS = ("alexnet2012", "ccn2")


def spec(*layers: tuple[str, str, str], dialect: str = "convspec", outputs: str = "") -> str:
    """Neuron layers by name, inputs and gpu (empty: none is written)."""
    texts = [
        f"[@net]\ndialect={dialect}\ninput=data:3x8x8\noutputs={outputs or layers[-1][0]}\n[data]\ntype=data\ndataIdx=0\n"
    ]
    for name, inputs, gpu in layers:
        kind = "concat" if "," in inputs else "neuron\nneuron=relu"
        texts.append(f"[{name}]\ntype={kind}\ninputs={inputs}\n" + (f"gpu={gpu}\n" if gpu else ""))
    return "".join(texts)


def codes(result: Checked) -> list[str]:
    return [d.code for d in result.diagnostics]


@pytest.mark.parametrize("dialect", ORIGINALS_WITH_GPUS)
def test_a_layer_above_data_says_its_gpu(dialect: str) -> None:
    text = spec(("a", "data", ""), ("b", "a", ""), ("c", "b,data", ""), dialect=dialect)
    [diagnostic] = check(text).diagnostics
    assert diagnostic.code == "CS501"
    assert (diagnostic.help or "").startswith("add gpu=0 to [a]; --dialect convspec")
    assert codes(check(text.replace("inputs=data\n", "inputs=data\ngpu=1\n"))) == []
    assert codes(check(text.replace(dialect, "convspec"))) == []
    assert codes(check(text.replace("b,data", "data,b"))) == ["CS501", "CS501"]


def test_a_layer_is_where_its_first_input_is() -> None:
    result = check(
        spec(("a", "data", "1"), ("b", "data", "0,1"), ("c", "b", ""), ("d", "a", ""), ("e", "c", "1"), outputs="d,e")
    )
    assert {name: result.placement[name] for name in "abcde"} == {
        "a": (1,),
        "b": (0, 1),
        "c": (0, 1),
        "d": (1,),
        "e": (1,),
    }


@pytest.mark.parametrize(
    ("layers", "at"),
    [
        ([("a", "data", "0"), ("b", "a", "0,1")], "b"),
        ([("a", "data", "0,1,2"), ("b", "a", "0,1")], "b"),
        ([("a", "data", "0,1"), ("b", "a", "0,1,2,3")], "b"),
        ([("a", "data", "0,1"), ("b", "data", "0,1"), ("c", "a", "0"), ("d", "b", ""), ("e", "c,d", "0")], "e"),
    ],
)
def test_replicas_of_the_inputs_are_a_multiple_and_equally_many(layers: list[tuple[str, str, str]], at: str) -> None:
    text = spec(*layers)
    diagnostics = [d for d in check(text).diagnostics if d.code == "CS503"]
    assert len(diagnostics) == 1
    assert diagnostics[0].span is not None
    assert text[: diagnostics[0].span.start].rpartition("\n[")[2].startswith(f"{at}]")
    assert diagnostics[0].labels


@pytest.mark.parametrize(
    "layers",
    [
        [("a", "data", "0,1,2,3"), ("b", "a", "0,1"), ("c", "b", "1")],
        [("a", "data", "0,1,2,3"), ("b", "a", "0"), ("c", "a", "1"), ("d", "b,c", "3")],
        [("a", "data", "0,1"), ("b", "a,data", "0,1")],
        [("a", "data", "3,2,1,0"), ("b", "a", "0,1,2,3")],
    ],
)
def test_replicas_that_fit(layers: list[tuple[str, str, str]]) -> None:
    assert codes(check(spec(*layers))) == []


def test_readers_of_one_layer_have_equally_many() -> None:
    text = spec(("a", "data", "0,1"), ("b", "a", "0"), ("c", "a", "0,1"), outputs="b,c")
    [diagnostic] = check(text).diagnostics
    assert diagnostic.code == "CS503"
    assert diagnostic.message == "the layers that read a have unequal numbers of replicas: b 1, c 2"
    assert [label.text for label in diagnostic.labels] == ["b has 1 replica", "c has 2 replicas"]


def test_data_follow_their_readers_and_so_have_readers_alike() -> None:
    text = spec(("a", "data", "0"), ("b", "data", "0,1"), outputs="a,b")
    [diagnostic] = check(text).diagnostics
    assert diagnostic.message.startswith("the layers that read data")


def test_replicas_are_on_different_gpus() -> None:
    [diagnostic] = check(spec(("a", "data", "1,0,1"))).diagnostics
    assert diagnostic.code == "CS502"
    assert diagnostic.help == "name each GPU once: gpu=1,0"


@pytest.mark.parametrize(("gpus", "expected"), [(None, []), (2, []), (1, ["CS504"])])
def test_gpus_that_there_are(gpus: int | None, expected: list[str]) -> None:
    for dialect in ("convspec", *ORIGINALS_WITH_GPUS):
        assert codes(check(spec(("a", "data", "1"), dialect=dialect), gpus=gpus)) == expected
    assert codes(check(spec(("a", "data", "1"), dialect="ccn1"), gpus=gpus)) == ["CS214"]


def test_2012_has_one_gpu_a_layer() -> None:
    [diagnostic] = check(spec(("a", "data", "0,1"), dialect="alexnet2012")).diagnostics
    assert diagnostic.code == "CS204"
    assert "an integer" in diagnostic.message


def test_a_layer_that_could_not_be_read_causes_no_second_message() -> None:
    text = spec(("a", "data", "0,1"), ("b", "a", ""), ("c", "b", "0,1"), ("d", "c", "0,1"))
    assert codes(check(text.replace("[b]\ntype=neuron", "[b]\ntype=nuron"))) == ["CS202"]
    assert codes(check(text.replace("[b]\n", "[b]\ngpu=x\n"))) == ["CS204"]


def test_an_input_stands_above_its_reader_in_the_originals() -> None:
    text = spec(("b", "a", "0"), ("a", "data", "0"), outputs="b", dialect="ccn2")
    [diagnostic] = check(text).diagnostics
    assert diagnostic.code == "CS319"
    assert (diagnostic.help or "").startswith("move [a] above [b]")
    assert codes(check(text.replace("ccn2", "convspec"))) == []
    itself = spec(("a", "b", "0"), ("b", "a", "0"), dialect="ccn2")
    assert codes(check(itself.replace("[data]\ntype=data\ndataIdx=0\n", ""))).count("CS302") == 1
    assert "CS319" not in codes(check(itself))


@pytest.mark.parametrize("dialect", [*ORIGINALS_WITH_GPUS, "ccn1", "convspec"])
def test_weights_are_shared_on_one_gpu_in_the_originals(dialect: str) -> None:
    rates = "epsW=1\nepsB=1\nmomW=0\nmomB=0\nwc=0\ninitW=1\noutputs=4\n"
    text = f"[@net]\ndialect={dialect}\ninput=data:4\noutputs=a,b\n[data]\ntype=data\ndataIdx=0\n"
    text += f"[a]\ntype=fc\ninputs=data\ngpu=0\n{rates}[b]\ntype=fc\ninputs=data\ngpu=1\nweightSource=a\n{rates}"
    found = [d for d in check(text).diagnostics if d.code == "CS506"]
    assert len(found) == (dialect in ORIGINALS_WITH_GPUS)
    assert [d.message for d in found] == ["b is on GPU 1, and takes its weights from a on GPU 0"] * len(found)
    assert "CS506" not in codes(check(text.replace("gpu=1", "gpu=0")))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "x.cfg")
    Path(path).write_text(spec(("a", "data", "2")))
    assert main(["check", path, "--gpus", "3"]) == 0
    assert main(["check", path, "--gpus", "2"]) == 1
    assert "a is on GPU 2, and there are 2" in capsys.readouterr().out


def test_weights_of_a_layer_on_a_cycle_are_on_no_gpu() -> None:
    rates = "outputs=4\ninitW=0.1\nepsW=0.1\nepsB=0.1\nmomW=0.9\nmomB=0.9\n"
    text = "[@net]\ndialect=ccn2\ninput=data:3x8x8\noutputs=b\n[data]\ntype=data\ndataIdx=0\n"
    text += f"[a]\ntype=fc\ninputs=a\ngpu=0\n{rates}[b]\ntype=fc\ninputs=data\ngpu=1\nweightSource=a\n{rates}"
    assert {"CS302"} <= set(codes(check(text))) <= {"CS302", "CS319"}
