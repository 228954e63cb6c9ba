"""Cases for the Triton kernels, what they must give in NumPy's float64, and twins that are wrong on purpose.

The same cases run in Triton's interpreter (`triton_interpreted.py`) and on a GPU (`test_triton_gpu.py`). Imports no
Triton before a case runs. The inputs make the normaliser matter: alpha is 0.5, not 1e-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convspec_kernels.options import LRN, FusedOptions, Pool
from convspec_kernels.reference import augmented
from convspec_kernels.triton_configs import Climb, Config, Configuration, Walk
from tests.kernels import loops

Results = dict[str, NDArray[np.float64]]
TOLERANCES = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}


class Twin(Enum):
    """What is wrong with the expectation."""

    RIGHT = "right"
    NO_WINDOW = "each channel sees itself alone"
    OFF_BY_ONE = "the window lies one channel further up"
    NO_BORDER = "the window crosses from tower to tower"
    LOSER = "the last of equal pixels gets the gradient"


NORM = LRN(5, 0.5, 0.75, 2.0)
TILE = Config(128, 16)


@dataclass(frozen=True)
class Case:
    """`shape` is (N, C, H, W). `tied`: each pixel is repeated twice along both axes, so that windows hold equal ones.

    `view`: the maps are a slice of the channels of larger maps, and the gradient a transposed tensor. `config` is a tile,
    a walk or a climb; without one, what is chosen for the shape. `wide`: offsets of 64 bits, which only tiles may lack.
    """

    name: str
    shape: tuple[int, int, int, int] = (2, 12, 7, 6)
    lrn: LRN | None = NORM
    pool: tuple[int, int, int] | None = (3, 2, 0)
    """Kernel size, stride, start."""
    relu_before: bool = True
    relu_after: bool = False
    bias: bool = True
    channels_last: bool = True
    config: Configuration | None = TILE
    tied: bool = False
    view: bool = False
    wide: bool = False

    @property
    def options(self) -> FusedOptions:
        if self.pool is None:
            return FusedOptions(self.relu_before, self.relu_after, self.lrn, None)
        height, width = (ceil((n - self.pool[2] - self.pool[0]) / self.pool[1]) + 1 for n in self.shape[2:])
        return FusedOptions(self.relu_before, self.relu_after, self.lrn, Pool(*self.pool, height, width))


CASES = [
    Case("alexnet", lrn=LRN(5, 0.5, 0.75, 2.0, groups=2), config=Config(128, 8)),
    Case("alexnet-nchw", lrn=LRN(5, 0.5, 0.75, 2.0, groups=2), config=Config(128, 8), channels_last=False),
    Case("48-channels", (1, 48, 5, 5), config=Config(32, 64)),
    Case("48-channels-nchw", (1, 48, 5, 5), config=Config(32, 64), channels_last=False),
    Case("even-window", (1, 11, 5, 6), LRN(4, 0.5, 0.5, 1.0), relu_before=False),
    Case("even-window-nchw", (1, 11, 5, 6), LRN(4, 0.5, 0.5, 1.0), relu_before=False, channels_last=False),
    Case("window-of-one", (1, 5, 5, 5), LRN(1, 0.5, 1.0, 1.0), (2, 2, 0)),
    Case("fewer-channels-than-window", (1, 3, 6, 5), LRN(5, 0.5, 1.0, 1.0), (3, 3, 0), config=Config(64, 8)),
    Case("any-power", (1, 5, 5, 5), LRN(3, 0.5, 0.6, 2.0), relu_before=False, relu_after=True),
    Case("no-constant", (1, 9, 5, 5), LRN(3, 0.5, 0.75, 0.0), relu_before=False, bias=False),
    Case("wide-window", (1, 24, 3, 4), LRN(19, 0.5, 0.75, 1.0), config=Config(32, 32)),
    Case("window-beyond-a-run", (1, 24, 3, 4), LRN(11, 0.5, 0.75, 1.0), config=Config(32, 32)),
    Case("parts-of-a-group", (1, 80, 4, 4), LRN(5, 0.5, 0.75, 1.0, groups=2), config=Config(32, 32)),
    Case("parts-of-a-group-nchw", (1, 40, 4, 4), config=Config(32, 32), channels_last=False),
    Case("starts-before", pool=(3, 2, -1), shape=(1, 5, 7, 6)),
    Case("starts-after", pool=(3, 2, 1), shape=(1, 5, 8, 6)),
    Case("windows-apart", pool=(2, 3, 0), shape=(1, 5, 8, 7)),
    Case("windows-of-every-pixel", pool=(3, 1, -1), shape=(1, 5, 4, 5)),
    Case("pool-alone", (1, 5, 6, 7), None, relu_before=False, bias=False),
    Case("norm-alone", (1, 5, 3, 4), pool=None, relu_before=False, bias=False),
    Case("norm-then-relu", (1, 5, 3, 4), pool=None, relu_before=False, relu_after=True),
    Case("bias-and-relu", (1, 5, 3, 4), None, None),
    Case("ties", (1, 3, 4, 4), tied=True, config=Config(64, 8)),
    Case("ties-nchw", (1, 3, 4, 4), None, tied=True, channels_last=False, relu_before=False),
    Case("rounds", (2, 5, 7, 6), config=Config(16, 8, rounds=3)),
    Case("view", (1, 5, 5, 4), view=True),
    Case("wide-offsets", (2, 5, 5, 4), wide=True),
    Case("lanes", (2, 12, 7, 6), LRN(5, 0.5, 0.75, 2.0, groups=2), config=Walk(2, 2, 1)),
    Case("lanes-48-channels", (2, 48, 5, 7), config=Walk(3, 1, 1)),
    Case("lanes-chosen", (1, 32, 9, 9), LRN(5, 0.5, 0.75, 2.0, groups=2), config=None),
    Case("lanes-in-warps", (2, 16, 7, 7), config=Walk(1, 3, 2)),
    Case("lanes-even-window", (1, 11, 5, 6), LRN(4, 0.5, 0.5, 1.0), relu_before=False, config=Walk(2, 1, 1)),
    Case("lanes-window-of-one", (1, 5, 5, 5), LRN(1, 0.5, 1.0, 1.0), (2, 2, 0), config=Walk(1, 2, 1)),
    Case("lanes-fewer-channels", (1, 3, 6, 5), LRN(5, 0.5, 1.0, 1.0), (3, 3, 0), config=Walk(1, 1, 1)),
    Case(
        "lanes-any-power", (1, 5, 5, 5), LRN(3, 0.5, 0.6, 2.0), relu_before=False, relu_after=True, config=Walk(1, 2, 1)
    ),
    Case("lanes-no-constant", (1, 9, 5, 5), LRN(3, 0.5, 0.75, 0.0), relu_before=False, config=Walk(2, 2, 1)),
    Case("lanes-window-of-runs", (1, 24, 3, 4), LRN(9, 0.5, 0.75, 1.0), config=Walk(1, 1, 1)),
    Case("lanes-parts-of-a-group", (1, 136, 3, 3), config=Walk(1, 1, 1)),
    Case("lanes-parts-of-groups", (1, 278, 3, 4), LRN(5, 0.5, 0.75, 1.0, groups=2), (2, 2, 0), config=Walk(2, 1, 1)),
    Case("lanes-start-before", pool=(3, 2, -1), shape=(1, 5, 7, 6), config=Walk(2, 2, 1)),
    Case("lanes-start-after", pool=(3, 2, 1), shape=(1, 5, 8, 6), config=Walk(1, 2, 1)),
    Case("lanes-apart", pool=(2, 3, 0), shape=(1, 5, 8, 7), config=Walk(2, 2, 1)),
    Case("lanes-of-every-pixel", pool=(3, 1, -1), shape=(1, 5, 4, 5), config=Walk(2, 3, 1)),
    Case("lanes-three-rows-carried", pool=(4, 1, 0), shape=(1, 4, 6, 5), config=Walk(1, 2, 1)),
    Case("lanes-pool-alone", (1, 5, 6, 7), None, relu_before=False, bias=False, config=Walk(3, 2, 1)),
    Case("lanes-norm-alone", (1, 5, 3, 4), pool=None, relu_before=False, bias=False, config=Walk(3, 2, 1)),
    Case("lanes-norm-then-relu", (1, 8, 3, 4), pool=None, relu_before=False, relu_after=True, config=Walk(4, 3, 1)),
    Case("lanes-bias-and-relu", (1, 5, 3, 4), None, None, config=Walk(4, 1, 1)),
    Case("lanes-ties", (1, 4, 8, 8), tied=True, config=Walk(2, 2, 1)),
    Case("lanes-ties-at-edges", (1, 3, 6, 6), None, (3, 2, -1), tied=True, relu_before=False, config=Walk(1, 2, 1)),
    Case("lanes-view", (1, 5, 5, 4), view=True, config=Walk(2, 1, 1)),
    Case("planes", (2, 8, 7, 6), LRN(5, 0.5, 0.75, 2.0, groups=2), channels_last=False, config=Climb(2, 3)),
    Case("planes-in-warps", (1, 4, 5, 37), LRN(3, 0.5, 0.75, 2.0), channels_last=False, config=Climb(1, 2, 2)),
    Case("planes-chosen", (1, 6, 5, 5), LRN(5, 0.5, 0.75, 2.0, groups=2), channels_last=False, config=None),
    Case(
        "planes-even-window",
        (1, 7, 5, 6),
        LRN(4, 0.5, 0.5, 1.0),
        relu_before=False,
        channels_last=False,
        config=Climb(1, 3),
    ),
    Case(
        "planes-window-of-one", (1, 5, 5, 5), LRN(1, 0.5, 1.0, 1.0), (2, 2, 0), channels_last=False, config=Climb(2, 5)
    ),
    Case(
        "planes-fewer-channels", (1, 3, 6, 5), LRN(5, 0.5, 1.0, 1.0), (3, 3, 0), channels_last=False, config=Climb(1, 3)
    ),
    Case(
        "planes-any-power",
        (1, 5, 5, 5),
        LRN(3, 0.5, 0.6, 2.0),
        relu_before=False,
        relu_after=True,
        channels_last=False,
        config=Climb(1, 5),
    ),
    Case(
        "planes-no-constant",
        (1, 6, 5, 5),
        LRN(3, 0.5, 0.75, 0.0),
        relu_before=False,
        channels_last=False,
        config=Climb(1, 4),
    ),
    Case("planes-wide-window", (1, 11, 3, 4), LRN(9, 0.5, 0.75, 1.0), channels_last=False, config=Climb(1, 11)),
    Case("planes-start-before", pool=(3, 2, -1), shape=(1, 4, 7, 6), channels_last=False, config=Climb(2, 4)),
    Case("planes-start-after", pool=(3, 2, 1), shape=(1, 4, 8, 6), channels_last=False, config=Climb(2, 4)),
    Case("planes-apart", pool=(2, 3, 0), shape=(1, 4, 8, 7), channels_last=False, config=Climb(2, 4)),
    Case("planes-of-every-pixel", pool=(3, 1, -1), shape=(1, 4, 4, 5), channels_last=False, config=Climb(2, 4)),
    Case("planes-of-four", pool=(4, 1, 0), shape=(1, 3, 6, 5), channels_last=False, config=Climb(1, 3)),
    Case(
        "planes-pool-alone", (1, 3, 6, 7), None, relu_before=False, bias=False, channels_last=False, config=Climb(2, 2)
    ),
    Case(
        "planes-norm-alone",
        (1, 5, 3, 4),
        pool=None,
        relu_before=False,
        bias=False,
        channels_last=False,
        config=Climb(2, 5),
    ),
    Case(
        "planes-norm-then-relu",
        (1, 5, 3, 4),
        pool=None,
        relu_before=False,
        relu_after=True,
        channels_last=False,
        config=Climb(3, 5),
    ),
    Case("planes-bias-and-relu", (1, 5, 3, 4), None, None, channels_last=False, config=Climb(1, 5)),
    Case("planes-ties", (1, 4, 8, 8), tied=True, channels_last=False, config=Climb(2, 4)),
    Case(
        "planes-ties-at-edges",
        (1, 3, 6, 6),
        None,
        (3, 2, -1),
        tied=True,
        relu_before=False,
        channels_last=False,
        config=Climb(1, 3),
    ),
    Case("planes-view", (1, 4, 5, 4), view=True, channels_last=False, config=Climb(2, 3)),
]


@dataclass(frozen=True)
class Inputs:
    """Rounded to the type that the kernels see, on the CPU, in float64."""

    x: NDArray[np.float64]
    bias: NDArray[np.float64]
    gradient: NDArray[np.float64]

    @classmethod
    def of(cls, case: Case, dtype: torch.dtype) -> Inputs:
        rng = np.random.default_rng(len(case.name))
        x = rng.normal(size=case.shape) * 2
        if case.tied:
            x = x[:, :, ::2, ::2].repeat(2, axis=2).repeat(2, axis=3)
        pool = case.options.pool
        outputs = (*case.shape[:2], *((pool.out_height, pool.out_width) if pool else case.shape[2:]))
        arrays = (x, rng.normal(size=case.shape[1]), rng.normal(size=outputs))
        return cls(*(torch.from_numpy(array).to(dtype).double().numpy() for array in arrays))


def compute(case: Case, dtype: torch.dtype, device: str) -> Results:
    """What the kernels give, into outputs full of NaN."""
    from convspec_kernels import triton_kernels

    inputs, options = Inputs.of(case, dtype), case.options
    x, grad_y = _tensor(inputs.x, case, dtype, device), _tensor(inputs.gradient, case, dtype, device)
    bias = torch.from_numpy(inputs.bias).to(device, dtype) if case.bias else None
    y, argmax = triton_kernels.empty_outputs(x, options)
    y.fill_(torch.nan)
    if argmax is not None:
        argmax.fill_(255)
    forward = triton_kernels.forward_launch(x, bias, y, argmax, options, case.config)
    grad_x = torch.full_like(x, torch.nan)
    backward = triton_kernels.backward_launch(grad_y, x, bias, argmax, grad_x, options, case.config)
    partial = backward.arguments["grad_bias"]
    if isinstance(partial, Tensor):
        partial.fill_(torch.nan)
    for launch in (forward, backward):
        if case.wide:
            launch.constants["WIDE"] = True
        launch.run()
    results = {"y": y, "grad_x": grad_x}
    if argmax is not None:
        results["argmax"] = argmax
    if isinstance(partial, Tensor):
        results["grad_bias"] = partial.sum(0)
    return {name: tensor.cpu().double().numpy() for name, tensor in results.items()}


def _tensor(array: NDArray[np.float64], case: Case, dtype: torch.dtype, device: str) -> Tensor:
    memory_format = torch.channels_last if case.channels_last else torch.contiguous_format
    tensor = torch.from_numpy(array).to(device, dtype)
    if not case.view:
        return tensor.contiguous(memory_format=memory_format)
    room = torch.full((tensor.shape[0], tensor.shape[1] + 3, *tensor.shape[2:]), torch.nan, dtype=dtype, device=device)
    room = room.contiguous(memory_format=memory_format)
    room[:, 2:-1] = tensor
    return room[:, 2:-1]


def expect(case: Case, dtype: torch.dtype, twin: Twin = Twin.RIGHT) -> Results:
    """The same in float64, and wrong as `twin` says."""
    inputs, options = Inputs.of(case, dtype), case.options
    maps = inputs.x + inputs.bias[:, None, None] * case.bias
    a = np.maximum(maps, 0) if case.relu_before else maps
    normed = a if case.lrn is None else _normalised(a, case.lrn, twin)
    pooled, taps, routes = _pooled(normed, options.pool, twin)
    results = {"y": np.maximum(pooled, 0) if case.relu_after else pooled}
    if case.pool is not None:
        results["argmax"] = taps
    gradient = np.zeros_like(a)
    np.add.at(gradient, routes, inputs.gradient * (pooled > 0 if case.relu_after else 1))
    if case.lrn is not None:
        gradient = _normalised_gradient(a, gradient, case.lrn, twin)
    results["grad_x"] = gradient * (maps > 0) if case.relu_before else gradient
    if case.bias:
        results["grad_bias"] = results["grad_x"].sum(axis=(0, 2, 3))
    return results


def agrees(actual: Results, expected: Results, dtype: torch.dtype) -> bool:
    """Whether all results are the expected ones; the argmax exactly, the sum of a bias's gradient as closely as float32."""
    assert actual.keys() == expected.keys()
    tolerances = {"argmax": 0.0, "grad_bias": TOLERANCES[torch.float32]}
    return all(loops.agrees(actual[name], expected[name], tolerances.get(name, TOLERANCES[dtype])) for name in expected)


def twins(case: Case) -> list[Twin]:
    """The twins that differ from what is right in this case."""
    wrong = []
    if case.lrn is not None and case.lrn.size > 1:
        wrong.append(Twin.NO_WINDOW)
    if case.lrn is not None and case.lrn.size < case.shape[1]:
        wrong.append(Twin.OFF_BY_ONE)
    if case.lrn is not None and case.lrn.groups > 1:
        wrong.append(Twin.NO_BORDER)
    if case.tied:
        wrong.append(Twin.LOSER)
    return wrong


def _window(channels: int, lrn: LRN, twin: Twin) -> NDArray[np.float64]:
    """(C, C): 1 where channel f (row) sees channel g (column)."""
    f, g = np.ogrid[:channels, :channels]
    first = f - lrn.size // 2 + (twin is Twin.OFF_BY_ONE)
    group = channels // (1 if twin is Twin.NO_BORDER else lrn.groups)
    seen = (g >= first) & (g < first + lrn.size) & (f // group == g // group)
    return np.eye(channels) if twin is Twin.NO_WINDOW else seen.astype(np.float64)


def _denominators(a: loops.Maps, lrn: LRN, twin: Twin) -> loops.Maps:
    energy = np.einsum("fg,nghw->nfhw", _window(a.shape[1], lrn, twin), a**2)
    return lrn.k + lrn.alpha / lrn.size * energy


def _normalised(a: loops.Maps, lrn: LRN, twin: Twin) -> loops.Maps:
    return a * _denominators(a, lrn, twin) ** -lrn.beta


def _normalised_gradient(a: loops.Maps, gradient: loops.Maps, lrn: LRN, twin: Twin) -> loops.Maps:
    d = _denominators(a, lrn, twin)
    spread = np.einsum("fg,nfhw->nghw", _window(a.shape[1], lrn, twin), gradient * a * d ** (-lrn.beta - 1))
    return gradient * d**-lrn.beta - 2 * lrn.alpha / lrn.size * lrn.beta * a * spread


def _pooled(
    maps: loops.Maps, pool: Pool | None, twin: Twin
) -> tuple[loops.Maps, loops.Maps, tuple[NDArray[np.intp], ...]]:
    """The largest pixels, the taps that they are in whole windows, and their indices into `maps`."""
    if pool is None:
        return maps, np.zeros_like(maps), tuple(np.indices(maps.shape))
    y = np.empty((*maps.shape[:2], pool.out_height, pool.out_width))
    taps, routes = np.empty_like(y), np.indices(y.shape)
    for n, c, i, j in np.ndindex(y.shape):
        top, left = pool.start + i * pool.stride, pool.start + j * pool.stride
        rows = range(max(top, 0), min(top + pool.kernel_size, maps.shape[2]))
        columns = range(max(left, 0), min(left + pool.kernel_size, maps.shape[3]))
        pixels = [(row, column) for row in rows for column in columns]
        row, column = max(reversed(pixels) if twin is Twin.LOSER else pixels, key=lambda at: maps[n, c, *at])
        y[n, c, i, j] = maps[n, c, row, column]
        taps[n, c, i, j] = (row - top) * pool.kernel_size + column - left
        routes[2:, n, c, i, j] = row, column
    return y, taps, tuple(routes)


def check_not_a_number(device: str, memory_format: torch.memory_format, *, relu: bool) -> None:
    """NaN wins its windows, and of infinite and other equal pixels the first does."""
    from convspec_kernels import triton_kernels

    x = torch.arange(-8.0, 24.0, device=device).reshape(1, 2, 4, 4).contiguous(memory_format=memory_format)
    x[0, 0, 1, 2], x[0, 1] = torch.nan, -torch.inf
    y, argmax = triton_kernels.fused_forward(x, None, FusedOptions(relu_before=relu, pool=Pool(3, 1, 0, 2, 2)))
    expected, places = torch.nn.functional.max_pool2d(x.relu() if relu else x, 3, 1, return_indices=True)
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)
    assert argmax is not None
    corners = torch.tensor([[0, 1], [4, 5]])
    taps = torch.tensor([0, 1, 2, 4, 5, 6, 8, 9, 10])[argmax.cpu().long()] + corners
    assert torch.equal(taps, places.cpu())


AUGMENTED = {
    "one picture": (1, 9, 7, 5),
    "the whole picture": (2, 6, 6, 6),
    "single pixels": (3, 1, 4, 1),
    "whole stores": (5, 20, 18, 16),
    "several runs": (3, 20, 24, 13),
    "eight and one": (9, 5, 8, 3),
}
"""Pictures, their height and width, the size of crops."""


def check_augment(
    cases: int,
    height: int,
    width: int,
    size: int,
    dtype: torch.dtype,
    device: str,
    *,
    whole_mean: bool,
    block: int | None = None,
) -> None:
    """Crops at both ends and beyond, with and without mirrors, against the reference and wrong ones, into a result full of
    NaN; beside it nothing is written. The tensors begin in the midst of others, and pictures at odd bytes."""
    from convspec_kernels import triton_augment

    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (cases + 1, height, width, 3), dtype=np.uint8)).to(device)[1:]
    offsets = torch.from_numpy(rng.integers(-2, max(height, width) - size + 3, (cases, 2), dtype=np.int32)).to(device)
    mirrors = torch.arange(cases, device=device) % 2 == 0
    colours = torch.from_numpy(rng.normal(size=(cases, 3))).float().to(device) * 10
    mean = torch.from_numpy(rng.uniform(0, 255, size=(size, size, 3) if whole_mean else 3)).float().to(device)
    room = torch.full((cases + 2, size, size, 3), torch.nan, dtype=dtype, device=device)
    y = room[1:-1]
    block = block or triton_augment.BLOCK
    triton_augment.augment_launch(images, offsets, mirrors, colours, mean, y, 0.5, block).run()
    assert room[0].isnan().all()
    assert room[-1].isnan().all()
    given = {"images": images, "offsets": offsets, "mirrors": mirrors, "colours": colours, "mean": mean}

    def near(**wrong: Tensor) -> bool:
        expected = augmented(**(given | wrong), size=size, scale=0.5).to(dtype)
        tolerance = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype]
        return torch.allclose(y.permute(0, 3, 1, 2), expected, rtol=tolerance, atol=1e-4)

    assert near()
    assert not near(mean=mean.flip(-1))
    assert not near(colours=colours.flip(1))
    assert size == 1 or not near(mirrors=~mirrors)
    assert height == size or not near(offsets=(height - size) // 2 - offsets)
