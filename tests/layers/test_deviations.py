"""`initW=he` and `initW=lecun`: how far first weights spread, by how many numbers an output is a sum over."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

import convspec
from convspec.checker import Checked
from convspec.graph.lower import lower
from convspec.passes.pipeline import FOLDED, run_passes
from tests.emit.small_specs import classifier, layer

TREE = '{"children": [[], [], [], [], [0, 1], [2, 3], [4, 5]], "root": 6}'


def deviations(checked: Checked) -> dict[str, float]:
    """Of the weights of each layer, by the name of the first tensor that it has a part in."""
    program = lower("net", checked.graph, checked.shapes, checked.placement, ())
    program = run_passes(program, FOLDED, after=lambda name, program: None)
    found = {block.name: parameter.initialization.std for parameter in program.parameters for block in parameter.blocks}
    return {name: std for name, std in found.items() if "weight" in name}


@pytest.mark.parametrize(
    ("layers", "name", "terms"),
    [
        (layer("x", type="conv", inputs="data", filters=2, filterSize="3x2"), "x.weight", 4 * 3 * 2),
        (layer("x", type="conv", inputs="data", filters=3, filterSize=3, groups=2), "x.weight", 2 * 9),
        (layer("x", type="conv", inputs="data", filters=1, filterSize=3, groups=4), "x.weight", 9),
        (layer("x", type="conv", inputs="data,data", filters=2, filterSize=3), "x.weights.1", 8 * 9),
        (
            layer("x", type="conv", inputs="data,data", filters=2, filterSize="3,5", padding="0,1"),
            "x.weights.0",
            4 * 9 + 4 * 25,
        ),
        (
            layer("x", type="conv", inputs="data", filters=2, filterSize=3, groups=2, randSparse=1, filterChannels=4),
            "x.weight",
            4 * 9,
        ),
        (layer("x", type="local", inputs="data", filters=2, filterSize=3), "x.weight", 4 * 9),
        (layer("x", type="fc", inputs="data", outputs=5), "x.weight", 4 * 7 * 6),
        (layer("x", type="fc", inputs="data,data", outputs=5, epsW="0.1,0.2"), "x.weights.1", 2 * 4 * 7 * 6),
        (layer("x", type="sfc", inputs="data", outputs=5, parts=4), "x.weight", 7 * 6),
        (layer("x", type="treefc", inputs="data", tree=TREE), "x.weight", 4 * 7 * 6),
        (
            layer("x", type="fc", inputs="data", outputs=5)
            + layer("y", type="fc", inputs="data", outputs=5, initW=0.5, weightSource="x")
            + layer("z", type="eltsum", inputs="x,y"),
            "x.weight",
            4 * 7 * 6,
        ),
    ],
)
@pytest.mark.parametrize(("rule", "square"), [("he", 2), ("lecun", 1), ("He", 2)])
def test_a_rule_counts_what_an_output_is_a_sum_over(layers: str, name: str, terms: int, rule: str, square: int) -> None:
    text = classifier(layers, leaves="z" if "[z]" in layers else "x", image="4x7x6").replace(
        "initW=0.1", f"initW={rule}"
    )
    checked = convspec.check(text)
    assert not checked.errors
    assert deviations(checked)[name] == pytest.approx(sqrt(square / terms), rel=1e-5)


def test_a_rule_for_one_of_several_inputs() -> None:
    text = classifier(layer("x", type="fc", inputs="data,data", outputs=5, initW="he,0.01"), leaves="x", image="4x7x6")
    found = deviations(convspec.check(text))
    assert found["x.weights.0"] == pytest.approx(sqrt(2 / (2 * 4 * 7 * 6)), rel=1e-5)
    assert found["x.weights.1"] == 0.01


@pytest.mark.parametrize(("neuron", "rule"), [("relu", "he"), ("tanh[1,1]", "lecun")])
def test_values_keep_their_size_through_many_layers(neuron: str, rule: str) -> None:
    """Twenty layers deep they are neither gone nor grown; by the paper's 0.01 they are gone."""
    deep = layer(
        "x", type="conv", inputs="data", filters=16, filterSize=3, padding=1, neuron=neuron, repeat=20, biases=0
    )
    images = {"data": torch.randn(8, 16, 9, 9, generator=torch.Generator().manual_seed(0))}
    sizes = {}
    for start in (rule, "0.01"):
        torch.manual_seed(0)
        text = classifier(deep, leaves="x", image="16x9x9").replace("initW=0.1", f"initW={start}")
        net = convspec.load(text, outputs=("x_20",)).eval()
        with torch.no_grad():
            sizes[start] = net(images)["x_20"].square().mean().sqrt().item()
    assert 0.02 < sizes[rule] < 5
    assert sizes["0.01"] < 1e-10


def test_other_words_and_other_programs() -> None:
    text = classifier(layer("x", type="conv", inputs="data", filters=2, filterSize=3, initW="kaiming"), leaves="x")
    [error] = convspec.check(text).errors
    assert (error.code, error.message) == ("CS204", "initW of x takes numbers, he or lecun, not 'kaiming'")
    text = text.replace("kaiming", "he").replace("[@net]", "[@net]\ndialect=ccn1")
    assert "CS204" in {error.code for error in convspec.check(text).errors}
