"""The Triton kernels on a GPU: the interpreter's cases in three types, and what only a device can show."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from convspec_kernels import Noise, dropout, reference
from convspec_kernels.augmentation import TYPES, augment
from convspec_kernels.options import LRN, FusedOptions, Pool
from convspec_kernels.reference import augmented
from convspec_kernels.triton_configs import Config
from tests.kernels import triton_cases
from tests.kernels.triton_cases import CASES, TOLERANCES, Case

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = pytest.mark.gpu

# A tile for the interpreter is far too large for a GPU; smaller ones are there to cut groups and maps into parts.
LARGEST_TILE = 1024
FORMATS = [torch.channels_last, torch.contiguous_format]
LAYERS = {"conv1": (4, 96, 55, 55), "conv2": (4, 256, 27, 27), "no-pool": (4, 96, 55, 55), "odd": (3, 44, 19, 23)}


def on_a_gpu(case: Case) -> Case:
    match case.config:
        case Config(block_pixels=pixels, block_channels=channels) if pixels * channels > LARGEST_TILE:
            return replace(case, config=None)
        case _:
            return case


def options_of(layer: str) -> FusedOptions:
    _, _, height, width = LAYERS[layer]
    pool = None if layer == "no-pool" else Pool(3, 2, 0, height // 2, width // 2)
    return FusedOptions(relu_before=True, lrn=LRN(5, 0.5, 0.75, 2.0, groups=2), pool=pool)


def inputs_of(layer: str, dtype: torch.dtype, memory_format: torch.memory_format) -> tuple[Tensor, Tensor, Tensor]:
    """x, bias and the gradient of y."""
    shape, pool = LAYERS[layer], options_of(layer).pool
    generator = torch.Generator("cuda").manual_seed(0)
    outputs = (*shape[:2], pool.out_height, pool.out_width) if pool else shape
    maps = (torch.randn(s, generator=generator, device="cuda").mul(2).to(dtype) for s in (shape, outputs))
    x, grad_y = (tensor.contiguous(memory_format=memory_format) for tensor in maps)
    return x, torch.randn(shape[1], generator=generator, device="cuda").to(dtype), grad_y


def in_float64(x: Tensor, bias: Tensor, grad_y: Tensor, options: FusedOptions) -> tuple[Tensor, Tensor, Tensor]:
    """What torch gives: y and the gradients of x and bias."""
    x, bias = x.double().requires_grad_(), bias.double().requires_grad_()
    y = torch.relu(x + bias[:, None, None])
    if options.lrn is not None:
        lrn = options.lrn
        y = reference.local_response_norm(y, lrn.size, lrn.alpha, lrn.beta, lrn.k, lrn.groups)
    if options.pool is not None:
        y = torch.nn.functional.max_pool2d(y, options.pool.kernel_size, options.pool.stride)
    return y.detach(), *torch.autograd.grad(y, (x, bias), grad_y.double())


def assert_near(actual: Tensor | None, expected: Tensor, tolerance: float) -> None:
    assert actual is not None
    error = (actual.double() - expected).abs().max() / expected.abs().max()
    assert error.item() <= tolerance


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_agrees_with_float64_and_with_no_twin(case: Case, dtype: torch.dtype) -> None:
    actual = triton_cases.compute(on_a_gpu(case), dtype, "cuda")
    assert triton_cases.agrees(actual, triton_cases.expect(case, dtype), dtype)
    for twin in triton_cases.twins(case):
        assert not triton_cases.agrees(actual, triton_cases.expect(case, dtype, twin), dtype), twin


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_whole_layers(layer: str, memory_format: torch.memory_format, dtype: torch.dtype) -> None:
    from convspec_kernels import triton_kernels

    options = options_of(layer)
    x, bias, grad_y = inputs_of(layer, dtype, memory_format)
    y, argmax = triton_kernels.fused_forward(x, bias, options)
    grad_x, grad_bias = triton_kernels.fused_backward(grad_y, x, bias, argmax, options)
    expected_y, expected_x, expected_bias = in_float64(x, bias, grad_y, options)
    assert y.is_contiguous(memory_format=memory_format)
    assert_near(y, expected_y, TOLERANCES[dtype])
    # Among so many windows a few have two largest pixels that float32 cannot tell apart: their gradient may move.
    wrong = (grad_x.double() - expected_x).abs() > TOLERANCES[dtype] * expected_x.abs().max()
    assert wrong.double().mean().item() < 1e-4
    assert_near(grad_bias, expected_bias, max(TOLERANCES[dtype], 1e-3))


@pytest.mark.parametrize("relu", [False, True], ids=["no relu", "relu"])
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_not_a_number_wins_as_in_torch(memory_format: torch.memory_format, relu: bool) -> None:
    triton_cases.check_not_a_number("cuda", memory_format, relu=relu)


@pytest.mark.parametrize("number", [-0.0, -1.0, -torch.inf], ids=str)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_after_relu_nothing_is_below_zero(memory_format: torch.memory_format, number: float) -> None:
    """Zeros have no sign, in whose bits they would be less than what lies outside of the maps: the first pixel wins."""
    from convspec_kernels import triton_kernels

    x = torch.full((2, 8, 5, 5), number, device="cuda").contiguous(memory_format=memory_format)
    bias = torch.full((8,), -0.0, device="cuda")
    options = FusedOptions(relu_before=True, pool=Pool(3, 2, -1, 3, 3))
    y, argmax = triton_kernels.fused_forward(x, bias, options)
    assert torch.equal(y, torch.zeros_like(y))
    assert argmax is not None
    first = torch.tensor([[4, 3, 3], [1, 0, 0], [1, 0, 0]], dtype=torch.uint8)
    assert torch.equal(argmax.cpu(), first.expand(2, 8, 3, 3))


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_on_a_stream_of_its_own(memory_format: torch.memory_format) -> None:
    """Behind what the stream has still to do: the maps are there only when that is done."""
    from convspec_kernels import triton_kernels

    options = options_of("conv2")
    x, bias, _ = inputs_of("conv2", torch.float32, memory_format)
    expected, _ = triton_kernels.fused_forward(x, bias, options)
    late, stream = torch.zeros_like(x), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        late.copy_(x)
        y, _ = triton_kernels.fused_forward(late, bias, options)
    torch.cuda.synchronize()
    assert torch.equal(y, expected)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_a_hundred_launches_give_equal_bits(memory_format: torch.memory_format) -> None:
    from convspec_kernels import triton_kernels

    options = options_of("conv1")
    x, bias, grad_y = inputs_of("conv1", torch.bfloat16, memory_format)

    def both() -> list[Tensor | None]:
        y, argmax = triton_kernels.fused_forward(x, bias, options)
        return [y, argmax, *triton_kernels.fused_backward(grad_y, x, bias, argmax, options)]

    first = both()
    for _ in range(100):
        for a, b in zip(both(), first, strict=True):
            assert a is not None
            assert b is not None
            assert torch.equal(a, b)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_in_a_graph(memory_format: torch.memory_format) -> None:
    from convspec_kernels import triton_kernels

    options = options_of("conv2")
    x, bias, grad_y = inputs_of("conv2", torch.float16, memory_format)

    def both() -> tuple[Tensor, Tensor]:
        y, argmax = triton_kernels.fused_forward(x, bias, options)
        return y, triton_kernels.fused_backward(grad_y, x, bias, argmax, options)[0]

    both()  # compiles, which cannot be captured
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, grad_x = both()
    x.copy_(x.flip(0))
    graph.replay()
    for captured, eager in zip((y, grad_x), both(), strict=True):
        assert torch.equal(captured, eager)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(128, 4096), (16, 96, 13, 13)], ids=str)
def test_dropout_drops_what_the_cpu_drops(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    for seed in (3, 2**61 + 1):
        noise = Noise(torch.tensor(seed), 5)
        expected = dropout(x, 0.3, True, noise, "a", "b")
        for on_device in (noise, Noise(noise.seed.cuda(), 5)):
            leaf = x.cuda().requires_grad_()
            y = dropout(leaf, 0.3, True, on_device, "a", "b")
            assert torch.equal(y.cpu(), expected)
            assert torch.equal(torch.autograd.grad(y, leaf, leaf.detach())[0], y)


def test_dropout_in_a_graph_draws_anew() -> None:
    """By a seed on the device; and many seeds by number compile nothing anew."""
    from convspec_kernels.triton_dropout import dropout_kernel

    x, seed = torch.ones(64, 512, device="cuda"), torch.tensor(0, device="cuda")
    dropout(x, 0.5, True, Noise(seed), "a", "b")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = dropout(x, 0.5, True, Noise(seed), "a", "b")
    dropout(x, 0.5, True, Noise(torch.tensor(2**40)), "a", "b")
    variants = len(dropout_kernel.device_caches[torch.cuda.current_device()][0])
    for number in range(2**40, 2**40 + 20):
        seed.fill_(number)
        graph.replay()
        assert torch.equal(y, dropout(x, 0.5, True, Noise(torch.tensor(number)), "a", "b"))
    assert len(dropout_kernel.device_caches[torch.cuda.current_device()][0]) == variants


@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of torch
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_under_torch_compile(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from convspec_kernels.operators import fused

    monkeypatch.setenv("CONVSPEC_KERNELS", "triton")
    options = options_of("conv1")
    x, bias, grad_y = inputs_of("conv1", torch.float32, torch.channels_last)

    def model(x: Tensor, bias: Tensor) -> Tensor:
        return fused(x * 2, bias, options).sin()

    compiled = torch.compile(model, fullgraph=True, mode=mode)
    for _ in range(3):  # a graph is captured in the second call and replayed in the third
        a, b = (tensor.clone().requires_grad_() for tensor in (x, bias))
        expected, y = model(a, b), compiled(a, b)
        torch.testing.assert_close(y, expected)
        for left, right in zip(*(torch.autograd.grad(out, (a, b), grad_y) for out in (y, expected)), strict=True):
            torch.testing.assert_close(left, right)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_maps_of_more_than_two_billion_elements(memory_format: torch.memory_format) -> None:
    from convspec_kernels import triton_kernels

    shape, options = (24_000, 96, 31, 31), FusedOptions(True, False, LRN(5, 0.5, 0.75, 2.0, 2), Pool(3, 2, 0, 15, 15))
    if torch.cuda.mem_get_info()[0] < 20 * 2**30:
        pytest.skip("less than 20 GiB are free")
    x = torch.zeros(shape, dtype=torch.float16, device="cuda").contiguous(memory_format=memory_format)
    x[-2:].normal_(std=2.0, generator=torch.Generator("cuda").manual_seed(0))
    y, argmax = triton_kernels.fused_forward(x, None, options)
    assert argmax is not None
    grad_x, _ = triton_kernels.fused_backward(y, x, None, argmax, options)
    last_y, last_argmax = triton_kernels.fused_forward(x[-2:], None, options)
    last_x, _ = triton_kernels.fused_backward(last_y, x[-2:], None, last_argmax, options)
    assert torch.equal(y[-2:], last_y)
    assert torch.equal(grad_x[-2:], last_x)
    assert not y[:-2].any()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("whole_mean", [False, True], ids=["mean colour", "mean image"])
@pytest.mark.parametrize("shape", [*triton_cases.AUGMENTED.values(), (17, 256, 256, 227), (8, 256, 256, 224)], ids=str)
def test_augment(shape: tuple[int, int, int, int], dtype: torch.dtype, whole_mean: bool) -> None:
    triton_cases.check_augment(*shape, dtype, "cuda", whole_mean=whole_mean)


def pictures_of(cases: int) -> tuple[Tensor, ...]:
    """For crops of 224 of pictures of 256: the pictures, offsets, mirrors, colours, a mean picture."""
    generator = torch.Generator("cuda").manual_seed(0)
    return (
        torch.randint(0, 256, (cases, 256, 256, 3), dtype=torch.uint8, device="cuda", generator=generator),
        torch.randint(0, 33, (cases, 2), dtype=torch.int32, device="cuda", generator=generator),
        torch.rand(cases, device="cuda", generator=generator) < 0.5,
        torch.randn(cases, 3, device="cuda", generator=generator) * 10,
        torch.rand(224, 224, 3, device="cuda", generator=generator) * 255,
    )


def test_augment_of_more_than_two_billion_elements() -> None:
    if torch.cuda.mem_get_info()[0] < 12 * 2**30:
        pytest.skip("less than 12 GiB are free")
    *given, mean = pictures_of(14_500)
    y = augment(*given, mean, size=224, dtype=torch.bfloat16)
    assert y.numel() > 2**31
    images, offsets, mirrors, colours = (tensor[-3:] for tensor in given)
    expected = augmented(images, offsets, mirrors, colours, mean, 224, 1.0)
    torch.testing.assert_close(y[-3:].float(), expected, rtol=8e-3, atol=1e-4)


def test_augment_in_a_graph() -> None:
    """A captured batch follows what is written over its pictures, offsets and mirrors."""
    given = pictures_of(16)
    y = augment(*given, size=224)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        augment(*given, size=224, out=y)
    for tensor in given[:4]:
        tensor.copy_(tensor.flip(0))
    graph.replay()
    assert torch.equal(y, augment(*given, size=224))
