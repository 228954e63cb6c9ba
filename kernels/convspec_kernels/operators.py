"""The fused operator as torch sees it: `convspec_kernels::bias_act_lrn_max_pool2d` and its gradient.

Opaque to `torch.compile` and `torch.export`, with its shapes, strides and gradient known; what computes it is chosen
when it runs (`dispatch`). Schemas have no optional results: a missing argmax or gradient of a bias is an empty tensor,
as a size of 0 is a missing LRN or pool. Most numbers come in lists, for each argument more takes torch microseconds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from convspec_kernels import dispatch
from convspec_kernels.layout import argmax_format, memory_format, result_shape
from convspec_kernels.library import LIBRARY, define, qualified
from convspec_kernels.options import LRN, FusedOptions, Pool, Ties

_NAME = "bias_act_lrn_max_pool2d"
_NUMBERS = (
    "bool relu_before, bool relu_after, bool all_ties, int[] sizes, float[] constants, "
    "SymInt out_height, SymInt out_width"
)
Numbers = tuple[bool, bool, bool, list[int], list[float], int, int]
"""sizes: size, groups, kernel_size, stride, start. constants: alpha, beta, k."""


def fused(x: Tensor, bias: Tensor | None, options: FusedOptions) -> Tensor:
    """Call the operator."""
    y: Tensor
    if _is_transformed(x, bias):
        y, _ = _Forward.apply(x, bias, numbers(options))  # type: ignore[no-untyped-call]
    else:
        y, _ = forward(x, bias, *numbers(options))
    return y


def numbers(options: FusedOptions) -> Numbers:
    """The options as the operators take them, behind the tensors."""
    lrn, pool = options.lrn or LRN(0, 0.0, 0.0, 0.0), options.pool or Pool(0, 1, 0, 0, 0)
    sizes = [lrn.size, lrn.groups, pool.kernel_size, pool.stride, pool.start]
    flags = options.relu_before, options.relu_after, pool.ties is Ties.ALL
    return *flags, sizes, [lrn.alpha, lrn.beta, lrn.k], pool.out_height, pool.out_width


def _options(
    relu_before: bool,
    relu_after: bool,
    all_ties: bool,
    sizes: list[int],
    constants: list[float],
    out_height: int,
    out_width: int,
) -> FusedOptions:
    size, groups, kernel_size, stride, start = sizes
    alpha, beta, k = constants
    lrn = LRN(size, alpha, beta, k, groups) if size else None
    ties = Ties.ALL if all_ties else Ties.FIRST
    pool = Pool(kernel_size, stride, start, out_height, out_width, ties) if kernel_size else None
    return FusedOptions(relu_before, relu_after, lrn, pool)


def _forward(x: Tensor, bias: Tensor | None, *numbers: Any) -> tuple[Tensor, Tensor]:
    options = _options(*numbers)
    y, argmax = dispatch.choose(x, options).fused_forward(x, bias, options)
    return y, _present(argmax, x, torch.uint8)


def _forward_of_fakes(x: Tensor, bias: Tensor | None, *numbers: Any) -> tuple[Tensor, Tensor]:
    options = _options(*numbers)
    y = torch.empty(result_shape(x, options), dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    if options.pool is None:
        return y, _present(None, x, torch.uint8)
    return y, torch.empty(y.shape, dtype=torch.uint8, device=x.device, memory_format=argmax_format(x))


def _backward(grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    options = _options(*numbers)
    taps = argmax if options.pool is not None else None
    grad_x, grad_bias = dispatch.choose(x, options).fused_backward(grad_y, x, bias, taps, options)
    return grad_x, _present(grad_bias, x, x.dtype)


def _backward_of_fakes(
    grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor, *numbers: Any
) -> tuple[Tensor, Tensor]:
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    return grad_x, torch.empty_like(bias) if bias is not None else _present(None, x, x.dtype)


def _present(tensor: Tensor | None, x: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor is not None else torch.empty(0, dtype=dtype, device=x.device)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, bias, *numbers = inputs
    ctx.save_for_backward(x, bias, output[1])
    ctx.set_materialize_grads(False)  # autograd would make zeros for the gradient of the argmax
    ctx.numbers = numbers


def _differentiate(ctx: Any, grad_y: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    x, bias, argmax = ctx.saved_tensors
    others = [None] * len(ctx.numbers)
    if grad_y is None:
        return None, None, *others
    grad_x, grad_bias = backward(grad_y, x, bias, argmax, *ctx.numbers)
    return grad_x, grad_bias if bias is not None else None, *others


def _refuse(ctx: Any, *_: Tensor) -> None:
    raise RuntimeError(f"{qualified(_NAME)} has no second derivative; float64 maps or {dispatch.VARIABLE}=reference do")


forward = define(f"{_NAME}(Tensor x, Tensor? bias, {_NUMBERS}) -> (Tensor, Tensor)", _forward, _forward_of_fakes)
backward = define(
    f"{_NAME}_backward(Tensor grad_y, Tensor x, Tensor? bias, Tensor argmax, {_NUMBERS}) -> (Tensor, Tensor)",
    _backward,
    _backward_of_fakes,
)
torch.library.register_autograd(qualified(_NAME), _differentiate, setup_context=_save, lib=LIBRARY)
torch.library.register_autograd(qualified(f"{_NAME}_backward"), _refuse, lib=LIBRARY)


def _is_transformed(x: Tensor, bias: Tensor | None) -> bool:
    """Whether `torch.func` or forward-mode differentiation looks on, to which registered gradients say nothing: the one
    fails on them, the other takes the result for a constant."""
    return torch._C._are_functorch_transforms_active() or any(
        tensor is not None and forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]
        for tensor in (x, bias)
    )


class _Forward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, bias: Tensor | None, numbers: Numbers) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = forward(x, bias, *numbers)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, bias, ctx.numbers = inputs
        ctx.save_for_backward(x, bias, output[1])

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        x, bias, argmax = ctx.saved_tensors
        grad_x, grad_bias = _Backward.apply(grad_y, x, bias, argmax, ctx.numbers)  # type: ignore[no-untyped-call]
        return grad_x, grad_bias if bias is not None else None, None


class _Backward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor, numbers: Numbers
    ) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = backward(grad_y, x, bias, argmax, *numbers)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Nothing is kept: there is no second derivative."""

    backward = staticmethod(_refuse)
