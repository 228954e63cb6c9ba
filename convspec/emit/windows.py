"""Python expressions for pools, whole or the arguments alone."""

from __future__ import annotations

from convspec.emit.holders import Holders, one_or_both
from convspec.program.operators import Op
from convspec.program.shape import Shape
from convspec.program.windows import (
    AvgPool2d,
    ChannelPool,
    FusedLRNPool,
    MaxAbsPool2d,
    MaxPool2d,
    PoolWindow,
    Reduction,
)


def pool_arguments(op: Op, pool: MaxPool2d | MaxAbsPool2d | AvgPool2d | PoolWindow, maps: Shape) -> list[str]:
    """Arguments after the first; the output size only where it is not what rounding up gives."""
    arguments = [one_or_both(pool.kernel_size), f"stride={one_or_both(pool.stride)}"]
    if pool.start != (0, 0):
        arguments.append(f"start={one_or_both(pool.start)}")
    axes = zip(maps.dims[1:], pool.kernel_size, pool.stride, pool.start, strict=True)
    rounded_up = [-((start + kernel - size) // stride) + 1 for size, kernel, stride, start in axes]
    if rounded_up != list(op.shape.dims[1:]):
        arguments.append(f"output_size={op.shape.dims[1:]}")
    if not isinstance(pool, AvgPool2d) and pool.ties_share:
        arguments.append('ties="all"')
    return arguments


def average_pool(op: AvgPool2d, x: str, maps: Shape) -> str:
    """Torch's own where no window hangs over the map."""
    if op.is_sum:
        return f"sum_pool2d({', '.join([x, *pool_arguments(op, op, maps)])})"
    axes = zip(maps.dims[1:], op.shape.dims[1:], op.kernel_size, op.stride, strict=True)
    if op.start != (0, 0) or any((count - 1) * stride + kernel != size for size, count, kernel, stride in axes):
        return f"avg_pool2d({', '.join([x, *pool_arguments(op, op, maps)])})"
    stride = "" if op.stride == op.kernel_size else f", stride={one_or_both(op.stride)}"
    return f"F.avg_pool2d({x}, {one_or_both(op.kernel_size)}{stride})"


def fused_arguments(op: FusedLRNPool, maps: Shape, holders: Holders) -> list[str]:
    """Arguments after the first, those of each part together."""
    has_relu = op.relu_before or op.relu_after
    arguments = []
    if op.bias or has_relu:
        arguments.append(holders.expression(op.bias, op) if op.bias else "None")
    if has_relu:
        arguments.append('"relu"')
    if op.relu_after:
        arguments.append('activation_at="output"')
    if op.norm is not None:
        size, alpha, beta, k, groups = op.norm
        arguments += [f"size={size}", f"alpha={alpha!r}", f"beta={beta!r}", f"k={k!r}"]
        arguments += [f"groups={groups}"] if groups > 1 else []
    if op.pool is not None:
        kernel_size, *others = pool_arguments(op, op.pool, maps)
        arguments += [f"kernel_size={kernel_size}", *others]
    return arguments


def channel_pool(op: ChannelPool, x: str, source: Shape) -> str:
    if op.reduction is Reduction.SUM:
        return f"{x}.unflatten(1, (-1, {op.size})).sum(2)"
    options = f"stride={op.stride}" + (f", start={op.start}" if op.start else "")
    if -((op.start + op.size - source.channels) // op.stride) + 1 != op.shape.channels:
        options += f", out_channels={op.shape.channels}"
    if op.ties_share:
        options += ', ties="all"'
    return f"channel_max_pool({x}, {op.size}, {options})"
