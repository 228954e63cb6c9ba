"""The fused operator as torch sees it: `convspec_kernels::bias_act_lrn_max_pool2d` and its gradient.

Opaque to `torch.compile` and `torch.export`, with its shapes, strides and gradient known; what computes it is chosen
when it runs (`dispatch`). Schemas have no optional results: a missing argmax or gradient of a bias is an empty tensor,
as a size of 0 is a missing LRN or pool.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from convspec_kernels import dispatch
from convspec_kernels.layout import argmax_format, memory_format, result_shape
from convspec_kernels.options import LRN, FusedOptions, Pool, Ties


def fused(x: Tensor, bias: Tensor | None, options: FusedOptions) -> Tensor:
    """Call the operator."""
    y: Tensor = forward(x, bias, *numbers(options))[0]
    return y


def numbers(options: FusedOptions) -> tuple[Any, ...]:
    """The options as the operators take them, behind the tensors."""
    lrn, pool = options.lrn or LRN(0, 0.0, 0.0, 0.0), options.pool or Pool(0, 1, 0, 0, 0)
    norm = (lrn.size, lrn.alpha, lrn.beta, lrn.k, lrn.groups)
    windows = (pool.kernel_size, pool.stride, pool.start, pool.out_height, pool.out_width)
    return options.relu_before, options.relu_after, *norm, *windows, pool.ties is Ties.ALL


def _options(
    relu_before: bool,
    relu_after: bool,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    groups: int,
    kernel_size: int,
    stride: int,
    start: int,
    out_height: int,
    out_width: int,
    all_ties: bool,
) -> FusedOptions:
    lrn = LRN(size, alpha, beta, k, groups) if size else None
    ties = Ties.ALL if all_ties else Ties.FIRST
    pool = Pool(kernel_size, stride, start, out_height, out_width, ties) if kernel_size else None
    return FusedOptions(relu_before, relu_after, lrn, pool)


@torch.library.custom_op("convspec_kernels::bias_act_lrn_max_pool2d", mutates_args=())
def forward(
    x: Tensor,
    bias: Tensor | None,
    relu_before: bool,
    relu_after: bool,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    groups: int,
    kernel_size: int,
    stride: int,
    start: int,
    out_height: int,
    out_width: int,
    all_ties: bool,
) -> tuple[Tensor, Tensor]:
    options = _options(
        relu_before,
        relu_after,
        size,
        alpha,
        beta,
        k,
        groups,
        kernel_size,
        stride,
        start,
        out_height,
        out_width,
        all_ties,
    )
    y, argmax = dispatch.choose(x, options).fused_forward(x, bias, options)
    return y, _present(argmax, x, torch.uint8)


@forward.register_fake
def _(x: Tensor, bias: Tensor | None, *numbers: Any) -> tuple[Tensor, Tensor]:
    options = _options(*numbers)
    y = torch.empty(result_shape(x, options), dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    if options.pool is None:
        return y, _present(None, x, torch.uint8)
    return y, torch.empty(y.shape, dtype=torch.uint8, device=x.device, memory_format=argmax_format(x))


@torch.library.custom_op("convspec_kernels::bias_act_lrn_max_pool2d_backward", mutates_args=())
def backward(
    grad_y: Tensor,
    x: Tensor,
    bias: Tensor | None,
    argmax: Tensor,
    relu_before: bool,
    relu_after: bool,
    size: int,
    alpha: float,
    beta: float,
    k: float,
    groups: int,
    kernel_size: int,
    stride: int,
    start: int,
    out_height: int,
    out_width: int,
    all_ties: bool,
) -> tuple[Tensor, Tensor]:
    options = _options(
        relu_before,
        relu_after,
        size,
        alpha,
        beta,
        k,
        groups,
        kernel_size,
        stride,
        start,
        out_height,
        out_width,
        all_ties,
    )
    taps = argmax if options.pool is not None else None
    grad_x, grad_bias = dispatch.choose(x, options).fused_backward(grad_y, x, bias, taps, options)
    return grad_x, _present(grad_bias, x, x.dtype)


@backward.register_fake
def _(grad_y: Tensor, x: Tensor, bias: Tensor | None, argmax: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    return grad_x, torch.empty_like(bias) if bias is not None else _present(None, x, x.dtype)


def _present(tensor: Tensor | None, x: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor is not None else torch.empty(0, dtype=dtype, device=x.device)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, bias, *numbers = inputs
    ctx.save_for_backward(x, bias, output[1])
    ctx.numbers = numbers


def _differentiate(ctx: Any, grad_y: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    x, bias, argmax = ctx.saved_tensors
    grad_x, grad_bias = backward(grad_y, x, bias, argmax, *ctx.numbers)
    return grad_x, grad_bias if bias is not None else None, *(None for _ in ctx.numbers)


forward.register_autograd(_differentiate, setup_context=_save)
