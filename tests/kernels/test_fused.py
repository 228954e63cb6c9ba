"""`bias_act_lrn_max_pool2d` by every implementation for the CPU, against loops in NumPy: outputs and all gradients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from convspec_kernels import bias_act_lrn_max_pool2d, local_response_norm, max_pool2d, operators
from convspec_kernels.options import LRN, FusedOptions, Pool
from tests.kernels import loops

IMPLEMENTATIONS = {"reference": torch.float64, "eager": torch.float32, "numba": torch.float32}
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-5}
FORMATS = [torch.contiguous_format, torch.channels_last]


@dataclass(frozen=True)
class Case:
    x: loops.Maps
    fused: loops.Fused
    gradient: loops.Maps

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the public function, but for the tensors."""
        result: dict[str, Any] = {}
        if self.fused.relu_at is not None:
            result |= {"activation": "relu", "activation_at": self.fused.relu_at}
        if self.fused.lrn is not None:
            result |= dict(zip(("size", "alpha", "beta", "k", "groups"), self.fused.lrn, strict=True))
        if self.fused.pool is not None:
            result |= dict(zip(("kernel_size", "stride", "start", "output_size"), self.fused.pool, strict=True))
        return result

    def computed(
        self, implementation: str, memory_format: torch.memory_format = torch.contiguous_format
    ) -> list[loops.Maps]:
        """The result and the gradients of the maps and of the bias. What kernels write is in the maps' memory format."""
        dtype = IMPLEMENTATIONS[implementation]
        given = torch.from_numpy(self.x).to(dtype)
        # not `contiguous`, which leaves the strides of maps with a single pixel as they are
        x = torch.empty_like(given, memory_format=memory_format).copy_(given).requires_grad_()
        bias = None if self.fused.bias is None else torch.from_numpy(self.fused.bias).to(dtype).requires_grad_()
        with forced(implementation), poisoned():
            y = bias_act_lrn_max_pool2d(x, bias, **self.arguments)
            leaves = [x] if bias is None else [x, bias]
            grads = torch.autograd.grad(y, leaves, torch.from_numpy(self.gradient).to(dtype))
        assert y.is_contiguous(memory_format=memory_format)
        assert implementation == "reference" or grads[0].is_contiguous(memory_format=memory_format)
        return [tensor.detach().double().numpy() for tensor in (y, *grads)]

    def expected(self, **twin: Any) -> list[loops.Maps]:
        fused = replace(self.fused, **twin)
        grads = fused.gradients(self.x, self.gradient)
        return [fused.forward(self.x), *(grads[:1] if fused.bias is None else grads)]

    def agrees(self, implementation: str, memory_format: torch.memory_format, **twin: Any) -> bool:
        tolerance = TOLERANCES[IMPLEMENTATIONS[implementation]]
        computed, expected = self.computed(implementation, memory_format), self.expected(**twin)
        return all(loops.agrees(a, b, tolerance) for a, b in zip(computed, expected, strict=True))


@contextmanager
def forced(implementation: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, CONVSPEC_KERNELS=implementation):
        yield


@contextmanager
def poisoned() -> Iterator[None]:
    """What nobody writes is no number, and 255 in bytes: so torch fills memory where it must be deterministic."""
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def case(seed: int, shape: tuple[int, int, int, int], fused: loops.Fused) -> Case:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(np.float32).astype(np.float64)
    outputs = shape[2:] if fused.pool is None else fused.pool[3]
    return Case(x, fused, rng.normal(size=(*shape[:2], *outputs)).astype(np.float32).astype(np.float64))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.one_of(st.integers(1, 6), st.just(17)))
    height, width = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    seed = draw(st.integers(0, 2**32 - 1))
    bias = np.random.default_rng(seed).normal(size=channels).astype(np.float32).astype(np.float64)
    lrn = (
        draw(st.integers(1, 7)),
        draw(st.sampled_from([0.5, 2.0])),
        draw(st.sampled_from([0.5, 0.6, 0.75, 1.0])),
        draw(st.sampled_from([1.0, 2.0])),
        groups,
    )
    fused = loops.Fused(
        bias=bias if draw(st.booleans()) else None,
        relu_at=draw(st.sampled_from([None, "input", "output"])),
        lrn=lrn if draw(st.booleans()) else None,
        pool=draw(pools(height, width)) if draw(st.booleans()) else None,
    )
    result = case(seed, (draw(st.integers(1, 3)), channels, height, width), fused)
    assume(fused.has_clear_winners(result.x))
    return result


@st.composite
def pools(draw: st.DrawFn, height: int, width: int) -> tuple[int, int, int, tuple[int, int]]:
    kernel_size = draw(st.sampled_from([3, 3, 1, 2, 4, 5]))
    stride = draw(st.integers(1, 4))
    start = draw(st.integers(1 - kernel_size, min(height, width) - 1))
    outputs = [draw(st.integers(1, ceil((length - start) / stride))) for length in (height, width)]
    return kernel_size, stride, start, (outputs[0], outputs[1])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(case=cases(), memory_format=st.sampled_from(FORMATS))
def test_agrees_with_the_loops(implementation: str, case: Case, memory_format: torch.memory_format) -> None:
    assert case.agrees(implementation, memory_format)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("lrn", [(5, 0.5, 0.75, 2.0, 2), (4, 0.5, 0.6, 2.0, 2), (37, 0.5, 0.75, 2.0, 2), None], ids=str)
@pytest.mark.parametrize("channels", [15, 16, 17, 31, 32, 33])
def test_groups_of_any_size_fit_the_lanes(
    channels: int, lrn: tuple[int, float, float, float, int] | None, memory_format: torch.memory_format
) -> None:
    """Sixteen channels are computed at once: fewer, as many, and some more than once and twice as many."""
    bias = np.linspace(-1, 1, 2 * channels)
    fused = loops.Fused(bias=bias, relu_at="input", lrn=lrn, pool=(3, 2, -1, (3, 3)))
    assert case(0, (2, 2 * channels, 4, 5), fused).agrees("numba", memory_format)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_a_map_with_a_single_pixel_keeps_its_format(implementation: str, memory_format: torch.memory_format) -> None:
    """Such a map is contiguous in both ways; its result, of two windows, is not."""
    fused = loops.Fused(bias=None, relu_at=None, lrn=None, pool=(3, 1, -1, (1, 2)))
    assert case(0, (1, 2, 1, 1), fused).agrees(implementation, memory_format)


PAPER = loops.Fused(bias=np.linspace(-1, 1, 12), relu_at="input", lrn=(5, 0.5, 0.75, 2.0, 2), pool=(3, 2, 0, (4, 4)))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize(
    "twin",
    [
        {"lrn": None},
        {"lrn": (5, 0.5, 0.75, 2.0, 1)},
        {"lrn": (4, 0.4, 0.75, 2.0, 2)},
        {"shift": 1},
        {"shift": -1},
        {"bias": None},
        {"relu_at": None},
        {"relu_at": "output"},
        {"pool": (3, 2, -1, (4, 4))},
        {"pool": (2, 2, 0, (4, 4))},
    ],
    ids=str,
)
def test_rejects_what_is_wrong(implementation: str, memory_format: torch.memory_format, twin: dict[str, Any]) -> None:
    """The window ignored, across the tower's border, too small, off by one; and so on."""
    paper = case(0, (2, 12, 9, 9), PAPER)
    assert paper.agrees(implementation, memory_format)
    right, wrong = paper.computed(implementation, memory_format), paper.expected(**twin)
    tolerance = TOLERANCES[IMPLEMENTATIONS[implementation]]
    assert not loops.agrees(right[1], wrong[1], tolerance)
    assert twin.get("relu_at", "") == "output" or not loops.agrees(right[0], wrong[0], tolerance)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("pool", [(3, 2, 0, (4, 4)), (3, 2, -1, (5, 5)), (2, 1, 0, (8, 8))], ids=str)
def test_the_first_of_equal_pixels_wins(
    implementation: str, memory_format: torch.memory_format, pool: tuple[int, int, int, tuple[int, int]]
) -> None:
    """Every pixel of a map is the same, so that normalised they are still equal."""
    fused = replace(PAPER, pool=pool, relu_at=None)
    ties = replace(case(1, (2, 12, 9, 9), fused), x=np.linspace(1, 2, 12)[:, None, None] * np.ones((2, 12, 9, 9)))
    assert ties.agrees(implementation, memory_format)
    assert not ties.agrees(implementation, memory_format, last_wins=True)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_all_of_equal_pixels_win_where_asked(memory_format: torch.memory_format) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, size=(2, 2, 7, 7)).astype(np.float32)
    maps = torch.from_numpy(x).contiguous(memory_format=memory_format).requires_grad_()
    y = max_pool2d(maps, 3, 2, start=-1, ties="all")
    gradient = rng.normal(size=tuple(y.shape)).astype(np.float32)
    (grad,) = torch.autograd.grad(y, maps, torch.from_numpy(gradient))
    assert torch.equal(y, max_pool2d(maps, 3, 2, start=-1))
    assert y.is_contiguous(memory_format=memory_format)
    assert loops.agrees(grad.double().numpy(), loops.max_pool_gradient(x, gradient, 3, 2, -1, all_win=True), 1e-6)
    assert not loops.agrees(grad.double().numpy(), loops.max_pool_gradient(x, gradient, 3, 2, -1), 1e-6)


def apply(x: Tensor, bias: Tensor | None = None, **others: Any) -> Tensor:
    """The paper's first layer on any maps with an even number of channels."""
    options: dict[str, Any] = {"activation": "relu", "size": 5, "alpha": 0.5, "beta": 0.75, "k": 2.0, "groups": 2}
    return bias_act_lrn_max_pool2d(x, bias, **{**options, "kernel_size": 3, "stride": 2, **others})


def maps(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("implementation", ["eager", "numba"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_narrow_types_are_rounded_once(implementation: str, dtype: torch.dtype, tolerance: float) -> None:
    x, bias = 300 * maps(2, 8, 7, 7, dtype=dtype), maps(8)
    with forced(implementation):
        y = apply(x, bias)
    with forced("reference"):
        expected = apply(x.double(), bias.double())
    assert y.dtype is dtype
    assert loops.agrees(y.double().numpy(), expected.numpy(), tolerance)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize(
    "others", [{}, {"size": None}, {"size": 3}, {"kernel_size": None}, {"kernel_size": 2}], ids=str
)
def test_numba_reads_and_writes_bfloat16_as_torch_rounds_it(
    others: dict[str, int | None], memory_format: torch.memory_format
) -> None:
    """The same numbers as in float32, rounded to the nearest, and to the even one of two; infinity and NaN too."""
    x = 30 * maps(2, 2 * 17, 9, 9, dtype=torch.bfloat16)
    x[0, 3, 4, 4], x[0, 20, 2, 2] = torch.nan, torch.inf
    x, bias = x.contiguous(memory_format=memory_format), maps(2 * 17)
    results = []
    with forced("numba"), poisoned():
        for dtype in (torch.bfloat16, torch.float32):
            leaf, shift = x.to(dtype).requires_grad_(), bias.clone().requires_grad_()
            y = apply(leaf, shift, **others)
            gradient = maps(*y.shape, dtype=torch.bfloat16, seed=1).to(dtype)
            results.append([y.detach(), *torch.autograd.grad(y, (leaf, shift), gradient)])
    (y, grad, grad_bias), (wide_y, wide_grad, wide_grad_bias) = results
    assert y.dtype is grad.dtype is torch.bfloat16
    assert (y.isnan().any(), y.isfinite().any()) == (True, True)
    torch.testing.assert_close(y, wide_y.bfloat16(), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(grad, wide_grad.bfloat16(), rtol=0, atol=0, equal_nan=True)
    # sums of some 160 of the rounded numbers
    torch.testing.assert_close(grad_bias, wide_grad_bias, rtol=0, atol=0.05, equal_nan=True)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_autocast_keeps_the_type_of_the_maps_and_of_the_bias(implementation: str) -> None:
    x, bias = maps(2, 8, 7, 7, dtype=torch.bfloat16).requires_grad_(), maps(8).requires_grad_()
    with forced(implementation), torch.autocast("cpu", dtype=torch.bfloat16):
        y = apply(x, bias)
        y.float().sum().backward()
    assert y.dtype is torch.bfloat16
    assert x.grad is not None
    assert bias.grad is not None
    assert (x.grad.dtype, bias.grad.dtype) == (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_the_bits_do_not_depend_on_the_number_of_threads(memory_format: torch.memory_format) -> None:
    """Maps that are large enough to be shared out."""
    x, bias = maps(5, 96, 27, 31).contiguous(memory_format=memory_format).requires_grad_(), maps(96).requires_grad_()
    before, results = torch.get_num_threads(), []
    with forced("numba"):
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            y = apply(x, bias)
            results.append((y.detach(), *torch.autograd.grad(y.square().sum(), (x, bias))))
    torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], result, strict=True))


def test_threads_of_python_may_call_at_once() -> None:
    """As those of a server, or of DataParallel, do; each while another changes how many threads torch has."""
    x, before = maps(2, 96, 27, 27).contiguous(memory_format=torch.channels_last), torch.get_num_threads()

    def compute(shift: int) -> tuple[Tensor, Tensor]:
        torch.set_num_threads(1 + shift % 3)
        leaf = (x + shift).requires_grad_()
        y = apply(leaf)
        return y.detach(), torch.autograd.grad(y.square().sum(), leaf)[0]

    with forced("numba"):
        expected = [compute(shift) for shift in range(6)]
        with ThreadPoolExecutor(6) as pool:
            computed = list(pool.map(compute, range(6)))
    torch.set_num_threads(before)
    for result, wanted in zip(computed, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(result, wanted, strict=True))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kernel_size", [2, 3])
def test_a_number_that_is_none_wins_its_windows(implementation: str, kernel_size: int) -> None:
    x = maps(1, 4, 7, 7)
    x[0, 0, 3, 3] = torch.nan
    with forced(implementation):
        y = max_pool2d(x, kernel_size, 2)
        normed = local_response_norm(x, 3, alpha=0.5, beta=0.75, groups=2)
    expected = torch.nn.functional.max_pool2d(x, kernel_size, 2, ceil_mode=True)
    assert torch.equal(y.isnan(), expected.isnan())
    assert y.isnan().any()
    assert normed[0, :2, 3, 3].isnan().all()
    assert not normed[0, 2:].isnan().any()


@pytest.mark.parametrize("implementation", ["eager", "numba"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_slices_expanded_gradients_and_inference(implementation: str, channels_last: bool) -> None:
    """Half of the channels of a larger tensor, as a tower takes them."""
    whole = maps(2, 16, 9, 9)
    whole = whole.contiguous(memory_format=torch.channels_last) if channels_last else whole
    x = whole[:, 4:12].requires_grad_()
    with forced(implementation):
        y = apply(x)
        (grad,) = torch.autograd.grad(y.sum(), x)
        with torch.inference_mode():
            inferred = apply(whole[:, 4:12])
    with forced("reference"):
        expected = apply(x)
        (expected_grad,) = torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(grad, expected_grad)
    assert torch.equal(inferred, y)
    assert (y.stride(1) == 1) == channels_last


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_takes_an_empty_batch(implementation: str) -> None:
    x, bias = maps(0, 4, 7, 7).requires_grad_(), maps(4).requires_grad_()
    with forced(implementation):
        y = apply(x, bias)
        y.sum().backward()
    assert y.shape == (0, 4, 3, 3)
    assert x.grad is not None
    assert bias.grad is not None
    assert x.grad.shape == x.shape
    assert torch.equal(bias.grad, torch.zeros(4))


@pytest.mark.parametrize("implementation", ["eager", "numba"])
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        FusedOptions(True, False, LRN(5, 0.5, 0.75, 2.0, 2), Pool(3, 2, 0, 3, 3)),
        FusedOptions(False, True, None, Pool(3, 2, -1, 4, 4)),
        FusedOptions(lrn=LRN(4, 0.5, 0.75, 2.0)),
    ],
    ids=["all", "pool", "norm"],
)
def test_is_an_operator_as_torch_wants_it(
    implementation: str, memory_format: torch.memory_format, biased: bool, options: FusedOptions
) -> None:
    """Schema, fake implementation with strides, registered gradient, and tracing of both."""
    x = maps(2, 4, 7, 7).contiguous(memory_format=memory_format).requires_grad_()
    bias = maps(4).requires_grad_() if biased else None
    with forced(implementation):
        torch.library.opcheck(operators.forward, (x, bias, *operators.numbers(options)))


def layer(x: Tensor, bias: Tensor) -> Tensor:
    return local_response_norm(apply(x, bias, activation_at="output"), 3, alpha=0.5, beta=0.5) * 2


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_a_graph_break(implementation: str, dynamic: bool) -> None:
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for height in (9, 11):
        x = maps(2, 4, height, 9, dtype=IMPLEMENTATIONS[implementation]).requires_grad_()
        bias = maps(4, dtype=x.dtype).requires_grad_()
        with forced(implementation):
            y, expected = compiled(x, bias), layer(x, bias)
            grads = [torch.autograd.grad(result.sum(), (x, bias)) for result in (y, expected)]
        assert torch.equal(y, expected)
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


class Layer(torch.nn.Module):
    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return layer(x, bias)


def test_exports_the_operator() -> None:
    """What computes it is chosen where it runs: with numba here, without it there."""
    x, bias = maps(2, 4, 9, 9), maps(4)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Layer(), (x, bias), dynamic_shapes=({0: batch}, None))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum("convspec_kernels" in name for name in names) == 2
    larger = maps(3, 4, 9, 9)
    for implementation in ("eager", "numba"):
        with forced(implementation):
            assert torch.equal(program.module()(larger, bias), layer(larger, bias))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bias": maps(3)}, r"bias must be 4 floating-point numbers, not \(3,\)"),
        ({"bias": torch.ones(4, dtype=torch.int64)}, "not .* torch.int64"),
        ({"bias": torch.ones(4, device="meta")}, "bias is on meta, the maps are on cpu"),
        ({"activation": "gelu"}, "activation must be 'relu' or None, not 'gelu'"),
        ({"activation_at": "both"}, "activation_at must be 'input' or 'output', not 'both'"),
        ({"ties": "last"}, "ties must be 'first' or 'all', not 'last'"),
        ({"size": 0}, "size must be at least 1, not 0"),
        ({"groups": 3}, "groups must divide the 4 channels, 3 does not"),
        ({"kernel_size": 0}, "must be at least 1, not 0 and 2"),
        ({"start": -3}, "lies outside"),
    ],
    ids=[
        "bias too short",
        "bias of integers",
        "bias elsewhere",
        "activation",
        "place",
        "ties",
        "size",
        "groups",
        "kernel",
        "start",
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(maps(1, 4, 5, 5), **options)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (maps(4, 5, 5), "maps are .N, C, H, W., this tensor has the shape"),
        (maps(1, 4, 5, 5).to(torch.complex64), "of 16 bits or more, this tensor holds torch.complex64"),
        (maps(1, 4, 5, 5).to(torch.float8_e4m3fn), "this tensor holds torch.float8_e4m3fn"),
        (maps(1, 4, 5, 5).to_sparse(), "maps are dense, this tensor is torch.sparse_coo"),
    ],
    ids=["three axes", "complex", "eight bits", "sparse"],
)
def test_refuses_maps(x: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(x)


def test_takes_the_numbers_of_numpy() -> None:
    """As a configuration of the user's may hold them."""
    x = maps(1, 4, 9, 9)
    others = {"size": np.int64(5), "kernel_size": np.int64(3), "stride": np.int32(2), "alpha": np.float32(0.5)}
    assert torch.equal(apply(x, **others), apply(x))
    assert torch.equal(max_pool2d(x, np.int64(3), np.int64(2)), max_pool2d(x, 3, 2))
