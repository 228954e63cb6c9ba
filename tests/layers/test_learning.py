"""What the keys of learning come to in each dialect: the update of every matrix of a layer, and of its biases."""

from __future__ import annotations

import pytest

from convspec.checker import check
from convspec.compiler import compile_checked
from convspec.diagnostics import DiagnosticError, Severity
from convspec.layers.weights import WeightLayer
from convspec.program.parameter import Constraint, Update
from convspec.program.printer import print_program
from convspec.program.program import Program

LAYERS = """[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
channels=4
filters=16
filterSize=3
padding=1
stride=1
initW=0.1
partialSum=1
sumWidth=1
gpu=0
[fc1]
type=fc
inputs=conv1,conv1
outputs=5
initW=0.1,0.1
gpu=0
[probs]
type=softmax
inputs=fc1
gpu=0
[logprob]
type=cost.logreg
inputs=labels,probs
gpu=0
"""
PARAMS = """[conv1]
epsW=0.01
epsB=0.02
momW=0.9
momB=0.8
wc=0.1
{conv}
[fc1]
epsW=0.01,0.03
epsB=0.02
momW=0.9,0.7
momB=0.8
wc=0.1,0.2
{fc}
[logprob]
coeff=1
"""
SIZES = {"data": (4, 8, 8), "labels": (1,)}


def layers(dialect: str, conv: str = "", fc: str = "") -> tuple[WeightLayer, WeightLayer]:
    checked = check(LAYERS, PARAMS.format(conv=conv, fc=fc), inputs=SIZES, classes=5, dialect=dialect)
    assert [d for d in checked.diagnostics if d.severity is Severity.ERROR] == []
    conv1, fc1 = checked.graph.layers["conv1"], checked.graph.layers["fc1"]
    assert isinstance(conv1, WeightLayer)
    assert isinstance(fc1, WeightLayer)
    return conv1, fc1


def updates(dialect: str, conv: str = "", fc: str = "") -> list[Update]:
    """Of conv1, of both matrices of fc1, and of the biases of the two."""
    conv1, fc1 = layers(dialect, conv, fc)
    return [conv1.weight_update(0), fc1.weight_update(0), fc1.weight_update(1), conv1.bias_update, fc1.bias_update]


DIALECTS = ["convspec", "ccn1", "alexnet2012", "ccn2"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_plain_rule(dialect: str) -> None:
    found = [(u.rate.base, u.momentum, u.decay) for u in updates(dialect)]
    assert found == [(0.01, 0.9, 0.1), (0.01, 0.9, 0.1), (0.03, 0.7, 0.2), (0.02, 0.8, 0), (0.02, 0.8, 0)]
    assert {u.counts_cases for u in updates(dialect)} == {dialect == "ccn2"}
    assert not any(u.constraint.holds or u.damping or u.period > 1 for u in updates(dialect))


@pytest.mark.parametrize(
    ("dialect", "rule"),
    [
        ("convspec", Constraint(norm=2.0)),
        ("ccn1", Constraint()),
        ("alexnet2012", Constraint(norm=2.0, counts_weights=True)),
        ("ccn2", Constraint(norm=2.0, is_exact=True)),
    ],
)
def test_wball_is_what_the_dialect_means_by_it(dialect: str, rule: Constraint) -> None:
    conv1, one, two, *biases = (u.constraint for u in updates(dialect, "wball=2", "wball=0,2"))
    assert conv1 == two == rule
    assert one == rule._replace(norm=0)
    assert not any(bias.holds for bias in biases)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_spread_is_of_convolutions(dialect: str) -> None:
    conv1, *others = (u.constraint.spread for u in updates(dialect, "wcNormMin=0.1\nwcNormMax=0.3", "wcNormMax=0.3"))
    assert conv1 == ((0.0, 0.0) if dialect == "ccn1" else (0.1, 0.3))
    assert set(others) == {(0.0, 0.0)}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_periods_are_of_weights_and_biases(dialect: str) -> None:
    period = 3 if dialect in ("convspec", "ccn2") else 1
    assert [u.period for u in updates(dialect, "updatePeriod=3", "updatePeriod=0")] == [period, 1, 1, period, 1]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_normalised_update_is_of_2012(dialect: str) -> None:
    damping = 0.5 if dialect in ("convspec", "alexnet2012") else 0
    assert [u.damping for u in updates(dialect, "superEps=0.5", "superMom=0.1")] == [damping, 0, 0, damping, 0]
    codes = {d.code for d in check(LAYERS, PARAMS.format(conv="superEps=0.5", fc=""), dialect=dialect).diagnostics}
    assert ("CS217" in codes) == (dialect in ("convspec", "alexnet2012"))
    assert ("CS214" in codes) >= (dialect == "ccn2")


@pytest.mark.parametrize("dialect", ["ccn1", "alexnet2012"])
def test_numbers_below_zero_do_what_they_did(dialect: str) -> None:
    """A rate freezes, a decay is none; momentum is taken as it is."""
    text = PARAMS.format(conv="", fc="").replace("epsW=0.01\n", "epsW=-0.01\n").replace("wc=0.1\n", "wc=-1\n")
    checked = check(LAYERS, text.replace("momW=0.9\n", "momW=-0.5\n"), inputs=SIZES, classes=5, dialect=dialect)
    conv1 = checked.graph.layers["conv1"]
    assert isinstance(conv1, WeightLayer)
    update = conv1.weight_update(0)
    assert update.rate.is_frozen
    assert (update.momentum, update.decay) == (-0.5, 0)
    assert {d.code for d in checked.diagnostics} >= {"CS215"}


def test_the_program_shows_what_is_beyond_the_plain_rule() -> None:
    programs: list[Program] = []
    checked = check(
        LAYERS,
        PARAMS.format(conv="wcNormMin=0.1\nwcNormMax=0.3\nwball=2\nupdatePeriod=3", fc="superEps=0.5"),
        inputs=SIZES,
        classes=5,
        dialect="convspec",
    )
    compile_checked(checked, after=lambda stage, program: programs.append(program))
    text = print_program(programs[0])
    plain = "rate 0.01, momentum 0.9, decay 0.1"
    assert f"{plain}, every 3 minibatches, spread 0.1 to 0.3, norm at most 2" in text
    assert f"{plain}, damping 0.5  #" in text
    compile_checked(
        check(LAYERS, PARAMS.format(conv="wball=2", fc=""), inputs=SIZES, classes=5, dialect="ccn2"),
        after=lambda stage, program: programs.append(program),
    )
    assert f"{plain}, short minibatches by their share, norm 2\n" in print_program(programs[-1])


TOWERS = """[@net]
input=data:4x8x8, labels:1
classes=5
[@params]
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
initW=0.1
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
filters=8
filterSize=3
gpu=0
{conv}
[same]
type=pool
pool=max
sizeX=2
stride=2
inputs=conv1
{pool}
[fc1]
type=fc
inputs=same
outputs=5
gpu={gpu}
[probs]
type=softmax
inputs=fc1
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


@pytest.mark.parametrize("key", ["quantF", "quantB"])
def test_half_is_refused_where_values_cross_between_gpus(key: str) -> None:
    checked = check(TOWERS.format(conv="", pool=f"{key}=Half[]", gpu=1))
    assert checked.ok
    with pytest.raises(DiagnosticError) as caught:
        compile_checked(checked)
    [diagnostic] = caught.value.diagnostics
    assert diagnostic.code == "CS604"
    assert "no public source" in diagnostic.message
    assert diagnostic.span is not None
    assert diagnostic.span.text == "Half[]"


@pytest.mark.parametrize(
    ("conv", "pool", "gpu"), [("", "quantF=half", 0), ("quantB=half", "", 1), ("", "quantF=default", 1)]
)
def test_half_has_no_effect_where_nothing_crosses(conv: str, pool: str, gpu: int) -> None:
    assert compile_checked(check(TOWERS.format(conv=conv, pool=pool, gpu=gpu))).source


TURNS = """[@net]
dialect=ccn2
input=data:4x8x8
outputs=fc2
[data]
type=data
dataIdx=0
[conv1]
type=conv
inputs=data
channels=4
filters=16
filterSize=3
padding=1
stride=1
sumWidth=1
initW=0.1
gpu={gpu}
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
[fc2]
type=fc
inputs=conv1
outputs=5
initW=0.1
gpu=0
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
updatePeriod={period}
"""


@pytest.mark.parametrize(
    ("gpu", "period", "minibatches", "steps"),
    [("0,1,2,3", 0, 1, 4), ("0,1,2,3", 2, 1, 2), ("0,1,2,3", 4, 1, 1), ("0,1,2,3", 8, 2, 1), ("0", 8, 8, 1)],
)
def test_periods_count_turns_where_layers_take_several(gpu: str, period: int, minibatches: int, steps: int) -> None:
    checked = check(TURNS.format(gpu=gpu, period=period))
    assert checked.ok
    program = compile_checked(checked).program
    assert program.parameter["fc2.weight"].update.period == minibatches
    assert program.parameter["fc2.bias"].update.period == minibatches
    assert program.parameter["conv1.weight"].update.period == 1
    found = [d.message for d in checked.diagnostics if d.code == "CS505"]
    assert found == ([f"fc2 steps {steps} times a minibatch in cuda-convnet2, and once here"] if steps > 1 else [])
