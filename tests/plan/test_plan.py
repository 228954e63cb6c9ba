"""Plans of placed networks, against numbers worked out by hand."""

from __future__ import annotations

import pytest

import convspec
from convspec.passes.pipeline import Target
from convspec.plan.plan import Plan, largest_batch, memory_on, places_of, plan, program_for
from convspec.plan.rates import Rates
from convspec.plan.recorder import Precision, Processor
from convspec.plan.work import macs_a_case
from convspec.resources import spec_names, spec_path
from tests.emit.small_specs import TWO_TOWERS, classifier, layer

# A machine on which nothing but links takes time, and one on which nothing but arithmetic does.
SLOW_LINKS = Rates(1e30, 1e30, 1e9)
SLOW_ARITHMETIC = Rates(1e12, 1e30, 1e30)


def planned(checked: convspec.Checked, target: Target, *, batch: int = 128, rates: Rates = SLOW_LINKS) -> Plan:
    return plan(checked, batch=batch, precision=Precision.FP32, processor=Processor.GPU, target=target, rates=rates)


@pytest.fixture(scope="module")
def alexnet() -> convspec.Checked:
    return convspec.check(spec_path("alexnet.cfg"))


# Of one tower (figure 2 of the paper): weights and biases of conv1 to conv5, fc6 and fc7, and of the first GPU fc8.
_TOWER = (
    48 * 3 * 11 * 11 + 48
    + 128 * 48 * 5 * 5 + 128
    + 192 * 256 * 3 * 3 + 192
    + 192 * 192 * 3 * 3 + 192
    + 128 * 192 * 3 * 3 + 128
    + 2048 * 9216 + 2048
    + 2048 * 4096 + 2048
)  # fmt: skip
_FC8 = 1000 * 4096 + 1000
_TOWER_MACS = (
    55 * 55 * 48 * 3 * 11 * 11
    + 27 * 27 * 128 * 48 * 5 * 5
    + 13 * 13 * 192 * 256 * 3 * 3
    + 13 * 13 * 192 * 192 * 3 * 3
    + 13 * 13 * 128 * 192 * 3 * 3
    + 2048 * 9216
    + 2048 * 4096
)  # fmt: skip


def test_what_each_gpu_of_the_paper_holds_and_computes(alexnet: convspec.Checked) -> None:
    shares = planned(alexnet, Target.SPMD).shares
    assert [share.parameters for share in shares] == [_TOWER + _FC8, _TOWER]
    assert [share.macs for share in shares] == [128 * (_TOWER_MACS + 1000 * 4096), 128 * _TOWER_MACS]
    for share in shares:
        assert share.memory.weights == share.memory.momentum == share.memory.gradients == 4 * share.parameters
    # the pictures on both, and the labels, of 64 bits, where the cost is
    pictures = 128 * 3 * 227 * 227 * 4
    assert [share.memory.inputs for share in shares] == [pictures + 128 * 8, pictures]


def test_what_crosses_in_the_paper(alexnet: convspec.Checked) -> None:
    """Layer 3 reads the maps of both GPUs, as do the fully-connected layers (section 3.2, figure 2)."""
    crossings = planned(alexnet, Target.SPMD).crossings
    expected = {
        ("pool2a", 0, 1): (128 * 13 * 13, ("conv3b",)),
        ("pool2b", 1, 0): (128 * 13 * 13, ("conv3a",)),
        ("pool5a", 0, 1): (128 * 6 * 6, ("fc6b",)),
        ("pool5b", 1, 0): (128 * 6 * 6, ("fc6a",)),
        ("drop6a", 0, 1): (2048, ("fc7b",)),
        ("drop6b", 1, 0): (2048, ("fc7a",)),
        ("drop7b", 1, 0): (2048, ("fc8",)),
    }
    found = {(c.value, c.source, c.target): (c.bytes_forward(4) / 4, c.readers) for c in crossings}
    assert found == expected
    assert all(c.bytes_backward(4) == c.bytes_forward(4) for c in crossings)


def test_activations_of_one_gpu_of_the_paper(alexnet: convspec.Checked) -> None:
    """What autograd keeps of the second tower, worked out from the emitted module."""
    maps = (
        48 * 55 * 55  # conv1b, which the fused operator reads again
        + 48 * 27 * 27  # pool1b, which conv2b reads
        + 128 * 27 * 27  # conv2b
        + 256 * 13 * 13  # pool2a and pool2b side by side, which conv3b reads
        + 192 * 13 * 13 * 2  # ReLUs of conv3b and conv4b, their results
        + 128 * 13 * 13  # conv5b
        + 9216  # pool5a and pool5b side by side and flat, which fc6b reads
        + 2048 * 2  # ReLU of fc6b, and the mask of drop6b
        + 4096  # drop6a and drop6b side by side, which fc7b reads
        + 2048 * 2  # ReLU of fc7b, and the mask of drop7b
    )
    bytes_of_argmax = 48 * 27 * 27 + 128 * 13 * 13 + 128 * 6 * 6
    assert planned(alexnet, Target.SPMD).shares[1].memory.saved == 128 * (4 * maps + bytes_of_argmax)


def test_data_parallel_layers_are_on_each_gpu_and_add_up_gradients(alexnet: convspec.Checked) -> None:
    checked = convspec.check(spec_path("alexnet-1gpu.cfg"), overrides=["conv1.gpu=0,1,2,3", "logprob.gpu=0,1,2,3"])
    assert checked.ok
    alone = planned(convspec.check(spec_path("alexnet-1gpu.cfg")), Target.FOLDED)
    result = planned(checked, Target.SPMD)
    whole = alone.shares[0]
    assert [share.parameters for share in result.shares] == [whole.parameters] * 4
    assert sum(share.macs for share in result.shares) == whole.macs
    assert sum(each.size for each in result.reduced) == 4 * whole.parameters
    # round a ring, 2 * 3/4 of the bytes
    assert sum(each.bytes_a_gpu for each in result.reduced) == pytest.approx(1.5 * 4 * whole.parameters)
    one_process = planned(checked, Target.DEVICES)
    assert [share.memory.momentum for share in one_process.shares] == [4 * whole.parameters, 0, 0, 0]


def test_multiply_adds_of_operators_are_those_of_layers() -> None:
    for name in spec_names():
        checked = convspec.check(spec_path(name))
        program = program_for(checked, Target.FOLDED)
        assert sum(macs_a_case(op, program) for op in program.operators) == checked.totals.network.macs, name


def test_the_time_of_links_alone(alexnet: convspec.Checked) -> None:
    """Both directions are in use at once: one tower's maps and vectors there, and as much back."""
    one_way = 128 * 4 * (128 * 13 * 13 + 128 * 6 * 6 + 2048)
    last = 128 * 4 * 2048  # drop7b goes to GPU 0 alone
    time = planned(alexnet, Target.SPMD).time
    assert time.seconds == pytest.approx(2 * (one_way + last) / 1e9)
    assert time.bound == "links"


def test_the_time_of_arithmetic_alone(alexnet: convspec.Checked) -> None:
    """Three sums of products a weight, but two in layer 1, below which nothing learns. GPU 0 has the more, by layer 8,
    during which GPU 1 waits."""
    first = 55 * 55 * 48 * 3 * 11 * 11
    operations = 2 * 128 * (3 * (_TOWER_MACS + 1000 * 4096) - first)
    time = planned(alexnet, Target.SPMD, rates=SLOW_ARITHMETIC).time
    assert time.seconds == pytest.approx(operations / 1e12)
    assert time.bound == "arithmetic"
    assert time.gpus[1].waiting == pytest.approx(2 * 128 * 3 * 1000 * 4096 / 1e12, rel=1e-6)


@pytest.mark.parametrize("target", Target)
def test_the_largest_batch_fits_and_no_larger_one(target: Target) -> None:
    program = program_for(convspec.check(TWO_TOWERS), target)
    rooms = dict.fromkeys(places_of(program, target), 1 << 20)

    def most(batch: int) -> int:
        return max(memory_on(program, place, batch, Precision.FP32, Processor.GPU, target).total for place in rooms)

    found = largest_batch(program, rooms, Precision.FP32, Processor.GPU, target)
    assert found > 1
    assert most(found) <= 1 << 20 < most(found + 1)
    assert largest_batch(program, dict.fromkeys(rooms, 1000), Precision.FP32, Processor.GPU, target) == 0


def test_what_a_cost_on_another_gpu_judges_crosses_without_a_gradient() -> None:
    """Under torchrun: the scores, that the cost is computed from, there and their gradient back; the probabilities, for the
    error rates, there alone. In one process the labels go to where the probabilities are."""
    text = classifier(layer("fc1", type="fc", inputs="data", outputs=7, gpu=0), leaves="fc1")
    checked = convspec.check(text, overrides=["scores.gpu=0", "probs.gpu=0", "cost.gpu=1"])
    assert checked.ok, checked.diagnostics
    apart, together = (planned(checked, target, batch=10) for target in (Target.SPMD, Target.DEVICES))
    numbers = [(c.value, c.readers, c.bytes_forward(4) * 10, c.bytes_backward(4) * 10) for c in apart.crossings]
    assert numbers == [("scores", ("cost",), 160, 160), ("probs", ("cost",), 160, 0)]
    assert [c.value for c in together.crossings] == ["scores"]
    more = apart.shares[1].memory.peak.size - together.shares[1].memory.peak.size
    assert more == 160
    assert apart.time.gpus[0].sending == pytest.approx(2 * 160 / SLOW_LINKS.link)
