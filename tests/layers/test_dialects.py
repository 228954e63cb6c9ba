"""What the original programs read, lacked and insisted on: each row of the tables at work in `check`."""

from __future__ import annotations

import pytest

from convspec.checker import Checked, check
from convspec.diagnostics import Diagnostic
from convspec.layers import BUILT_IN
from convspec.layers.base import NEURON_ARGUMENTS, Layer
from convspec.layers.dialects import ALIASES, DIALECTS, NAMES, ROWS, UNREAD, dialect_named
from convspec.layers.keys import Key
from tests.layers.two_files import CONV, DATA, PARAMS, RATES, TOP

ORIGINALS = ("ccn1", "ccn1_dnouri", "alexnet2012", "ccn2")


def checked(
    dialect: str | None, *, conv: str = CONV, more: str = "", top: str = "conv", params: str = PARAMS
) -> Checked:
    return check(DATA + conv + more + TOP.format(top), params, inputs={"data": (3072,)}, dialect=dialect)


def problems(result: Checked) -> list[Diagnostic]:
    return [d for d in result.diagnostics if d.code != "CS214"]


def codes(result: Checked) -> list[str]:
    return [d.code for d in problems(result)]


@pytest.mark.parametrize("name", NAMES)
def test_a_plain_network_is_read_in_every_dialect(name: str) -> None:
    result = checked(name)
    assert result.ok
    assert result.graph.dialect is dialect_named(name)
    assert {layer.dialect for layer in result.graph.layers.values()} == {result.graph.dialect}


def test_unknown_dialect_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="ccn3"):
        check(DATA, dialect="ccn3")


@pytest.mark.parametrize("original", ORIGINALS)
def test_an_original_knows_its_types_and_neurons_and_no_others(original: str) -> None:
    dialect = DIALECTS[original]
    assert dialect.layer_types is not None
    assert dialect.neurons is not None
    assert dialect.neurons <= NEURON_ARGUMENTS.keys()
    for name in sorted(BUILT_IN.keys() - {"conv", "fc", "data", "softmax", "cost.logreg"}):
        result = checked(original, more=f"[x]\ntype={name}\ninputs=conv\n", top="x")
        assert ("CS202" in codes(result)) == (name not in dialect.layer_types), name
    for name, count in NEURON_ARGUMENTS.items():
        call = name + (f"[{','.join(['1'] * count)}]" if count else "")
        result = checked(original, conv=CONV + f"neuron={call}\n")
        assert ("CS210" in codes(result)) == (name not in dialect.neurons), name


def test_a_type_of_another_program_is_said_to_be_one() -> None:
    [diagnostic] = problems(checked("ccn1", more="[x]\ntype=concat\ninputs=conv\n", top="x"))
    assert diagnostic.code == "CS202"
    assert diagnostic.message == "x has type 'concat', which cuda-convnet did not have"
    assert "--dialect convspec" in (diagnostic.help or "")


@pytest.mark.parametrize(
    ("key", "dialects"),
    [
        ("partialSum", {"ccn1", "ccn1_dnouri", "alexnet2012"}),
        ("sumWidth", {"ccn2"}),
        ("channels", set(ORIGINALS)),
        ("initW", {*ORIGINALS, "convspec"}),
    ],
)
def test_a_required_key_is_required_where_it_was(key: str, dialects: set[str]) -> None:
    conv = "".join(line for line in CONV.splitlines(keepends=True) if not line.startswith(f"{key}="))
    assert {name for name in DIALECTS if "CS203" in codes(checked(name, conv=conv))} == dialects


def test_what_a_program_does_not_read_can_be_anything() -> None:
    for key, readers in (("partialSum", {"ccn1", "ccn1_dnouri", "alexnet2012"}), ("sumWidth", {"ccn2"})):
        conv = CONV.replace(f"{key}=", f"{key}=some")
        assert {name for name in DIALECTS if not checked(name, conv=conv).ok} == readers | {"convspec"}
    for name in DIALECTS:
        result = check(
            DATA.replace("dataIdx=0", "dataIdx=0\ninputs=labels") + CONV + TOP.format("conv"), PARAMS, dialect=name
        )
        assert ("CS303" in codes(result)) == (name == "convspec")


@pytest.mark.parametrize("key", ["neuron", "weightSource", "initWFunc", "initBFunc"])
def test_a_function_that_is_left_blank_is_none(key: str) -> None:
    assert {name for name in DIALECTS if checked(name, conv=CONV + f"{key}=\n").ok} == set(ORIGINALS)
    blank = "[x]\ntype=neuron\ninputs=conv\nneuron=\n"
    assert {name for name in DIALECTS if checked(name, more=blank, top="x").ok} == set()


def test_weight_decay_was_optional_from_2012_on() -> None:
    params = PARAMS.replace("wc=0.004\n", "", 1)
    assert {name for name in DIALECTS if not checked(name, params=params).ok} == {"ccn1", "ccn1_dnouri"}


@pytest.mark.parametrize(
    ("rate", "takers"),
    [
        ("0.01", set(DIALECTS)),
        (".5", set(DIALECTS)),
        ("1e-3", {*DIALECTS} - {"ccn2"}),
        ("1.", {*DIALECTS} - {"ccn2"}),
        ("+0.1", {*DIALECTS} - {"ccn2"}),
        ("-0.1", {*DIALECTS} - {"ccn2"}),
        ("dexp[base=0.02;tgtFactor=250;numSteps=4]", {"ccn2", "convspec"}),
        ("DEXP[BASE=1e-3;TGTFACTOR=250;NUMSTEPS=4]", {"ccn2", "convspec"}),
        ("dexp[base=0.02;tgtFactor=250;numSteps=4.0]", set()),
        ("dexp[base=0.02;numSteps=4;tgtFactor=250]", set()),
    ],
)
@pytest.mark.parametrize("key", ["epsW=0.001", "epsB=0.002"])
def test_rates_are_written_as_the_program_took_them(rate: str, takers: set[str], key: str) -> None:
    params = PARAMS.replace(key, f"{key.partition('=')[0]}={rate}", 1)
    refused = {name: codes(checked(name, params=params)) for name in DIALECTS if not checked(name, params=params).ok}
    assert {*DIALECTS} - refused.keys() == takers
    assert {code for found in refused.values() for code in found} <= {"CS204", "CS211"}


@pytest.mark.parametrize(
    ("neuron", "takers"),
    [
        ("tanh[1e-3,1]", {"ccn1", "ccn1_dnouri", "convspec"}),
        ("tanh[1E-3,1]", {"convspec"}),
        ("tanh[+1,1]", {"convspec"}),
        ("tanh[ 1 , -.5 ]", set(DIALECTS)),
    ],
)
def test_numbers_of_a_neuron_are_written_as_the_program_took_them(neuron: str, takers: set[str]) -> None:
    assert {n for n in DIALECTS if checked(n, conv=CONV + f"neuron={neuron}\n").ok} == takers


def test_one_entry_serves_all_inputs_in_cuda_convnet2_only() -> None:
    more = CONV.replace("[conv]", "[conv2]")
    both = "[sum]\n" + CONV.split("\n", 1)[1].replace("inputs=data", "inputs=conv,conv2").replace(
        "channels=3", "channels=16"
    )
    params = PARAMS + f"[conv2]\n{RATES}[sum]\n{RATES}"
    for name in DIALECTS:
        found = codes(checked(name, more=more + both, top="sum", params=params))
        assert set(found) == (set() if name in ("ccn2", "convspec") else {"CS206"}), name


def test_where_each_input_has_its_entry_an_absent_list_still_has_its_default() -> None:
    more = CONV.replace("[conv]", "[conv2]") + (
        "[sum]\ntype=conv\ninputs=conv,conv2\nchannels=16,16\nfilters=8,8\nfilterSize=3,3\ninitW=0.1,0.1\n"
        "partialSum=0\nsumWidth=1\n"
    )
    params = PARAMS + f"[conv2]\n{RATES}[sum]\nepsW=1,1\nepsB=1\nmomW=0,0\nmomB=0\nwc=0,0\n"
    for name in DIALECTS:
        assert checked(name, more=more, top="sum", params=params).ok, name


def test_a_key_of_another_program_is_a_warning_that_says_so() -> None:
    result = checked("ccn1", params=PARAMS + "[norm]\nscale=1\npow=1\nminDiv=2\n", top="norm", more=(
        "[norm]\ntype=cmrnorm\ninputs=conv\nchannels=16\nsize=5\n"
    ))  # fmt: skip
    assert result.ok
    [diagnostic] = [d for d in problems(result) if "minDiv" in d.message]
    assert diagnostic.code == "CS207"
    assert "cuda-convnet had no such key in cmrnorm layers" in diagnostic.message
    assert result.graph.layers["norm"].min_divisor == 1.0  # type: ignore[attr-defined]


@pytest.mark.parametrize("cls", BUILT_IN.values(), ids=lambda cls: str(cls.type))
def test_our_own_dialect_reads_what_a_class_declares(cls: type[Layer]) -> None:
    assert cls.keys_in(DIALECTS["convspec"]) is cls.keys


def test_rows_name_fields_that_a_key_has() -> None:
    fields = vars(Key("x", None, doc="")).keys()  # type: ignore[arg-type]
    for row in ROWS:
        assert row.change is UNREAD or row.change.keys() <= fields, row
        assert row.dialects
        assert DIALECTS["convspec"] not in row.dialects


def test_cuda_convnet_has_one_gpu() -> None:
    result = checked("ccn1", conv=CONV.replace("gpu=0", "gpu=1"))
    assert result.ok
    assert [d.code for d in result.diagnostics if "gpu" in d.message] == ["CS214"]
    assert set(result.placement.values()) == {(0,)}


def test_aliases_are_names_of_dialects() -> None:
    assert set(ALIASES.values()) <= DIALECTS.keys()
    assert all(dialect.name == name for name, dialect in DIALECTS.items())


LEARNS_TOP = {"conv": RATES, "fc": RATES, "logprob": "coeff=1\n"}


def params_with(**sections: str) -> str:
    return "".join(f"[{name}]\n{keys}" for name, keys in {**LEARNS_TOP, **sections}.items())


@pytest.mark.parametrize(
    ("layer", "params", "takers"),
    [
        ("type=hs\nkeep=7\n", "enable=1\n", {"alexnet2012"}),
        ("type=hs\nkeep=-1\n", "enable=1\n", {"alexnet2012"}),
        ("type=dropout\n", "keep=7\n", {"ccn2"}),
        ("type=dropout2\n", "keep=-1\n", {"ccn2"}),
        ("type=dropout\n", "keep=0\n", set()),
        ("type=cmrnorm\nchannels=16\nsize=5\n", "scale=1\npow=1\nminDiv=0\n", {*ORIGINALS}),
        ("type=rnorm\nchannels=16\nsize=5\n", "scale=1\npow=1\nminDiv=-2\n", {*ORIGINALS}),
        ("type=blur\nchannels=16\nfilterSize=5\nstdev=-1\n", "", {*ORIGINALS}),
        ("type=blur\nchannels=16\nfilterSize=5\nstdev=0\n", "", set()),
        ("type=rnorm\nchannels=16\nsize=5\n", "scale=1\npow=1\ndropout=2\n", {*ORIGINALS}),
    ],
)
def test_numbers_that_no_program_looked_at(layer: str, params: str, takers: set[str]) -> None:
    """Where it reads the key: a warning, where ours is an error."""
    more = f"[x]\ninputs=conv\n{layer}"
    key = (layer + params).strip().rpartition("\n")[2].partition("=")[0] if "enable" not in params else "keep"
    for name in DIALECTS:
        result = checked(name, more=more, top="x", params=params_with(x=params))
        assert result.ok == (name in takers), (name, result.diagnostics)
        if result.ok and not result.graph.dialect.is_ours:
            found = [d.code for d in problems(result) if d.message.startswith(key)]
            is_read = key.lower() in result.graph.layers["x"].keys and key != "stdev"
            assert found == (["CS221"] if is_read else []), name


@pytest.mark.parametrize(
    ("places", "warned", "refused"),
    [
        (5, set(), set()),
        (11, {"alexnet2012"}, {"ccn2", "convspec"}),
        (0, {"alexnet2012", "ccn2"}, {"convspec"}),
        (-3, {"alexnet2012", "ccn2"}, {"convspec"}),
    ],
)
def test_places_that_no_program_looked_at(places: int, warned: set[str], refused: set[str]) -> None:
    """Of ten classes: the last program refused more than there are, and none less than one; cuda-convnet has no topk."""
    results = {n: checked(n, params=params_with(logprob=f"coeff=1\ntopk={places}\n")) for n in DIALECTS}
    assert {name for name, result in results.items() if "CS221" in codes(result)} == warned
    assert {name for name, result in results.items() if not result.ok} == refused


@pytest.mark.parametrize(
    ("kind", "keys", "params", "needed"),
    [
        ("rscale", "maxScale=1.25\nchannels=3\n", "", {"tgtSize": {"alexnet2012", "ccn2"}}),
        ("cost.tica", "sizeX=3\n", "coeff=1\n", {"channels": {"alexnet2012"}}),
        ("cost.msm", "", "coeff=1\nsetSize=3\n", {"threads": {"alexnet2012"}}),
    ],
)
def test_what_only_some_programs_insisted_on(kind: str, keys: str, params: str, needed: dict[str, set[str]]) -> None:
    inputs = {"rscale": "data", "cost.tica": "conv", "cost.msm": "labels,fc"}[kind]
    x = f"[x]\ntype={kind}\ninputs={inputs}\ngpu=0\n{keys}"
    more = f"{x}" if kind == "rscale" else ""
    conv = x + CONV.replace("inputs=data", "inputs=x") if kind == "rscale" else CONV
    [(key, programs)] = needed.items()
    for name, dialect in DIALECTS.items():
        if not dialect.has_type(kind):
            continue
        text = DATA + conv + TOP.format("conv") + ("" if more else x)
        result = check(text, params_with(x=params), inputs={"data": (3072,)}, dialect=name)
        missing = [d for d in problems(result) if d.code == "CS203" and key in d.message]
        assert bool(missing) == (name in programs), (name, result.diagnostics)


def test_one_number_of_windows_serves_all_inputs_of_cuda_convnet2() -> None:
    more = CONV.replace("[conv]", "[conv2]")
    both = (
        more.replace("[conv2]", "[x]").replace("inputs=data", "inputs=conv,conv2").replace("channels=3", "channels=16")
    )
    params = params_with(conv2=RATES, x=RATES)
    for given, takers in (("24", {"ccn2", "convspec"}), ("24,24", {"convspec"})):
        for name in ("ccn2", "convspec"):
            result = checked(name, more=more + both + f"modulesX={given}\n", top="x", params=params)
            assert result.ok == (name in takers), result.diagnostics
            assert set(codes(result)) == (set() if result.ok else {"CS204"})


@pytest.mark.parametrize(
    ("schedule", "is_read"),
    [
        ("dexp[tgtFactor=250,noiseStdev=0,numSteps=0]", True),
        ("dexp[tgtFactor=250,noiseStdev=0,numSteps=-4]", True),
        ("jdexp[tgtFactor=250,noiseStdev=0,numSteps=100000]", True),
        ("exp[tgtFactor=250,noiseStdev=-1]", True),
        ("linear[tgtFactor=0,noiseStdev=0]", True),
        ("dexp[tgtFactor=250,noiseStdev=0,numSteps=4.0]", False),
        ("dexp[tgtFactor=250,numSteps=4,noiseStdev=0]", False),
    ],
)
def test_numbers_of_a_schedule_that_no_program_looked_at(schedule: str, is_read: bool) -> None:
    params = PARAMS.replace("epsW=0.001\n", f"epsW=0.001\nschedW={schedule}\n", 1)
    assert codes(checked("alexnet2012", params=params)) == ["CS221" if is_read else "CS211"]
    assert codes(checked("convspec", params=params)) == ["CS211"]
    if "noiseStdev=0,numSteps" in schedule:
        rate = (
            schedule.replace("[", "[base=0.1;").replace("noiseStdev=0,", "").replace(",", ";").replace("jdexp", "dexp")
        )
        params = PARAMS.replace("epsW=0.001\n", f"epsW={rate}\n", 1)
        found = codes(checked("ccn2", params=params))
        assert found == ["CS221"] if is_read else set(found) <= {"CS204", "CS211"}


def test_schedules_by_position_are_older_than_the_released_code() -> None:
    params = PARAMS.replace("epsW=0.001\n", "epsW=0.001\nschedW=dexp[500,4]\n", 1)
    found = {name: codes(checked(name, params=params)) for name in DIALECTS}
    assert found == {
        "convspec": ["CS217"],
        "ccn1": ["CS207"],
        "ccn1_dnouri": ["CS207"],
        "alexnet2012": ["CS211"],
        "ccn2": ["CS207"],
    }
    [diagnostic] = problems(checked("alexnet2012", params=params))
    assert diagnostic.help == "write schedW=dexp[tgtFactor=500,noiseStdev=0,numSteps=4]"
    everywhere = PARAMS.replace("epsW=0.001\n", "epsW=0.001\nschedW=dexp[500,4]\n")
    [diagnostic] = problems(checked("alexnet2012", params=everywhere))
    assert "here and in one more place" in diagnostic.message
