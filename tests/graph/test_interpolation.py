"""`%(name)s` in values, and the other ways of Python's ConfigParser that files rely on."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convspec.checker import Checked, check
from convspec.diagnostics import Report, SourceFile
from convspec.graph.interpolation import MAXIMUM_LENGTH, interpolate
from convspec.syntax.document import Entry
from convspec.syntax.parser import parse_document

HEAD = "[@net]\ninput=data:3x32x32\noutputs=x\n[data]\ntype=data\ndataIdx=0\n"
POOL = "[x]\ntype=pool\ninputs=data\npool=max\nsizeX=3\nstride={}\n"


def entries(text: str) -> dict[str, Entry]:
    document = parse_document(SourceFile("x", f"[x]\n{text}"), Report())
    return {entry.key: entry for entry in document.sections[0].entries}


def filled(text: str, key: str = "a") -> str | None:
    """The value of a key after interpolation, or None where it has a fault."""
    own = entries(text)
    entry = interpolate("x", own, own)[key]
    return None if entry.fault else entry.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=%(b)s\nb=3", "3"),
        ("a=%(B)s,%(b)s\nb=3", "3,3"),
        ("a=%(B)s\nB=3", "3"),
        ("a=x%%y", "x%y"),
        ("a=%%(b)s\nb=3", "%(b)s"),
        ("a=%(b)s\nb=%(c)s%(c)s\nc=1%%", "1%1%"),
        ("a=%(__name__)s", "x"),
        ("a=1\nb=5%", "1"),
        ("a=5%", None),
        ("a=%(b", None),
        ("a=%(b)d\nb=3", None),
        ("a=%(c)s\nb=3", None),
        ("a=%(b)s\nb=5%", None),
        ("a=%(a)s", None),
        ("a=%(b)s\nb=%(a)s", None),
    ],
)
def test_references_are_filled_in_as_configparser_does(text: str, value: str | None) -> None:
    assert filled(text) == value


@pytest.mark.parametrize(("count", "is_filled"), [(10, True), (11, False)])
def test_references_go_ten_keys_deep(count: int, is_filled: bool) -> None:
    chain = "a=%(k1)s\n" + "".join(f"k{i}=%(k{i + 1})s\n" for i in range(1, count)) + f"k{count}=7"
    assert (filled(chain) == "7") is is_filled


def test_neither_length_nor_time_explodes() -> None:
    doubling = "".join(f"k{i}=" + f"%(k{i + 1})s" * 50 + "\n" for i in range(9))
    began = time.perf_counter()
    assert filled(f"a=%(k0)s\n{doubling}k9=x") is None
    assert filled(f"a=%(k0)s\n{doubling}k9=") == ""
    assert filled("a=" + "%(b)s" * 4 + "\nb=" + "x" * (MAXIMUM_LENGTH // 4)) is not None
    assert time.perf_counter() - began < 5


@given(st.dictionaries(st.sampled_from("abcd"), st.text(st.sampled_from("%()sabcd% "), max_size=12), min_size=1))
def test_any_value_is_filled_in_or_has_a_fault_inside_it(written: dict[str, str]) -> None:
    own = entries("".join(f"{key}={value}\n" for key, value in written.items()))
    for entry in interpolate("x", own, own).values():
        if entry.fault is not None:
            assert 0 <= entry.fault.start < entry.fault.end <= len(entry.value)
            assert entry.part(entry.fault.start, entry.fault.end).text in entry.text


def codes(result: Checked) -> list[str]:
    return [d.code for d in result.diagnostics if d.code not in ("CS207", "CS409")]


def test_a_reference_reaches_defaults_and_the_other_keys_of_a_section() -> None:
    for text in (
        "[DEFAULT]\ns=2\n" + HEAD + POOL.format("%(s)s"),
        HEAD + POOL.format("%(S)s") + "s=2\n",
        "[DEFAULT]\nstride=%(s)s\n" + HEAD + POOL.replace("stride={}\n", "s=2\n"),
        "[DEFAULT]\ns=9\n" + HEAD + POOL.format("%(s)s") + "s=2\n",
    ):
        result = check(text)
        assert codes(result) == [], text
        assert result.layers[-1].shape == (3, 16, 16)


def test_defaults_for_all_layers_are_filled_in_for_each() -> None:
    layer = "[{0}]\ntype=fc\ninputs=data\noutputs=4\ninitW=0.1\nmomW=0\nmomB=0\nepsB=1\nrate={1}\n"
    text = (
        HEAD.replace("outputs=x", "outputs=x,y")
        + "[@params]\nepsW=%(rate)s\n"
        + layer.format("x", 1)
        + layer.format("y", 2)
    )
    result = check(text)
    assert codes(result) == []
    rates = [result.graph.layers[name].weight_update(0).rate.base for name in "xy"]  # type: ignore[attr-defined]
    assert rates == [1, 2]


def test_the_mistake_in_a_filled_in_value_is_shown_where_it_is_written() -> None:
    result = check(HEAD + POOL.format("%(s)s") + "s=two\n")
    [diagnostic] = [d for d in result.diagnostics if d.code == "CS204"]
    assert diagnostic.span is not None
    assert diagnostic.span.text == "%(s)s"
    assert "'two'" in diagnostic.message


def test_the_message_says_in_which_key_the_reference_ends() -> None:
    [diagnostic] = [d for d in check(HEAD + POOL.format("%(s)s") + "s=%(t)s\n").diagnostics if d.code == "CS229"]
    assert diagnostic.message == "stride of x: in s: there is no key t in this section"


def test_a_circle_is_called_one() -> None:
    [diagnostic] = [
        d for d in check(HEAD + POOL.format("%(s)s") + "s=%(t)s\nt=%(s)s\n").diagnostics if d.code == "CS229"
    ]
    assert diagnostic.message.endswith("s refers to itself")


def test_settings_are_taken_as_they_are_written() -> None:
    result = check(
        "[@net]\ninput=data:3x32x32\noutputs=x\nnote=50% of %(x)s\n" + HEAD.split("outputs=x\n")[1] + POOL.format(2)
    )
    assert codes(result) == []
    assert result.graph.net.note == "50% of %(x)s"


def test_a_resolved_spec_means_the_same() -> None:
    before = check("[DEFAULT]\ns=2\n" + HEAD + POOL.format("%(s)s") + "note=5%\n")
    after = check(before.resolved_text)
    assert [row.shape for row in after.layers] == [row.shape for row in before.layers]


def test_blanks_inside_the_brackets_belong_to_the_name() -> None:
    assert list(check(HEAD + POOL.format(2).replace("[x]", "[ x ]")).graph.layers) == ["data", " x "]


def test_an_input_without_the_blanks_of_its_header_is_explained() -> None:
    text = HEAD.replace("outputs=x", "outputs=y") + POOL.format(2).replace("[x]", "[ x ]") + (
        "[y]\ntype=neuron\nneuron=relu\ninputs=x\n"
    )  # fmt: skip
    [diagnostic] = [d for d in check(text).diagnostics if d.code != "CS409"]
    assert diagnostic.code == "CS301"
    assert diagnostic.help == "write [x]: the blanks in [ x ] belong to its name"


def test_a_name_ends_at_its_first_bracket() -> None:
    text = HEAD.replace("outputs=x", "outputs=conv4[0") + POOL.format(2).replace("[x]", "[conv4[0]]")
    result = check(text)
    assert result.ok
    [diagnostic] = [d for d in result.diagnostics if d.code == "CS108"]
    assert "is conv4[0" in diagnostic.message


def test_only_our_dialect_takes_a_byte_order_mark() -> None:
    layers = "\ufeff" + "[data]\ntype=data\ndataIdx=0\n" + POOL.format(2).replace("data\n", "data\nchannels=3\ngpu=0\n")
    for dialect in ("ccn1", "alexnet2012", "ccn2"):
        [diagnostic] = [
            d for d in check(layers, "\n", dialect=dialect, inputs={"data": (3072,)}).diagnostics if d.code == "CS119"
        ]
        assert diagnostic.span is not None
        assert diagnostic.span.start == 0
    assert "CS119" not in codes(check(layers, "\n", dialect="convspec"))
    assert "CS119" in codes(check(layers[1:], "\ufeff\n", dialect="ccn2"))


@pytest.mark.parametrize("flag", ["1", "true", "YES", "On"])
def test_words_for_yes(flag: str) -> None:
    text = HEAD + f"[x]\ntype=dropout\ninputs=data\nenable={flag}\n"
    assert check(text).graph.layers["x"].enable is True  # type: ignore[attr-defined]
    text = text.replace(flag, {"1": "0", "true": "False", "YES": "no", "On": "OFF"}[flag])
    assert check(text).graph.layers["x"].enable is False  # type: ignore[attr-defined]


def test_a_section_of_the_parameter_file_is_wanted_where_defaults_do_not_do() -> None:
    layers = HEAD.split("outputs=x\n")[1] + "[x]\ntype=dropout\ninputs=data\ngpu=0\n"
    for params, expected in (("\n", ["CS203"]), ("[x]\n", []), ("[DEFAULT]\nkeep=0.3\n", ["CS203"])):
        result = check(layers, params, inputs={"data": (3, 4, 4)}, dialect="ccn2", overrides=["@net.outputs=x"])
        assert codes(result) == expected, params
        assert (
            codes(check(layers, params, inputs={"data": (3, 4, 4)}, dialect="convspec", overrides=["@net.outputs=x"]))
            == []
        )
