"""Every cost against the interpreter: alone and together, fused and not, at its edges; and twins that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import convspec
from convspec.program.costs import (
    BinaryCrossEntropy,
    Cost,
    CrossEntropy,
    GatedSumOfSquares,
    LogSquareError,
    SubsetCrossEntropy,
    SumOfSquares,
    TopographicEnergy,
)
from convspec.program.features import Activation, Neuron, Slice
from convspec.program.operators import Op
from convspec.program.program import Program
from tests.emit.comparison import (
    all_layers,
    assert_close,
    assert_program_is_spec,
    assert_same,
    emitted,
    lowered,
    random_batch,
    random_state,
    run,
)
from tests.emit.cost_specs import COSTS, spec
from tests.interpreter import interpret


def checked_spec(*names: str, **options: object) -> convspec.Checked:
    checked = convspec.check(spec(*names, **options))  # type: ignore[arg-type]
    assert checked.ok, checked.diagnostics
    return checked


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("seed", range(3))
def test_each_cost(cost: str, seed: int) -> None:
    checked = checked_spec(cost)
    assert_program_is_spec(lowered(checked), checked, seed, cases=5)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked, seed, cases=3)


def test_costs_together_are_a_weighted_sum() -> None:
    checked = checked_spec(*COSTS, net="name=All")
    program = lowered(checked)
    assert [cost.name for cost in program.costs] == list(COSTS), "in the order of the file"
    assert_program_is_spec(program, checked)
    assert_program_is_spec(lowered(checked, passes=()), checked)


@pytest.mark.parametrize("cost", COSTS)
def test_a_cost_without_weight_is_reported_only(cost: str) -> None:
    checked = checked_spec(cost, coefficient=0, more="[still]\ntype=cost.sum2\ninputs=maps\ncoeff=0.5\n")
    result = run(emitted(lowered(checked)), random_batch(checked, 3, 1), random_state(emitted(lowered(checked)), 0))
    assert result.values[cost] != 0
    assert result.objective == 0.5 * result.values["still"]
    for weight in ("scores.weight", "guesses.weight", "gate.weight"):
        assert not result.gradients.get(weight, np.zeros(1)).any()
    assert result.gradients["maps.weight"].any()
    assert_program_is_spec(lowered(checked), checked)


@pytest.mark.parametrize(
    ("cost", "wanted"),
    [
        ("logreg", "F.cross_entropy(scores, inputs["),
        ("crossent", "F.cross_entropy(scores, inputs["),
        ("bce", "binary_cross_entropy_with_logits(guesses_input, inputs["),
        ("crossent2", "binary_cross_entropy_with_logits(guesses_input, inputs["),
        ("rflickr", "log_square_error(guesses, inputs["),
        ("crossent of squares", " cross_entropy(squared, inputs["),
        ("bce of probabilities", " binary_cross_entropy(probs, inputs["),
        ("tica of a vector", "topographic_energy(guesses.unflatten(1, (1, 2, 2)), 3)"),
        ("msm", 'subset_cross_entropy(scores, inputs["labels"], set_size=3)'),
    ],
)
def test_how_a_cost_reads(cost: str, wanted: str) -> None:
    assert wanted in convspec.compile(spec(cost))


# Broken twins

Change = Callable[[Cost], Op]


def weight_of_one(op: Cost) -> Op:
    assert isinstance(op, BinaryCrossEntropy)
    return replace(op, positive_weight=1.0)


def targets_as_predictions(op: Cost) -> Op:
    return replace(op, inputs=op.inputs[::-1])


def softmax_twice(op: Cost) -> Op:
    assert isinstance(op, CrossEntropy)
    assert op.predictions is not None
    return replace(op, inputs=(op.inputs[0], op.predictions))


def sigmoid_twice(op: Cost) -> Op:
    assert isinstance(op, BinaryCrossEntropy)
    return replace(op, inputs=(op.inputs[0], "guesses"))


def square_error(op: Cost) -> Op:
    return SumOfSquares(**shared(op, inputs=op.inputs[1:]))


def larger_set(op: Cost) -> Op:
    assert isinstance(op, SubsetCrossEntropy)
    return replace(op, set_size=op.set_size - 1)


def no_gate(op: Cost) -> Op:
    return SumOfSquares(**shared(op, inputs=op.inputs[1:]))


def half(op: Cost) -> Op:
    return replace(op, coefficient=op.coefficient / 2)


def wider_window(op: Cost) -> Op:
    assert isinstance(op, TopographicEnergy)
    return replace(op, size=op.size + 1)


def shared(op: Cost, inputs: tuple[str, ...]) -> dict[str, object]:
    names = ("name", "shape", "layers", "gpu", "coefficient")
    return {**{name: getattr(op, name) for name in names}, "inputs": inputs}


@pytest.mark.parametrize(
    ("cost", "kind", "change"),
    [
        ("crossent", CrossEntropy, softmax_twice),
        ("crossent of squares", CrossEntropy, targets_as_predictions),
        ("bce", BinaryCrossEntropy, weight_of_one),
        ("dce", BinaryCrossEntropy, sigmoid_twice),
        ("crossent2", BinaryCrossEntropy, half),
        ("bce of probabilities", BinaryCrossEntropy, targets_as_predictions),
        ("rflickr", LogSquareError, square_error),
        ("msm", SubsetCrossEntropy, larger_set),
        ("sum2", SumOfSquares, half),
        ("gsum2", GatedSumOfSquares, no_gate),
        ("tica", TopographicEnergy, wider_window),
    ],
)
def test_wrong_costs_are_rejected(cost: str, kind: type[Cost], change: Change) -> None:
    checked = checked_spec(cost)
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    operators = tuple(change(op) if isinstance(op, kind) else op for op in program.operators)
    assert operators != program.operators
    with pytest.raises(AssertionError, match="differs by"):
        assert_program_is_spec(replace(program, operators=operators), checked)


def test_a_cost_without_its_slope_is_rejected() -> None:
    """Values alone do not tell: the same number with a gradient of nothing."""
    checked = checked_spec("sum2")
    net, state = emitted(lowered(checked)), random_state(emitted(lowered(checked)), 0)
    batch = random_batch(checked, 3, 1)
    expected = interpret(checked.graph, batch, state)
    found = run(net, batch, state)
    assert_same(found, expected)
    dead = {name: np.zeros_like(gradient) for name, gradient in found.gradients.items()}
    with pytest.raises(AssertionError, match="differs by"):
        assert_same(replace(found, gradients=dead), expected)


# Edges

EDGE = """
[@net]
input=data:4
classes=4
[@params]
initW=0.1
epsW=0.01
epsB=0.02
momW=0.9
momB=0.9
[data]
type=data
dataIdx=0
[tags]
type=data
dataIdx=2
[scores]
type=fc
inputs=data
outputs=4
{neuron}
"""


def at_edge(text: str, scores: list[float], targets: list[float]) -> tuple[float, NDArray[np.float64]]:
    """Value and slope at the scores of the cost `cost`, where scores are these."""
    checked = convspec.check(text)
    assert checked.ok, checked.diagnostics
    state = {"scores.weight": np.eye(4), "scores.bias": np.zeros(4)}
    batch = {"data": np.array([scores], np.float64), "tags": np.array([targets], np.float64)}
    result = run(emitted(lowered(checked)), batch, state)
    return float(result.values["cost"]), result.gradients["scores.bias"]


CROSSENT = EDGE.format(neuron="") + (
    "[probs]\ntype=softmax\ninputs=scores\n[cost]\ntype=cost.crossent\ninputs=tags,probs\ncoeff=1\n"
)
BCE = EDGE.format(neuron="neuron=logistic") + "[cost]\ntype=cost.bce\ninputs=tags,scores\ncoeff=1\nposWeight=2\n"


@pytest.mark.parametrize(
    ("targets", "value", "slope"),
    [
        ([0, 1, 0, 0], 1000, [1, -1, 0, 0]),  # the probability of the label is exactly 0
        ([1, 0, 0, 0], 0, [0, 0, 0, 0]),  # and exactly 1
        ([0, 0, 0, 0], 0, [0, 0, 0, 0]),  # nothing is right
        ([1, 1, 0, 0.5], 1500, [1.5, -1, 0, -0.5]),  # several are: p * sum(t) - t
    ],
)
def test_crossent_of_certain_softmaxes(targets: list[float], value: float, slope: list[float]) -> None:
    found, gradient = at_edge(CROSSENT, [1000, 0, 0, 0], targets)
    assert found == pytest.approx(value)
    assert_close("slope", gradient, np.array(slope, dtype=np.float64))


def test_bce_of_certain_outputs() -> None:
    """Sigmoids that are exactly 1 and 0, with the right target and with the other."""
    found, gradient = at_edge(BCE, [800, 800, -800, -800], [1, 0, 1, 0])
    assert found == pytest.approx(800 + 2 * 800)
    assert_close("slope", gradient, np.array([0, 1, -2, 0], dtype=np.float64))


def test_costs_of_probabilities_are_finite_where_one_is_0() -> None:
    """Behind a squared softmax log 0 is -50, and nothing pulls."""
    text = CROSSENT.replace("[cost]", "neuron=square\n[cost]")
    found, gradient = at_edge(text, [1000, 0, 0, 0], [0, 1, 0, 0])
    assert found == 50
    assert_close("slope", gradient, np.zeros(4))


@pytest.mark.parametrize(
    "cost", ["type=cost.sum2\ninputs=scores", "type=cost.tica\ninputs=scores\nchannels=1\nsizeX=2"]
)
def test_energies_of_nothing(cost: str) -> None:
    text = EDGE.format(neuron="").replace("classes=4", "classes=4\noutputs=tags") + f"[cost]\n{cost}\ncoeff=1\n"
    found, gradient = at_edge(text, [0, 0, 0, 0], [0, 0, 0, 0])
    assert found == 0
    assert_close("slope", gradient, np.zeros(4))


# What the module asks for

AUTOENCODER = """
[@net]
input=data:2x3x3
[@params]
initW=0.1
epsW=0.01
epsB=0.02
momW=0.9
momB=0.9
[data]
type=data
dataIdx=0
[code]
type=fc
inputs=data
outputs=2
neuron=tanh[1,1]
[reconstruction]
type=fc
inputs=code
outputs=18
[difference]
type=eltsum
inputs=data,reconstruction
coeffs=1,-1
[cost]
type=cost.sum2
inputs=difference
coeff=1
"""


def test_a_network_without_labels_needs_none() -> None:
    source = convspec.compile(AUTOENCODER)
    assert "if " not in source
    assert 'return {"cost": ' in source
    net = convspec.load(AUTOENCODER)
    outputs = net({"data": torch.ones(3, 2, 3, 3)})
    assert list(outputs) == ["cost"]
    net.objective(outputs).backward()
    checked = convspec.check(AUTOENCODER)
    assert_program_is_spec(lowered(checked), checked, cases=3)
    assert_program_is_spec(lowered(checked, all_layers(checked)), checked, cases=3)


def test_a_distance_to_labels_waits_for_them() -> None:
    """As layers-flickr-105.cfg of 2012 has it: predicting needs no labels, and gives what `[@net]` names."""
    text = EDGE.format(neuron="neuron=logistic").replace("classes=4", "classes=4\noutputs=scores") + (
        "[difference]\ntype=eltsum\ninputs=tags,scores\ncoeffs=1,-1\n[cost]\ntype=cost.sum2\ninputs=difference\ncoeff=1\n"
    )
    checked = convspec.check(text)
    assert checked.ok, checked.diagnostics
    assert_program_is_spec(lowered(checked), checked, cases=3)
    net = convspec.load(text)
    assert list(net({"data": torch.ones(2, 4)})) == ["scores"]
    assert list(net({"data": torch.ones(2, 4), "tags": torch.eye(4)[:2]})) == ["scores", "cost"]


def test_what_only_labels_lead_to_waits_for_them() -> None:
    """Targets that are made of labels, and costs of several inputs: each is computed where all of its inputs are there."""
    more = (
        "[soft]\ntype=fc\ninputs=tags\noutputs=4\nneuron=logistic\n"
        "[softer]\ntype=neuron\ninputs=soft\nneuron=linear[0.5,0.25]\n"
        "[distance]\ntype=cost.rflickr\ninputs=softer,guesses\ncoeff=1\n"
        "[both]\ntype=cost.gsum2\ninputs=labels,softer\ncoeff=1\n"
    )
    text = spec("logreg", more=more)
    checked = convspec.check(text)
    assert checked.ok, checked.diagnostics
    program = lowered(checked)
    # A target that is computed is given, for error rates; `tags` are needed for it.
    assert "softer" in [output.layer for output in program.outputs]
    assert_program_is_spec(program, checked)
    energies_alone = text.replace("[distance]\ntype=cost.rflickr\ninputs=softer,guesses\ncoeff=1\n", "")
    net = convspec.load(energies_alone.replace("outputs=maps", "outputs=maps,guesses")).double()
    data = torch.ones(2, 2, 4, 4, dtype=torch.float64)
    labels, tags = torch.tensor([0, 3]), torch.ones(2, 4, dtype=torch.float64)
    column = labels[:, None].double()
    assert "both" not in net({"data": data})
    assert "both" not in net({"data": data, "tags": tags})
    assert {"both", "logreg"} <= net({"data": data, "tags": tags, "labels": column}).keys()
    assert net({"data": data, "labels": column}).keys() >= {"logreg"}


def test_labels_of_one_output_are_a_column() -> None:
    """One number a case that a cost takes for what it is, not for a class; some costs take it for both."""
    text = EDGE.format(neuron="").replace("classes=4", "classes=4\noutputs=scores").replace("dataIdx=2", "dataIdx=1")
    text += "[yes]\ntype=fc\ninputs=data\noutputs=1\nneuron=logistic\n[cost]\ntype=cost.bce\ninputs=tags,yes\ncoeff=1\n"
    checked = convspec.check(text)
    assert checked.ok, checked.diagnostics
    assert "tags (N, 1)" in convspec.compile(text)
    distance = text.replace("type=cost.bce\ninputs=tags,yes", "type=cost.sum2\ninputs=far") + (
        "[far]\ntype=eltsum\ninputs=tags,yes\ncoeffs=1,-1\n"
    )
    regression = convspec.check(distance)
    assert regression.ok, regression.diagnostics
    assert_program_is_spec(lowered(regression), regression, cases=4)
    assert_program_is_spec(lowered(checked), checked, cases=4)
    both = text + "[probs]\ntype=softmax\ninputs=scores\n[class]\ntype=cost.logreg\ninputs=tags,probs\ncoeff=1\n"
    checked = convspec.check(both)
    assert 'F.cross_entropy(scores, inputs["tags"].flatten().long())' in convspec.compile(both)
    assert_program_is_spec(lowered(checked), checked, cases=4)


def test_a_sigmoid_with_two_readers_is_still_fused() -> None:
    checked = checked_spec("bce", "rflickr", "tica of a vector")
    program: Program = lowered(checked)
    (cost,) = (op for op in program.costs if isinstance(op, BinaryCrossEntropy))
    source = program.values["guesses"]
    assert isinstance(source, Activation)
    assert source.neuron is Neuron.LOGISTIC
    assert (cost.from_logits, cost.inputs, cost.predictions) == (True, ("tags", source.inputs[0]), "guesses")
    assert not any(isinstance(op, Slice) for op in program.operators)
