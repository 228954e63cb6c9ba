"""Random numbers of layers, as functions of the step, the layer, the case and the unit: whoever computes a layer, alone,
merged with others or on one of several devices, with all cases of a minibatch or some, draws the same.

A sequential generator would tie a mask to what was drawn before it. Here each (step, layer, case) is the start of a
SplitMix64 sequence (Steele, Lea and Flood 2014), which gives 64 bits for each unit of the case: one hash a number, in
int64 operators of torch, on any device. The step comes in by one number from torch's generator for the CPU, which
`torch.manual_seed` sets and checkpoints hold. It stays on the CPU, as a scalar argument of what devices compute, so
that no device is waited for; or a caller puts it on the device, for a recorded step that is to draw anew each time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convspec_kernels import dispatch
from convspec_kernels.layout import memory_format
from convspec_kernels.library import LIBRARY, define, qualified


class Noise(NamedTuple):
    """What the random numbers of one pass are functions of.

    seed: () int64, on the CPU or where it is used; every step has another, every device the same.
    first_case: which case of the whole minibatch the first one of the pass is.
    """

    seed: Tensor
    first_case: int = 0

    @staticmethod
    def draw(wanted: bool = True) -> Noise | None:
        """Of a new step, from torch's generator for the CPU; None where none is wanted."""
        return Noise(torch.ops.convspec_kernels.draw_seed()) if wanted else None

    def from_case(self, first: int) -> Noise:
        """Of the same step, for cases of which the first is case `first` of this one's."""
        return Noise(self.seed, self.first_case + first)


def dropout(x: Tensor, p: float, training: bool, noise: Noise | None, *layers: str) -> Tensor:
    """Set units to zero with probability `p` and divide the others by `1 - p`; at test, nothing.

    Args:
        x: (N, C) or (N, C, ...), floating-point.
        p: in [0, 1].
        training: whether to drop any.
        noise: of this step; may be None where nothing is dropped.
        layers: names, one or several. Of several, each has an equal run of the channels, and drops in it what it would
            drop alone.

    Returns:
        x itself at test or where p is 0, else a tensor of its shape, type and memory format.

    Raises:
        ValueError: p is not in [0, 1], noise is missing, or the channels cannot be parted among the layers.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must be in [0, 1], not {p}")
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0
    seed, first_case = _checked(x, noise, layers)
    if dispatch.drops_in_one(x.device.type, x.dtype):
        y: Tensor = torch.ops.convspec_kernels.dropout(x, seed, first_case, layers, p)
        return y
    kept = _bits(x, seed, first_case, "dropout", layers) < bound_of(p)
    return x * kept.to(x.dtype).div_(1 - p)


def bound_of(p: float) -> int:
    """Of 2**64 equally likely int64 numbers, those below this one keep a unit."""
    return min(round((1 - p) * 2**64) - 2**63, 2**63 - 1)


def factor_of(p: float, dtype: torch.dtype) -> float:
    """What a unit that is kept is multiplied by, as `dtype` has it."""
    return torch.ones((), dtype=dtype).div_(1 - p).item()


def normal_like(x: Tensor, noise: Noise | None, *layers: str) -> Tensor:
    """Numbers from N(0, 1), one for each unit, by the transform of Box and Muller in float64.

    Args:
        x: (N, C) or (N, C, ...), floating-point.
        noise: of this step.
        layers: as of `dropout`.

    Returns:
        A tensor of x's shape, type and memory format, without a gradient.

    Raises:
        ValueError: noise is missing, or the channels cannot be parted among the layers.
    """
    bits = _bits(x, *_checked(x, noise, layers), "normal", layers)
    first = (((bits >> 32) & _LOW_32).to(torch.float64) + 0.5) * 2.0**-32
    second = (bits & _LOW_32).to(torch.float64) * 2.0**-32
    return (torch.sqrt(-2 * torch.log(first)) * torch.cos(2 * math.pi * second)).to(x.dtype)


def present(noise: Noise | None) -> Noise:
    """Raises ValueError where it is None."""
    if noise is None:
        raise ValueError("noise is missing: take Noise.draw() at each step")
    return noise


def uniforms(noise: Noise, layer: str, count: int) -> tuple[float, ...]:
    """Numbers from [0, 1) for a layer and step, whatever the cases, on the host."""
    state = _mixed_integer((int(noise.seed) ^ stream_of("uniform", layer)) & _MASK)
    return tuple((_mixed_integer((state + i * _GAMMA) & _MASK) >> 11) * 2.0**-53 for i in range(1, count + 1))


_LOW_32 = (1 << 32) - 1
_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
"""Shift and factor of each round of SplitMix64's finaliser."""


def _checked(x: Tensor, noise: Noise | None, layers: tuple[str, ...]) -> Noise:
    """The noise, once it is known that it is there and that each layer has its channels."""
    if x.ndim < 2 or not layers or x.shape[1] % len(layers):
        raise ValueError(f"a tensor of shape {tuple(x.shape)} has no channels for {len(layers)} layers each")
    return present(noise)


def _bits(x: Tensor, seed: Tensor, first_case: int, use: str, layers: tuple[str, ...]) -> Tensor:
    """64 random bits for each unit, int64 of x's shape and memory format."""
    with torch.no_grad():
        cases = torch.arange(first_case, first_case + x.shape[0], device=x.device)
        starts = [_mixed(_mixed(seed ^ stream_of(use, layer)) + cases * _signed(_GAMMA)) for layer in layers]
        units = torch.arange(1, math.prod(x.shape[1:]) // len(layers) + 1, device=x.device) * _signed(_GAMMA)
        bits = _mixed(torch.stack(starts, 1)[:, :, None] + units).view(x.shape)
        return bits.contiguous(memory_format=memory_format(x)) if x.ndim == 4 else bits


def _mixed(z: Tensor) -> Tensor:
    """The finaliser of SplitMix64 over int64, whose products wrap around; `z` may be written over."""
    for shift, factor in _ROUNDS:
        high = z >> shift
        high &= (1 << (64 - shift)) - 1  # as if z had no sign
        z = high.bitwise_xor_(z)
        if factor != 1:
            z *= _signed(factor)
    return z


def _mixed_integer(z: int) -> int:
    for shift, factor in _ROUNDS:
        z = ((z ^ (z >> shift)) * factor) & _MASK
    return z


def _signed(bits: int) -> int:
    """The int64 of the same bits."""
    return bits - (1 << 64) if bits >> 63 else bits


def stream_of(use: str, layer: str) -> int:
    """The int64 by which one use of random numbers in one layer is told from all others, in every process alike: FNV-1a
    over the names, which torch's compiler can follow, as it cannot follow a library's hash."""
    state = 0xCBF29CE484222325
    for byte in list(
        f"{use} {layer}".encode(errors="surrogatepass")
    ):  # torch 2.11 cannot follow what bytes give in turn
        state = ((state ^ byte) * 0x100000001B3) & _MASK
    return _signed(_mixed_integer(state))


def _draw_seed() -> Tensor:
    return torch.randint(2**62, ())


def _drop(x: Tensor, seed: Tensor, first_case: int, layers: Sequence[str], p: float) -> Tensor:
    from convspec_kernels import triton_dropout

    return triton_dropout.dropout(x, seed, first_case, layers, p)


def empty_result(x: Tensor) -> Tensor:
    """Memory for what the operator gives."""
    return torch.empty_like(x, memory_format=memory_format(x) if x.ndim == 4 else torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, int, list[str], float], output: Tensor) -> None:
    _, seed, *ctx.rest = inputs
    ctx.save_for_backward(seed)


def _differentiate(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
    """The units that were kept, times the same factor: the operator again."""
    [seed] = ctx.saved_tensors
    return torch.ops.convspec_kernels.dropout(grad_y, seed, *ctx.rest), None, None, None, None


# An operator, so that compiled functions draw from torch's generator as others do.
define(
    "draw_seed() -> Tensor",
    _draw_seed,
    lambda: torch.empty((), dtype=torch.int64),
    torch.Tag.nondeterministic_seeded,
)
define(
    "dropout(Tensor x, Tensor seed, int first_case, str[] layers, float p) -> Tensor",
    _drop,
    lambda x, *_: empty_result(x),
)
torch.library.register_autograd(qualified("dropout"), _differentiate, setup_context=_keep, lib=LIBRARY)
