"""Each crossing once, shared by its readers, at the narrowest place."""

from __future__ import annotations

from fractions import Fraction

import pytest

import convspec
from convspec.passes.insert_transfers import insert_transfers
from convspec.passes.pipeline import PLACED
from convspec.program.crossings import Crossing, copies, crossings, gpus_of
from convspec.program.features import Concat
from convspec.program.moves import Input, Transfer
from convspec.program.program import Program
from convspec.program.verify import verify_placed
from convspec.program.windows import MaxPool2d
from convspec.resources import spec_path
from tests.emit.comparison import all_layers, assert_program_is_spec, lowered
from tests.emit.small_specs import TWO_TOWERS, classifier, layer, replicated


def placed(text: str, *outputs: str) -> Program:
    return verify_placed(lowered(convspec.check(text), outputs, PLACED))


def between_gpus(program: Program) -> list[Crossing]:
    return [crossing for crossing in crossings(program) if crossing.source is not None]


def test_the_gpus_of_alexnet_talk_where_the_paper_says() -> None:
    """Figure 2: in layer 3, in both fully-connected layers, and before the classes."""
    program = verify_placed(lowered(convspec.check(spec_path("alexnet.cfg")), (), PLACED))
    found = [(c.value, c.source, c.target, c.readers, c.numbers_forward) for c in between_gpus(program)]
    assert found == [
        ("pool2a", 0, 1, ("conv3b",), 128 * 13 * 13),
        ("pool2b", 1, 0, ("conv3a",), 128 * 13 * 13),
        ("pool5a", 0, 1, ("fc6b",), 128 * 6 * 6),
        ("pool5b", 1, 0, ("fc6a",), 128 * 6 * 6),
        ("drop6a", 0, 1, ("fc7b",), 2048),
        ("drop6b", 1, 0, ("fc7a",), 2048),
        ("drop7b", 1, 0, ("fc8",), 2048),
    ]
    assert all(crossing.has_gradient for crossing in between_gpus(program))
    hosts = [(c.value, c.target, c.has_gradient) for c in crossings(program) if c.source is None]
    assert hosts == [("data", 0, False), ("data", 1, False), ("labels", 0, False)]
    assert between_gpus(program)[0].bytes_forward() == 4 * between_gpus(program)[0].bytes_backward(1)


def test_readers_on_one_gpu_share_a_crossing() -> None:
    layers = layer("fc1", type="fc", inputs="data", outputs=8, gpu=0)
    layers += "".join(layer(f"fc{i}", type="fc", inputs="fc1", outputs=2, gpu=1) for i in (2, 3))
    program = placed(classifier(layers, leaves="fc2,fc3"))
    found = [(c.target, c.readers) for c in between_gpus(program) if c.value == "fc1"]
    assert found == [(1, ("fc2", "fc3"))]


def pooled_elsewhere(*, size: int = 3, stride: int = 2, others: str = "") -> str:
    layers = (
        layer("conv1", type="conv", inputs="data", filters=4, filterSize=3, gpu=0)
        + layer("relu1", type="neuron", neuron="relu", inputs="conv1", gpu=1)
        + layer("pool1", type="pool", pool="max", inputs="relu1", sizeX=size, stride=stride)
        + layer("fc2", type="fc", inputs="pool1", outputs=3)
    )
    return classifier(layers + others, leaves="fc2" + (",fc3" if others else ""))


def test_a_pool_is_computed_before_the_crossing() -> None:
    """With the activation before it, though their layers are on the other GPU."""
    program = placed(pooled_elsewhere())
    assert [(c.value, c.shape.features) for c in between_gpus(program)] == [("pool1", 4 * 3 * 3), ("fc2", 3)]
    assert program.values["pool1"].gpu == 0
    assert "relu1, pool1 of GPU 1 on GPU 0, where conv1 is: 36 numbers a case cross, instead of 196" in program.notes
    checked = convspec.check(pooled_elsewhere())
    assert_program_is_spec(lowered(checked, all_layers(checked), PLACED), checked)


def test_what_gives_no_less_is_computed_where_its_layer_is() -> None:
    program = placed(pooled_elsewhere(size=1, stride=1))
    assert program.values["pool1"].gpu == 1
    assert [c.value for c in between_gpus(program)] == ["conv1", "fc2"]


def test_a_value_that_crosses_anyway_is_not_pooled_before() -> None:
    """fc3 reads all of it on the other GPU: the pooled maps would cross beside."""
    others = layer("fc3", type="fc", inputs="conv1", outputs=2, gpu=1)
    program = placed(pooled_elsewhere(others=others))
    assert [c.readers for c in between_gpus(program) if c.value == "conv1"] == [("relu1", "pool1", "fc3")]
    (pool,) = (op for op in program.operators if "pool1" in op.layers and not isinstance(op, Transfer))
    assert pool.gpu == 1


def test_two_pools_that_give_less_together_are_computed_before() -> None:
    layers = layer("conv1", type="conv", inputs="data", filters=4, filterSize=3, gpu=0)
    for i, stride in ((1, 2), (2, 3)):
        layers += layer(f"pool{i}", type="pool", pool="max", inputs="conv1", sizeX=3, stride=stride, gpu=1)
    program = placed(classifier(layers, leaves="pool1,pool2"))
    assert [op.gpu for op in program.operators if isinstance(op, MaxPool2d)] == [0, 0]


def test_only_the_parts_of_a_concat_cross_that_are_not_there() -> None:
    layers = "".join(layer(f"fc1{t}", type="fc", inputs="data", outputs=4, gpu=gpu) for gpu, t in enumerate("ab"))
    layers += layer("both", type="concat", inputs="fc1a,fc1b", gpu=0)
    layers += layer("fc2a", type="fc", inputs="both", outputs=3, gpu=0)
    layers += layer("fc2b", type="fc", inputs="both", outputs=3, gpu=1)
    text = classifier(layers, leaves="fc2a,fc2b")
    program = placed(text)
    assert [(c.value, c.target) for c in between_gpus(program)] == [("fc1a", 1), ("fc1b", 0), ("fc2b", 0)]
    assert [op.gpu for op in program.operators if isinstance(op, Concat)] == [0, 1]
    assert_program_is_spec(lowered(convspec.check(text), ["both"], PLACED), convspec.check(text))


def test_a_concat_of_parts_that_all_cross_crosses_whole() -> None:
    layers = "".join(layer(f"fc1{t}", type="fc", inputs="data", outputs=4, gpu=0) for t in "ab")
    layers += layer("both", type="concat", inputs="fc1a,fc1b", gpu=0) + layer(
        "fc2", type="fc", inputs="both", outputs=3, gpu=1
    )
    assert [c.value for c in between_gpus(placed(classifier(layers, leaves="fc2")))] == ["both", "fc2"]


def test_gpus_take_turns() -> None:
    """So that the second has something to do before the first has all that it can do."""
    program = placed(TWO_TOWERS)
    turns = [op.gpu for op in program.operators if not isinstance(op, Transfer | Input)]
    assert turns[:10] == [0, 1] * 5
    assert gpus_of(program) == (0, 1)


def test_replicas_send_their_part_of_the_cases() -> None:
    program = placed(replicated())
    parts = [(c.value, c.source, c.target, Fraction(c.share)) for c in between_gpus(program)]
    assert parts == [(f"conv1@{gpu}", gpu, 0, Fraction(1, 4)) for gpu in (1, 2, 3)]
    assert [c.readers for c in between_gpus(program)] == [("fc2",)] * 3
    hosts = [(c.target, c.share) for c in crossings(program) if c.source is None and c.layers == ("data",)]
    assert hosts == [(gpu, 0.25) for gpu in range(4)]


def test_parameters_of_replicas_are_on_all_their_gpus() -> None:
    found = [(copy.parameter.name, copy.home, copy.others) for copy in copies(placed(replicated()))]
    assert found == [("conv1.weight", 0, (1, 2, 3)), ("conv1.bias", 0, (1, 2, 3))]


def test_what_nothing_learns_below_gets_no_gradient_back() -> None:
    frozen = {"epsW": 0, "epsB": 0}
    program = placed(replicated(**frozen))
    assert not any(crossing.has_gradient for crossing in crossings(program))
    assert sum(crossing.bytes_backward() for crossing in crossings(program)) == 0


@pytest.mark.parametrize("name", ["lenet-digits.cfg", "alexnet-1gpu.cfg"])
def test_one_gpu_gets_its_inputs_and_nothing_else_crosses(name: str) -> None:
    program = lowered(convspec.check(spec_path(name)), (), PLACED)
    assert between_gpus(program) == []
    assert insert_transfers(program) is program
