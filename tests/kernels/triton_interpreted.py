"""The Triton kernels in Triton's interpreter, on the CPU. `test_triton.py` runs this file in a process of its own.

The interpreter must be asked for before Triton is imported, and afterwards nothing can be compiled. It computes
bfloat16 wrongly, and the tensors' races are invisible to it: both are left to `test_triton_gpu.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import triton

from convspec_kernels.augmentation import TYPES
from convspec_kernels.noise import Noise
from convspec_kernels.noise import dropout as composed
from convspec_kernels.options import LRN, FusedOptions, Pool, Ties
from convspec_kernels.triton_configs import Config
from tests.kernels import triton_cases
from tests.kernels.triton_cases import CASES, Case, Twin

# NumPy warns of lanes that hold no channel: what they compute is never written.
# Before 3.7 the interpreter takes the end of a loop for an array of one number, of which NumPy warns until 2.4 refuses it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:divide by zero:RuntimeWarning",
    "ignore:invalid value:RuntimeWarning",
    "ignore:Conversion of an array with ndim > 0:DeprecationWarning",
)

HALVES = ("alexnet", "48-channels-nchw", "any-power", "pool-alone", "lanes", "lanes-start-before")
RUNS = [pytest.param(case, torch.float32, id=case.name) for case in CASES] + [
    pytest.param(case, torch.float16, id=f"{case.name}-half") for case in CASES if case.name in HALVES
]


NO_LOOPS = np.lib.NumpyVersion(np.__version__) >= "2.4.0" and triton.__version__.startswith(("3.4.", "3.5.", "3.6."))


def needs_lanes() -> None:
    if NO_LOOPS:
        pytest.skip(f"Triton {triton.__version__} interprets no kernel of lanes beside NumPy {np.__version__}")


@pytest.mark.parametrize(("case", "dtype"), RUNS)
def test_agrees_with_float64_and_with_no_twin(case: Case, dtype: torch.dtype) -> None:
    if not isinstance(case.config, Config):
        needs_lanes()
    actual = triton_cases.compute(case, dtype, "cpu")
    assert triton_cases.agrees(actual, triton_cases.expect(case, dtype), dtype)
    for twin in triton_cases.twins(case):
        assert not triton_cases.agrees(actual, triton_cases.expect(case, dtype, twin), dtype), twin


def test_each_twin_is_tried() -> None:
    tried = {twin for case in CASES for twin in triton_cases.twins(case)}
    assert tried == set(Twin) - {Twin.RIGHT}


def test_public_functions_take_an_expanded_gradient() -> None:
    from convspec_kernels import triton_kernels

    x = torch.randn(1, 5, 4, 5, generator=torch.Generator().manual_seed(0))
    bias, options = torch.ones(5), FusedOptions(True, False, LRN(3, 0.5, 0.75, 1.0), Pool(2, 2, 0, 2, 3))
    y, argmax = triton_kernels.fused_forward(x, bias, options)
    assert y.stride() == torch.empty(1, 5, 2, 3).stride()
    expanded = triton_kernels.fused_backward(torch.ones(()).expand(y.shape), x, bias, argmax, options)
    dense = triton_kernels.fused_backward(torch.ones_like(y), x, bias, argmax, options)
    for a, b in zip(expanded, dense, strict=True):
        assert a is not None
        assert torch.equal(a, b)


def test_an_empty_batch() -> None:
    from convspec_kernels import triton_kernels

    x, options = torch.empty(0, 5, 4, 5), FusedOptions(lrn=LRN(3, 0.5, 0.75, 1.0), pool=Pool(2, 2, 0, 2, 3))
    y, argmax = triton_kernels.fused_forward(x, torch.ones(5), options)
    assert y.shape == (0, 5, 2, 3)
    grad_x, grad_bias = triton_kernels.fused_backward(y, x, torch.ones(5), argmax, options)
    assert grad_x.shape == x.shape
    assert grad_bias is not None
    assert torch.equal(grad_bias, torch.zeros(5))


@pytest.mark.parametrize("relu", [False, True], ids=["no relu", "relu"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["tiles", "lanes"])
def test_not_a_number_wins_as_in_torch(memory_format: torch.memory_format, relu: bool) -> None:
    if memory_format is torch.channels_last:
        needs_lanes()
    triton_cases.check_not_a_number("cpu", memory_format, relu=relu)


def test_says_what_it_cannot_take() -> None:
    from convspec_kernels import triton_kernels

    x, pool = torch.empty(1, 1, 40, 40), Pool(3, 2, 0, 20, 20)
    assert triton_kernels.unsupported(x, FusedOptions(pool=pool)) is None
    reasons = [
        triton_kernels.unsupported(x.double(), FusedOptions(pool=pool)),
        triton_kernels.unsupported(x, FusedOptions(pool=Pool(3, 2, 0, 20, 20, Ties.ALL))),
        triton_kernels.unsupported(x, FusedOptions(pool=Pool(17, 2, 0, 13, 13))),
    ]
    for reason, word in zip(reasons, ["float64", "all that are equal", "byte"], strict=True):
        assert reason is not None
        assert word in reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("whole_mean", [False, True], ids=["mean colour", "mean image"])
@pytest.mark.parametrize("shape", triton_cases.AUGMENTED)
def test_augment(shape: str, dtype: torch.dtype, whole_mean: bool) -> None:
    assert dtype in TYPES
    triton_cases.check_augment(*triton_cases.AUGMENTED[shape], dtype, "cpu", whole_mean=whole_mean, block=256)


MAPS = {
    "vectors": torch.empty(3, 14),
    "maps": torch.empty(2, 6, 3, 5),
    "channels last": torch.empty(2, 6, 3, 5, memory_format=torch.channels_last),
    "one layer's part of others": torch.empty(5, 12, 2, 2)[:, 4:8],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("maps", MAPS)
def test_dropout_drops_what_the_composition_drops(maps: str, dtype: torch.dtype) -> None:
    """To the bit, zeros with their sign, numbers that are none too: in one layer, in two, from any case on."""
    from convspec_kernels import triton_dropout

    x = torch.empty_like(MAPS[maps], dtype=dtype)
    x.copy_(torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))
    x[0, :2], x[1, :2] = -torch.inf, -0.0
    for layers, p, first in ((["a"], 0.3, 0), (["a", "b"], 0.5, 1), (["b", "a"], 1e-30, 7)):
        noise = Noise(torch.tensor(2**61 + 12345), first)
        expected = composed(x, p, True, noise, *layers)
        actual = triton_dropout.dropout(x, *noise, layers, p)
        as_bits = {4: torch.int32, 2: torch.int16}[dtype.itemsize]
        assert torch.equal(actual.view(as_bits), expected.view(as_bits))
        without_memory = torch.ops.convspec_kernels.dropout(x.to("meta"), noise.seed, first, layers, p)
        assert actual.stride() == without_memory.stride()


def test_dropout_takes_its_seed_as_a_number_too() -> None:
    """As on a GPU, whose kernels cannot read where it lies."""
    from convspec_kernels import triton_dropout

    x, y = torch.ones(3, 14), torch.empty(3, 14)
    for seed in (5, 2**40 + 1):
        noise = Noise(torch.tensor(seed), 2)
        launch = triton_dropout.dropout_launch(x, y, *noise, ["a", "b"], 0.5, block=16)
        constants = launch.constants | {"IS_ON_HOST": True}
        replace(launch, arguments=launch.arguments | {"seed": seed}, constants=constants).run()
        assert torch.equal(y, composed(x, 0.5, True, noise, "a", "b"))
