"""What operators with weights keep and need: convolutions, matrix products, trees of classes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convspec.plan.calls import Order
from convspec.plan.recorder import FLOAT, INDEX, Precision, Processor, Recorder, Value
from convspec.program.program import Program
from convspec.program.shape import Shape
from convspec.program.weighted import Conv2d, Linear, LocallyConnected2d, TreeLinear

# The part of a weight that oneDNN packs at a time for a matrix product in bf16.
_PANEL_OUTPUTS, _PANEL_INPUTS = 64, 1024


def record_convolution(op: Conv2d, operands: Sequence[Value], recorder: Recorder, program: Program) -> Value:
    """Keeps what it reads, and the copy of its weight that autocast makes. A bias a pixel is added afterwards.

    While it runs, forward and backward, the weight is there once more in channels last. oneDNN has it again in an order of
    its own; and so is the gradient of it, twice, before it is as torch wants it, in fp32 under autocast too.
    """
    maps = operands[0].shape
    joined = recorder.joined(operands, maps.with_channels(sum(value.shape.channels for value in operands)))
    x = recorder.narrowed(joined)
    weight = program.parameter[op.weight]
    adds_map = op.bias is not None and len(program.parameter[op.bias].shape) > 1
    learns = _learns([op.weight, None if adds_map else op.bias], program)
    is_turned = x.is_last and prod(weight.shape[2:]) > 1 < weight.shape[1]
    size = x.width * prod(weight.shape)
    in_order = size if is_turned else 0
    blocked = size if recorder.processor is Processor.CPU else 0
    y = recorder.call(
        [x],
        op.shape,
        x.width,
        holds=[joined],
        saves=[x],
        kept=_copy_of_weight(prod(weight.shape), recorder),
        forward_extra=in_order + blocked,
        backward_extra=in_order + blocked * (2 if learns and x.width == FLOAT else 1),
        learns=learns,
        order=Order.OWN,
        turned_extra=recorder.bytes(op.shape, x.width),
        copied=FLOAT * prod(weight.shape) if is_turned and learns else 0,
    )
    if not adds_map:
        return y
    return recorder.call([y], op.shape, FLOAT, passes_gradient=True, learns=_learns([op.bias], program))


def record_linear(op: Linear, operands: Sequence[Value], recorder: Recorder, program: Program) -> Value:
    """Keeps what it reads, flat, where its weight learns. oneDNN packs a part of a weight in bf16 at a time."""
    are_maps = len(operands) > 1 and operands[0].shape.is_map
    if are_maps and len({value.shape.dims[1:] for value in operands}) == 1:
        channels = sum(value.shape.channels for value in operands)
        flat = recorder.flat(recorder.joined(operands, operands[0].shape.with_channels(channels)))
    else:
        parts = [recorder.flat(value) for value in operands]
        flat = recorder.joined(parts, Shape.of_vector(sum(part.shape.features for part in parts)))
    x = recorder.narrowed(flat)
    numbers = prod(program.parameter[op.weight].shape)
    learns = _learns([op.weight, op.bias], program)
    saves = [x] if any(name == op.weight for name, _ in learns) else []
    is_packed = x.width < FLOAT and recorder.processor is Processor.CPU
    return recorder.call(
        [x],
        op.shape,
        x.width,
        holds=[flat],
        saves=saves,
        kept=_copy_of_weight(numbers, recorder),
        forward_extra=x.width * _PANEL_OUTPUTS * min(x.shape.features, _PANEL_INPUTS) if is_packed else 0,
        learns=learns,
    )


def record_local(op: LocallyConnected2d, operands: Sequence[Value], recorder: Recorder, program: Program) -> Value:
    """A matrix product a window: keeps the pixels of all windows side by side; of the weight a copy, where autocast makes
    one, or where groups do not lie as windows do. The gradient of the weight comes in another order, and is copied."""
    maps = operands[0].shape
    joined = recorder.joined(operands, maps.with_channels(sum(value.shape.channels for value in operands)))
    weight = program.parameter[op.weight].shape
    pixels = prod(weight[1:4]) * op.groups * weight[4] * weight[5]
    framed = recorder.call([joined], maps.with_channels(joined.shape.channels), joined.width)
    windows = recorder.narrowed(recorder.call([framed], Shape.of_vector(pixels), joined.width))
    is_copied = recorder.precision is not Precision.FP32 or op.groups > 1
    kept = prod(weight) * recorder.precision.value if is_copied else 0
    learns = _learns([op.weight], program)
    product = recorder.call(
        [windows],
        op.shape,
        windows.width,
        saves=[windows],
        kept=kept,
        learns=learns,
        copied=FLOAT * prod(weight) if learns else 0,
    )
    y = recorder.call([product], op.shape, product.width)
    if op.bias is None:
        return y
    return recorder.call([y], op.shape, FLOAT, passes_gradient=True, learns=_learns([op.bias], program))


def record_tree(op: TreeLinear, x: Value, recorder: Recorder, program: Program) -> Value:
    """Keeps x, and the weights of the classes, which it sums up."""
    _, features = program.parameter[op.weight].shape
    paths = _length_of_paths(op.parents, op.shape.features)
    leaf = op.shape.features * features
    kept = leaf * recorder.precision.value + INDEX * (2 * paths + op.shape.features)
    flat = recorder.narrowed(recorder.flat(x))
    learns = [(name, size) for name, size in _learns([op.weight, op.bias], program)]
    return recorder.call(
        [flat], op.shape, flat.width, saves=[flat], kept=kept, backward_extra=leaf * FLOAT, learns=learns
    )


def _length_of_paths(parents: Sequence[int], classes: int) -> int:
    """Nodes on the ways from all classes to the root."""
    count = 0
    for leaf in range(classes):
        node = leaf
        while node >= 0:
            count += 1
            node = parents[node]
    return count


def _copy_of_weight(numbers: int, recorder: Recorder) -> int:
    return 0 if recorder.precision is Precision.FP32 else numbers * recorder.precision.value


def _learns(names: Sequence[str | None], program: Program) -> list[tuple[str, int]]:
    """The parameters that have a gradient, and its bytes."""
    found = [program.parameter[name] for name in names if name is not None]
    return [(each.name, FLOAT * prod(each.shape)) for each in found if not each.update.rate.is_frozen]
