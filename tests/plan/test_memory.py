"""The memory model against torch: what autograd keeps, to the byte, and what a step takes, within a tenth."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings

import convspec
from convspec.compiler import compile_checked
from convspec.passes.pipeline import Target
from convspec.plan.liveness import walk
from convspec.plan.memory import plan_memory
from convspec.plan.plan import memory_on, places_of, program_for
from convspec.plan.recorder import Precision, Processor
from convspec.plan.tape import record
from convspec.program.costs import NegativeLogLikelihood
from convspec.program.crossings import copies
from convspec.program.weighted import LocallyConnected2d, TreeLinear
from convspec.resources import spec_path
from convspec.testing import specs
from tests.emit.small_specs import TWO_TOWERS, classifier, layer
from tests.plan.kept import kept_bytes, kept_bytes_of_gpus

# A convolution with a replica on each of two GPUs, below a fully-connected layer of which each GPU has a part.
HYBRID = classifier(
    layer("conv", type="conv", inputs="data", filters=8, filterSize=3, neuron="relu", gpu="0,1")
    + layer("norm", type="cmrnorm", inputs="conv", size=5)
    + layer("pool", type="pool", pool="max", inputs="norm", sizeX=3, stride=2)
    + layer("fca", type="fc", inputs="pool", outputs=6, neuron="relu", gpu=0)
    + layer("fcb", type="fc", inputs="pool", outputs=6, neuron="relu", gpu=1)
    + layer("drop", type="dropout", inputs="fcb", keep=0.5),
    leaves="fca,drop",
)
# What a cost keeps of a case, and the number of bytes that a cost's denominator has, are not counted.
_SMALL = 64
_BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "plan_memory.py"
_MEASURED = runpy.run_path(str(_BENCHMARK))


def _saved(checked: convspec.Checked, cases: int, precision: Precision = Precision.FP32) -> int:
    return plan_memory(checked, cases, precision, Processor.CPU).saved


@pytest.mark.parametrize("is_bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    "name", ["alexnet-small", "cifar-relu", "cifar-tanh", "cifar-without-lrn", "lenet-digits", "resnet20"]
)
def test_what_autograd_keeps_of_our_specs(name: str, is_bf16: bool) -> None:
    checked = convspec.check(spec_path(f"{name}.cfg"))
    kept = kept_bytes(checked, 3, is_bf16=is_bf16)
    predicted = _saved(checked, 3, Precision.BF16 if is_bf16 else Precision.FP32)
    # a local layer keeps one small copy less in fp32
    assert predicted == pytest.approx(kept, rel=0.02 if name == "cifar-without-lrn" else 0, abs=_SMALL)


_MAPS = {
    "max pool": {"type": "pool", "pool": "max", "sizeX": 3, "stride": 2},
    "mean pool": {"type": "pool", "pool": "avg", "sizeX": 3, "stride": 2},
    "pool before the map": {"type": "pool", "pool": "max", "sizeX": 3, "stride": 2, "start": -1},
    "across maps": {"type": "cmrnorm", "size": 5, "scale": 0.5, "pow": 0.75, "minDiv": 2},
    "same map": {"type": "rnorm", "size": 3, "scale": 0.5, "pow": 0.75, "minDiv": 2},
    "contrast": {"type": "cnorm", "size": 3, "scale": 0.5, "pow": 0.75, "minDiv": 2},
    "contrast, even": {"type": "cnorm", "size": 4, "scale": 0.5, "pow": 0.75, "minDiv": 2},
    "batch": {"type": "batchnorm"},
    "dropout": {"type": "dropout", "keep": 0.5},
    "dropout, times keep": {"type": "dropout2", "keep": 0.7},
    "channels": {"type": "cmpool", "pool": "max", "size": 2, "stride": 2, "outputs": 4, "channels": 8},
    "convolution in groups": {"type": "conv", "filters": 4, "filterSize": 3, "padding": 1, "groups": 2},
    "a bias a pixel": {"type": "conv", "filters": 4, "filterSize": 3, "padding": 1, "sharedBiases": 0},
    **{
        neuron: {"type": "neuron", "neuron": neuron}
        for neuron in (
            # not nrelu: torch's hooks also tell of the ReLU below its noise, which nobody keeps
            "relu logistic abs softrelu square sqrt tanh[1.7,0.6] abstanh[1,1] brelu[2] linear[2,1] log[3] drelu[2]"
        ).split()
    },
}


def _with_operator(keys: dict[str, object]) -> convspec.Checked:
    below = layer("below", type="conv", inputs="data", filters=8, filterSize=3, padding=1, gpu=0)
    checked = convspec.check(classifier(below + layer("it", inputs="below", **keys), leaves="it", image="3x17x17"))
    assert checked.ok, checked.diagnostics
    return checked


@pytest.mark.parametrize("keys", _MAPS.values(), ids=_MAPS.keys())
@pytest.mark.parametrize("is_bf16", [False, True], ids=["fp32", "bf16"])
def test_what_autograd_keeps_of_an_operator(keys: dict[str, object], is_bf16: bool) -> None:
    checked = _with_operator(keys)
    kept = kept_bytes(checked, 3, is_bf16=is_bf16)
    predicted = _saved(checked, 3, Precision.BF16 if is_bf16 else Precision.FP32)
    # means over even windows are times a map of how many pixels each has
    assert predicted == pytest.approx(kept, abs=_SMALL if keys.get("size") != 4 else 4 * 17 * 17 + _SMALL)


def _allocated(checked: convspec.Checked, cases: int, *, is_bf16: bool) -> int:
    """The most that a step takes by torch's own count, not the first step."""
    step, _ = _MEASURED["training_step"](checked, cases, is_bf16=is_bf16)
    step()
    allocated: int = _MEASURED["allocated"](step)
    return allocated


def _peak(checked: convspec.Checked, cases: int, *, is_bf16: bool) -> int:
    return plan_memory(checked, cases, Precision.BF16 if is_bf16 else Precision.FP32, Processor.CPU).peak.size


@pytest.mark.parametrize(
    ("name", "cases", "is_bf16"),
    [
        ("alexnet-small", 4, False),
        ("cifar-lrn", 8, True),
        ("cifar-relu", 16, False),
        ("cifar-tanh", 16, False),
        ("cifar-without-lrn", 16, False),
        ("lenet-digits", 16, False),
        ("lenet-digits", 64, True),
        ("resnet20", 4, False),
        ("resnet20", 8, True),
    ],
)
def test_what_a_step_of_our_specs_takes(name: str, cases: int, is_bf16: bool) -> None:
    """Batches so small that the weights, and copies of them, count."""
    checked = convspec.check(spec_path(f"{name}.cfg"))
    taken = _allocated(checked, cases, is_bf16=is_bf16)
    assert _peak(checked, cases, is_bf16=is_bf16) == pytest.approx(taken, rel=0.03)


@pytest.mark.parametrize("keys", _MAPS.values(), ids=_MAPS.keys())
@pytest.mark.parametrize("is_bf16", [False, True], ids=["fp32", "bf16"])
def test_what_a_step_of_an_operator_takes(keys: dict[str, object], is_bf16: bool) -> None:
    checked = _with_operator(keys)
    taken = _allocated(checked, 64, is_bf16=is_bf16)
    # a panel of a weight, which oneDNN packs in bf16 or not
    assert _peak(checked, 64, is_bf16=is_bf16) == pytest.approx(taken, rel=0.03, abs=0 if not is_bf16 else 1 << 17)


def test_two_towers_keep_what_one_does() -> None:
    checked = convspec.check(TWO_TOWERS)
    assert _saved(checked, 3) == pytest.approx(kept_bytes(checked, 3), abs=_SMALL)


@pytest.mark.parametrize("text", [TWO_TOWERS, HYBRID], ids=["towers", "one weird trick"])
def test_what_autograd_keeps_on_all_gpus_together(text: str) -> None:
    checked = convspec.check(text)
    program = program_for(checked, Target.SPMD)
    places = places_of(program, Target.SPMD)
    saved = [memory_on(program, place, 4, Precision.FP32, Processor.CPU, Target.SPMD).saved for place in places]
    assert len(saved) > 1
    # one process copies what several GPUs learn to all but the first of them; with a process each it is there
    copied = sum(4 * prod(each.parameter.shape) * len(each.others) for each in copies(program))
    assert sum(saved) + copied == pytest.approx(kept_bytes_of_gpus(checked, 4), abs=_SMALL)


@pytest.mark.parametrize("name", ["alexnet", "alexnet-2012", "cifar-tanh", "lenet-digits", "resnet20", "vgg11"])
def test_variables_hold_nothing_that_a_step_does_not_need(name: str) -> None:
    """At the peak: ResNet-20 once took a quarter more, for the terms of its sums."""
    program = compile_checked(convspec.check(spec_path(f"{name}.cfg")), allow_init_imports=True).program
    tape = record(program, 128, Precision.FP32, Processor.CPU)
    assert walk(tape).peak == walk(tape._replace(variables={})).peak


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(specs())
def test_what_autograd_keeps_of_any_network(text: str) -> None:
    checked = convspec.check(text)
    program = compile_checked(checked).program
    # other costs are estimated, and so are layers whose copies depend on how their windows lie
    assume(all(isinstance(cost, NegativeLogLikelihood) for cost in program.costs))
    assume(not any(isinstance(op, TreeLinear | LocallyConnected2d) for op in program.operators))
    assume(any(cost.coefficient for cost in program.costs))
    assert _saved(checked, 3) == pytest.approx(kept_bytes(checked, 3), rel=0.1, abs=1024)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of a process is Linux's to tell")
def test_what_is_resident_in_a_step() -> None:
    """Measured in a process of its own, as the table in docs/plan.md is."""
    run = subprocess.run(
        [sys.executable, str(_BENCHMARK), "--measure", "cifar-relu:64"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    measured = json.loads(run.stdout)
    memory = plan_memory(convspec.check(spec_path("cifar-relu.cfg")), 64, Precision.FP32, Processor.CPU)
    assert memory.peak.size == pytest.approx(measured["resident"], rel=0.1)
    assert memory.peak.size == pytest.approx(measured["allocated"], rel=0.03)
    assert memory.held == pytest.approx(measured["held"], abs=_SMALL)
