"""What pooling keeps: the fused kernel its input and a byte a window; torch's own its input and an index; means their input."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convspec.plan.calls import Order
from convspec.plan.recorder import BYTE, FLOAT, INDEX, Processor, Recorder, Value
from convspec.program.program import Program
from convspec.program.shape import Shape
from convspec.program.windows import AvgPool2d, FusedLRNPool, MaxAbsPool2d, MaxPool2d, PoolWindow


def record_max_pool(
    op: MaxPool2d | FusedLRNPool, pool: MaxPool2d | PoolWindow | None, x: Value, recorder: Recorder, program: Program
) -> Value:
    """The fused operator, or what it is made of where that computes (`dispatch.is_composed`)."""
    if pool is not None and (pool.ties_share or not _is_square(pool)):
        return _composed(op, pool, x, recorder, program)
    bias = op.bias if isinstance(op, FusedLRNPool) else None
    learns = []
    if bias is not None and not program.parameter[bias].update.rate.is_frozen:
        learns = [(bias, FLOAT * x.shape.channels)]
    kept = recorder.bytes(op.shape, BYTE) if pool is not None else 0
    return _fused(x, op.shape, recorder, kept=kept, sums=_sums_of_rows(recorder, x, bias), learns=learns)


def record_norm(x: Value, recorder: Recorder) -> Value:
    """LRN across maps alone, by the fused kernel."""
    return _fused(x, x.shape, recorder)


def _fused(
    x: Value,
    shape: Shape,
    recorder: Recorder,
    *,
    kept: int = 0,
    sums: int = 0,
    learns: Sequence[tuple[str, int]] = (),
) -> Value:
    """The fused kernel. The gradient of the result is copied where it does not lie as the result."""
    return recorder.call(
        [x],
        shape,
        x.width,
        saves=[x],
        kept=kept,
        backward_extra=sums,
        learns=learns,
        order=Order.OWN,
        turned_extra=recorder.bytes(shape, x.width),
    )


def _sums_of_rows(recorder: Recorder, x: Value, bias: str | None) -> int:
    """The gradient of the bias comes from a sum for each row of each image."""
    if bias is None or recorder.processor is Processor.GPU:
        return 0
    return recorder.cases * x.shape.height * x.shape.channels * FLOAT


def _is_square(pool: MaxPool2d | PoolWindow) -> bool:
    return all(rows == columns for rows, columns in (pool.kernel_size, pool.stride, pool.start))


def _composed(
    op: MaxPool2d | FusedLRNPool, pool: MaxPool2d | PoolWindow, x: Value, recorder: Recorder, program: Program
) -> Value:
    """`reference.fused`: in fp32, an operator after the other."""
    if isinstance(op, FusedLRNPool):
        y = recorder.cast(x, FLOAT)
        if op.bias is not None:
            frozen = program.parameter[op.bias].update.rate.is_frozen
            learns = [] if frozen else [(op.bias, FLOAT * x.shape.channels)]
            y = recorder.call([y], x.shape, y.width, passes_gradient=True, learns=learns)
        if op.relu_before:
            y = recorder.elementwise(y, saves_result=True)
        if op.norm is not None:
            y = _composed_norm(y, recorder)
    else:
        y = recorder.cast(x, FLOAT)
    y = _pooled(y, op.shape, pool, recorder)
    if isinstance(op, FusedLRNPool) and op.relu_after:
        y = recorder.elementwise(y, saves_result=True)
    return recorder.cast(y, x.width)


def _composed_norm(x: Value, recorder: Recorder) -> Value:
    """`reference.local_response_norm`."""
    padded = recorder.elementwise(recorder.squared(x))
    return recorder.divided_by_power(x, recorder.elementwise(padded, saves=[padded]))


def _pooled(x: Value, shape: Shape, pool: MaxPool2d | PoolWindow, recorder: Recorder) -> Value:
    """The pool of torch with its indices; or, where all equal pixels have the gradient, zeros for each pixel of each window."""
    pixels = prod(pool.kernel_size) * shape.features
    if not pool.ties_share:
        return recorder.call([x], shape, x.width, saves=[x], kept=recorder.bytes(shape, INDEX))
    framed = recorder.elementwise(x)
    zeros = recorder.call([framed], Shape.of_vector(pixels), x.width, kept=recorder.cases * pixels * BYTE)
    return recorder.call([zeros], shape, x.width, is_last=x.is_last)


def record_max_abs_pool(op: MaxAbsPool2d, x: Value, recorder: Recorder) -> Value:
    """`reference.max_abs_pool2d`: all pixels of all windows side by side, and an index into each."""
    pixels = Shape.of_vector(prod(op.kernel_size) * op.shape.features)
    side_by_side = recorder.call([x], pixels, x.width)
    turned = recorder.call(
        [side_by_side], pixels, x.width, forward_extra=2 * recorder.bytes(pixels, x.width), passes_gradient=False
    )
    if op.ties_share:
        zeros = recorder.call([turned], pixels, x.width, kept=recorder.bytes(pixels, BYTE))
        return recorder.call([zeros], op.shape, x.width, is_last=x.is_last)
    return recorder.call([turned], op.shape, x.width, kept=recorder.bytes(op.shape, INDEX), is_last=x.is_last)


def record_mean_pool(op: AvgPool2d, x: Value, recorder: Recorder) -> Value:
    """The mean of torch keeps its input; windows that torch does not have stand on a map with a frame. Where the gradient
    of the means does not lie as they do, the one that it gives is there twice on the CPU; on a GPU it is copied itself."""
    rows, columns = (
        (start, (count - 1) * stride + kernel + start - length)
        for start, count, stride, kernel, length in zip(
            op.start, op.shape.dims[1:], op.stride, op.kernel_size, x.shape.dims[1:], strict=True
        )
    )
    is_framed = op.is_sum and any(before or after for before, after in (rows, columns))
    source = recorder.elementwise(x) if is_framed else x
    turned = source.shape if recorder.processor is Processor.CPU else op.shape
    turned_extra = recorder.bytes(turned, x.width)
    return recorder.call([source], op.shape, x.width, saves=[source], order=Order.OWN, turned_extra=turned_extra)
