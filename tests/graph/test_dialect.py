"""Recognising the program that a file was written for."""

from __future__ import annotations

import json

import pytest

from convspec.checker import check
from convspec.cli import main
from convspec.graph.dialect import SIGNS
from tests.layers.two_files import CONV, DATA, PARAMS, RATES, TOP

WITHOUT_SIGNS = CONV.replace("partialSum=0\nsumWidth=1\ngpu=0\n", "")
QUIET_TOP = TOP.replace("gpu=0\n", "")


def recognized(layers: str, params: str | None = PARAMS) -> str:
    return check(layers, params).graph.dialect.name


@pytest.mark.parametrize(
    ("conv", "top", "params", "dialect"),
    [
        (WITHOUT_SIGNS, QUIET_TOP, PARAMS, "ccn1"),
        (WITHOUT_SIGNS + "partialSum=4\n", QUIET_TOP, PARAMS, "ccn1"),
        (WITHOUT_SIGNS + "PARTIALSUM=4\n", QUIET_TOP, PARAMS + "[fc]\ndropout=0.5\n", "ccn1_dnouri"),
        (WITHOUT_SIGNS + "partialSum=4\n", TOP, PARAMS, "alexnet2012"),
        (WITHOUT_SIGNS, QUIET_TOP, PARAMS + "[fc]\nschedW=exp[tgtFactor=2,noiseStdev=0]\n", "alexnet2012"),
        (WITHOUT_SIGNS + "[d]\ntype=hs\ninputs=conv\nkeep=0.5\n", QUIET_TOP, PARAMS, "alexnet2012"),
        (WITHOUT_SIGNS, QUIET_TOP, PARAMS + "[fc]\nschedW=exp[2,0]\n", "convspec"),
        (WITHOUT_SIGNS + "[d]\ntype=hs\ninputs=conv\n", QUIET_TOP, PARAMS + "[fc]\nschedW=exp[2,0]\n", "alexnet2012"),
        (WITHOUT_SIGNS, TOP, PARAMS, "ccn2"),
        (WITHOUT_SIGNS + "sumWidth=4\npartialSum=4\n", TOP, PARAMS, "ccn2"),
        (WITHOUT_SIGNS + "gpu=0,1\npartialSum=4\n", QUIET_TOP, PARAMS, "ccn2"),
        (WITHOUT_SIGNS + "[d]\ntype=dropout2\ninputs=conv\n", QUIET_TOP, PARAMS, "ccn2"),
        (WITHOUT_SIGNS, QUIET_TOP, PARAMS.replace("epsW=0.001", "epsW=const[base=1]"), "ccn2"),
        ("[@net]\ninput=data:3x32x32\n" + WITHOUT_SIGNS, TOP, PARAMS, "convspec"),
        ("[@net]\ninput=data:3x32x32\n" + WITHOUT_SIGNS + "sumWidth=4\n", TOP, PARAMS, "ccn2"),
    ],
)
def test_two_files_are_of_the_program_whose_words_they_use(conv: str, top: str, params: str, dialect: str) -> None:
    assert recognized(DATA + conv + top.format("conv"), params) == dialect


def test_one_file_is_ours_whatever_stands_in_it() -> None:
    assert recognized(DATA + CONV + RATES + TOP.format("conv"), None) == "convspec"


def test_a_layer_file_whose_parameters_are_missing_is_recognized_too() -> None:
    result = check(DATA + CONV + TOP.format("conv"))
    assert [d.code for d in result.diagnostics if d.code == "CS112"] == ["CS112"]
    assert result.graph.dialect.name == "ccn2"


def test_the_spec_says_it_and_the_caller_says_it_again() -> None:
    text = "[@net]\ndialect=ccn1\n" + DATA + CONV + TOP.format("conv")
    assert recognized(text) == "ccn1"
    assert check(text, PARAMS, dialect="alexnet2012").graph.dialect.name == "alexnet2012"
    assert check(text, PARAMS, overrides=["@net.dialect=ccn2"]).graph.dialect.name == "ccn2"


def test_a_dialect_that_does_not_exist_is_a_mistake_in_the_spec() -> None:
    diagnostics = check("[@net]\ndialect=ccn3\n" + DATA + CONV + TOP.format("conv"), PARAMS).diagnostics
    [diagnostic] = [d for d in diagnostics if d.code == "CS212"]
    assert "ccn1" in diagnostic.message


def test_each_sign_belongs_to_a_program_and_reads_well() -> None:
    assert next(sign.text for sign in SIGNS if sign.dialect.name == "alexnet2012").startswith("type=cost.crossent2, ")
    assert all(sign.text for sign in SIGNS)


def test_a_resolved_spec_is_read_in_the_dialect_it_came_from() -> None:
    layers, params = DATA + CONV + TOP.format("conv"), PARAMS
    before = check(layers, params, inputs={"data": (3072,)}, dialect="alexnet2012")
    after = check(before.resolved_text, inputs={"data": (3072,)})
    assert before.ok
    assert after.ok
    assert after.graph.dialect is before.graph.dialect
    assert [row._replace(line=0) for row in after.layers] == [row._replace(line=0) for row in before.layers]


def test_command_line(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "layers-x.cfg").write_text(DATA + CONV + TOP.format("conv"))
    (folder / "layer-params-x.cfg").write_text(PARAMS)
    arguments = ["check", str(folder / "layers-x.cfg"), "--input", "data:3x32x32"]

    assert main(arguments) == 0
    assert "dialect  ccn2, the language of cuda-convnet2" in capsys.readouterr().out
    assert main([*arguments, "--dialect", "convspec"]) == 0
    assert "dialect" not in capsys.readouterr().out
    assert main([*arguments, "--dialect", "alexnet2012", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["dialect"] == "alexnet2012"
    assert main([*arguments, "--dialect", "ccn3"]) == 2
