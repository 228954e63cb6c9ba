"""Whatever the text, `check` gives diagnostics, each inside its file, and never a traceback."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convspec.checker import check
from convspec.diagnostics import DiagnosticError
from convspec.diagnostics.render import Format, render
from tests.faults.specs import Spec, corpus, our_specs
from tests.faults.told import assert_lossless, assert_told

HEAD = "[@net]\ninput=data:3x8x8\noutputs=x\n[data]\ntype=data\ndataIdx=0\n"
FC = "[x]\ntype=fc\ninputs=data\ninitW=1\nepsW=1\nepsB=1\nmomW=0\nmomB=0\n"

# Pieces of the language and of what breaks parsers; texts of them reach further than random characters.
PIECES = st.sampled_from(
    [
        *"""[x] [data] [@net] [@params] [DEFAULT] [ ] [] [x ]x type = conv fc pool data cmrnorm cost.logreg softmax concat neuron\n    inputs=data inputs=x,data type=fc type=conv type=pool type=data type=neuron type=softmax type=cost.logreg pool=max\n    input=data:3x8x8 outputs= filters=4 filterSize=3 stride= sizeX= 0 -1 1e400 nan 99999999999999999999 dataIdx=0\n    neuron=tanh[1,2] neuron= epsW=dexp[base=1;tgtFactor=2;numSteps=3] coeff=1 rem %(x)s gpu=0,1 channels=3 groups=2\n    rounding=floor [@template t] [@t.y] [x_2] [x.y] type=t inputs=$inputs inputs=y repeat=3 repeat=99999 filters=$n n= n=4 $n ${n} $ [@params conv] expect=8x8x3 extends=alexnet-small.cfg extends= remove=1 after=x after=data classes=0 outputsX=9 start=-1 topk=9 keep= , ; # : [ ]
        schedW=dexp[250,0,4] schedB=jdexp[tgtFactor=2,noiseStdev=0,numSteps=3] schedW=exp[0] schedW=default[1] wball=1,2
        wcNormMin=1 wcNormMax=0.5 updatePeriod=9999999999 superEps=1 superMom=x quantF=half[] quantB=half[1] dialect=ccn2
        dialect=alexnet2012 initWFunc=initw.makew(x) initBFunc=initw.makeb_vec(1,x) initCFunc=a.b(,) initWFunc=a..b ( )""".split(),
        "\n",
        "\n",
        "\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "\n ",
        " ;",
        "\x00",
        "\ufeff",
        "\xa0",
        "\u2028",
        "\x1c",
        "�",
        "é",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=60).map("".join), st.lists(PIECES, max_size=60).map("\n".join))


@given(TEXTS, st.none() | TEXTS)
@settings(max_examples=600)
def test_any_text(text: str, params: str | None) -> None:
    assert_told(check(f"{text}\n", None if params is None else f"{params}\n"))
    assert_lossless(text)


@given(TEXTS)
@settings(max_examples=300)
def test_any_text_as_a_continuation_of_a_network(text: str) -> None:
    assert_told(check(f"{HEAD}{FC}{text}\n"))


@given(st.lists(TEXTS, max_size=3))
@settings(max_examples=200)
def test_any_override(overrides: list[str]) -> None:
    assert_told(check(HEAD + FC + "outputs=4\n", overrides=[*overrides, *(f"x.{text}" for text in overrides)]))


@given(data=st.binary() | TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=300)
def test_any_bytes_in_a_file(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.cfg"
    path.write_bytes(data)
    diagnostics = None
    try:
        assert_told(check(path))
    except DiagnosticError as error:
        diagnostics = error.diagnostics
    if diagnostics is not None:
        assert [d.code for d in diagnostics] == ["CS102"]
        render(diagnostics, Format.FULL, color=False).encode("utf-8")


LINE_EDITS = st.sampled_from(["delete", "double", "swap", "cut", "indent", "garble", "value", "join"])


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A text with one to four of its lines spoilt."""
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        if not lines:
            break
        i = draw(st.integers(0, len(lines) - 1))
        key, equals, _ = lines[i].partition("=")
        match draw(LINE_EDITS):
            case "delete":
                del lines[i]
            case "double":
                lines.insert(i, lines[i])
            case "swap":
                j = draw(st.integers(0, len(lines) - 1))
                lines[i], lines[j] = lines[j], lines[i]
            case "cut":
                lines[i] = lines[i][: draw(st.integers(0, len(lines[i])))]
            case "indent":
                lines[i] = " " + lines[i]
            case "garble":
                lines[i] = draw(st.text(max_size=20))
            case "value":
                lines[i] = key + equals + draw(st.integers().map(str) | st.floats().map(str) | st.text(max_size=8))
            case _:
                lines[i : i + 2] = ["".join(lines[i : i + 2])]
    return "\n".join(lines) + "\n"


@given(st.data())
@settings(max_examples=60)
def test_spoilt_specs(data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from(our_specs()))
    assert_spoilt(spec, data)


@given(st.data())
@settings(max_examples=60)
def test_spoilt_specs_from_elsewhere(data: st.DataObject) -> None:
    if not corpus():
        pytest.skip("the collection of layer files is not beside this repository")
    assert_spoilt(data.draw(st.sampled_from(corpus())), data)


def assert_spoilt(spec: Spec, data: st.DataObject) -> None:
    layers = data.draw(mutated(spec.layers))
    params = None if spec.params is None else data.draw(mutated(spec.params))
    assert_told(spec.check(layers, params))
    assert_lossless(layers)


def neurons(count: int, source: str) -> str:
    """Layers a0, a1, ... of which a{i} reads `source.format(i - 1, i, i + 1)`."""
    section = "[a{1}]\ntype=neuron\nneuron=relu\ninputs="
    return HEAD + "".join(f"{section}{source}\n".format(i - 1, i, i + 1) for i in range(count))


PATHOLOGICAL = {
    "a million digits": HEAD + FC + "outputs=" + "9" * 10**6 + "\n",
    "a million digits behind the point": HEAD + FC + "outputs=4\ninitB=0." + "9" * 10**6 + "\n",
    "a number beyond float": HEAD + FC + "outputs=4\ninitB=1e400\n",
    "not a number": HEAD + FC + "outputs=4\ninitB=nan\n",
    "steps beyond float": HEAD + FC + "outputs=4\nepsW=dexp[base=1;tgtFactor=2;numSteps=1e400]\n",
    "a neuron beyond float": HEAD + "[x]\ntype=neuron\ninputs=data\nneuron=tanh[1e400,1]\n",
    "deep brackets": HEAD + FC + "outputs=" + "[" * 10**5 + "]" * 10**5 + "\n",
    "a long list": HEAD + FC + "outputs=4\ninitW=" + "1," * 20_000 + "1\n",
    "a long line": HEAD + FC + "outputs=4 ;" + "x" * 10**6 + "\n",
    "a long key": HEAD + FC + "outputs=4\n" + "x" * 10**6 + "=1\n",
    "a long name": HEAD + "[" + "x" * 10**6 + "]\ntype=neuron\ninputs=data\nneuron=relu\n",
    "thousands of inputs that do not exist": HEAD
    + "[x]\ntype=concat\ninputs="
    + ",".join(f"a{i}" for i in range(5000))
    + "\n",
    "thousands of layers with one missing input each": neurons(2000, "b{1}"),
    "thousands of equal inputs": HEAD + "[x]\ntype=concat\ninputs=" + ",".join(["data"] * 5000) + "\n",
    "5000 layers side by side": neurons(5000, "data"),
    "a chain of 5000 layers": neurons(5000, "a{0}").replace("inputs=a-1", "inputs=data").replace("=x", "=a4999"),
    "a cycle of 5000 layers": neurons(4999, "a{2}") + "[a4999]\ntype=neuron\nneuron=relu\ninputs=a0\n",
    "thousands of layers that read themselves": neurons(2000, "a{1}"),
    "a cost that reads itself": HEAD + "[x]\ntype=cost.logreg\ninputs=x,x\ncoeff=1\n",
    "names with blanks, brackets and colons": HEAD.replace("=x", "=z")
    + "[a b [c]\ntype=neuron\ninputs=data\nneuron=relu\n[a:b]\ntype=neuron\ninputs=a b [c\nneuron=relu\n"
    + "[z]\ntype=neuron\ninputs=a:b\nneuron=relu\n",
    "sizes beyond 64 bits": f"[@net]\ninput=data:{'x'.join(['999999999999999999'] * 3)}\noutputs=x\n"
    "[data]\ntype=data\ndataIdx=0\n" + FC + "outputs=4\n",
    "sizes of zero": HEAD.replace("3x8x8", "0x0x0") + FC + "outputs=4\n",
    "junk": "x\n" * 5_000,
    "brackets": "[\n" * 2_000,
    "equal sections": "[x]\n" * 5_000,
    "keys that nothing reads": HEAD + FC + "outputs=4\n" + "".join(f"epsX{i}=1\n" for i in range(5000)),
    "one key ever again": HEAD + FC + "outputs=4\n" * 5000,
    "carriage returns": (HEAD + FC + "outputs=4\n").replace("\n", "\r"),
    "settings that cannot be": HEAD + FC + "outputs=4\n[@net]\nrounding=up\nclasses=0\n[@train]\nbatch=0\nseed=x\n",
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_pathological_texts_take_a_bounded_time(name: str) -> None:
    start = time.process_time()

    checked = check(PATHOLOGICAL[name] + "\n")
    text = render(checked.diagnostics, Format.FULL, color=False)

    assert_told(checked)
    # Generous: what grows with the square of its length takes minutes here.
    assert time.process_time() - start < 20
    assert all(len(line) < 1500 for line in io.StringIO(text))


def test_names_with_blanks_brackets_and_colons_are_names() -> None:
    assert check(PATHOLOGICAL["names with blanks, brackets and colons"]).diagnostics == ()


@pytest.mark.parametrize("spec", [*our_specs(), *corpus()], ids=lambda spec: spec.name)
def test_real_files_are_lossless(spec: Spec) -> None:
    assert_lossless(spec.layers)
    assert_lossless(spec.params or "")


def test_a_device_without_end_is_not_read_to_its_end() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("this system has no /dev/zero")
    with pytest.raises(DiagnosticError, match="CS102"):
        check("/dev/zero")
