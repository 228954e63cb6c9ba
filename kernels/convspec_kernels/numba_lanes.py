"""Sixteen numbers at a time in functions that numba compiles: loads, stores, arithmetic and comparisons of lanes.

LLVM turns them into whatever registers the processor has. Loops over them compile in a fraction of the time of loops
over single numbers, which LLVM must prove independent and compiles in several versions; and what a loop computed for one
run of lanes stays in registers for the next, with which neighbouring channels are a shuffle and not a load.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

# numba gives these no types
_add_function: Any = cgutils.get_or_insert_function
_signature: Any = signature
_infer: Any = infer_global
_lower: Any = lower_builtin

LANES = 16

FAST = ("afn", "arcp", "contract", "nsz", "reassoc")
"""Sums may be contracted and 1/sqrt taken from the estimate that processors have, refined to float32. NaN and infinity keep
their meaning."""

_I32 = ir.IntType(32)
_WORDS, _HALVES = ir.VectorType(_I32, LANES), ir.VectorType(ir.IntType(16), LANES)


class _Lanes(types.Type):
    def __init__(self, name: str, element: ir.Type) -> None:
        super().__init__(name=name)
        self.vector = ir.VectorType(element, LANES)


FLOATS = _Lanes("Lanes(float32)", ir.FloatType())
BYTES = _Lanes("Lanes(uint8)", ir.IntType(8))
MASK = _Lanes("Lanes(bool)", ir.IntType(1))


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: _Lanes) -> None:
        super().__init__(manager, kind, kind.vector)  # type: ignore[no-untyped-call]


def _emitted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Called by compiled functions alone: types in, and out a signature and what writes the instructions."""
    result: Callable[..., Any] = intrinsic(function)
    return result


def _kind(array: Any) -> _Lanes:
    """What the elements of an array are to compiled functions. uint16 are the bits of bfloat16, which numba does not know."""
    return BYTES if array.dtype == types.uint8 else FLOATS


def _address(context: Any, builder: Any, array: Any, array_type: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    vector = ir.VectorType(context.get_data_type(array_type.dtype), LANES)
    return builder.bitcast(builder.gep(data, [index], inbounds=True), vector.as_pointer())


def _widened(builder: Any, stored: Any) -> Any:
    """As arithmetic takes what was in memory: the bits of bfloat16 are the upper half of those of float32."""
    if stored.type != _HALVES:
        return stored
    bits = builder.zext(stored, _WORDS)
    return builder.bitcast(builder.shl(bits, _constant(_WORDS, 16)), FLOATS.vector)


def _narrowed(builder: Any, value: Any, vector: Any) -> Any:
    """As memory takes it: rounded to the nearest bfloat16, to the even one of two, where `vector` is of those."""
    if vector != _HALVES:
        return value
    bits = builder.bitcast(value, _WORDS)
    odd = builder.and_(builder.lshr(bits, _constant(_WORDS, 16)), _constant(_WORDS, 1))
    rounded = builder.add(bits, builder.add(odd, _constant(_WORDS, 0x7FFF)))
    is_none = builder.fcmp_unordered("uno", value, value)
    upper = builder.lshr(builder.select(is_none, _constant(_WORDS, 0x7FC00000), rounded), _constant(_WORDS, 16))
    return builder.trunc(upper, _HALVES)


def _constant(vector: Any, number: int) -> Any:
    return ir.Constant(vector, [number] * LANES)


def _splat(builder: Any, scalar: Any) -> Any:
    vector = ir.VectorType(scalar.type, LANES)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, _I32(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


def _first(builder: Any, count: Any) -> Any:
    """The lanes before `count`."""
    numbers = ir.Constant(ir.VectorType(ir.IntType(64), LANES), list(range(LANES)))
    return builder.icmp_signed("<", numbers, _splat(builder, count))


@_emitted
def load(typing: Any, array: Any, index: Any) -> Any:
    """`array[index : index + 16]` of a row, all of which must be there."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _widened(builder, builder.load(_address(context, builder, args[0], sig.args[0], args[1]), align=1))

    return _kind(array)(array, types.intp), generate


@_emitted
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """`array[index : index + 16] = value`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address = _address(context, builder, args[0], sig.args[0], args[1])
        builder.store(_narrowed(builder, args[2], address.type.pointee), address, align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, _kind(array)), generate


def _llvm(builder: Any, name: str, result: Any, *parameters: Any) -> Any:
    """One of LLVM's own functions."""
    return _add_function(builder.module, ir.FunctionType(result, parameters), f"llvm.{name}")


def _masked(builder: Any, name: str, vector: Any, result: Any, *parameters: Any) -> Any:
    element = "f32" if vector == FLOATS.vector else str(vector.element)
    return _llvm(builder, f"masked.{name}.v{LANES}{element}.p0", result, *parameters)


@_emitted
def load_first(typing: Any, array: Any, index: Any, count: Any) -> Any:
    """`array[index : index + count]`, zeros behind; count: below 16."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, mask = _address(context, builder, args[0], sig.args[0], args[1]), _first(builder, args[2])
        vector = address.type.pointee
        function = _masked(builder, "load", vector, vector, address.type, _I32, mask.type, vector)
        return _widened(builder, builder.call(function, [address, _I32(1), mask, ir.Constant(vector, None)]))

    return _kind(array)(array, types.intp, types.intp), generate


@_emitted
def store_first(typing: Any, array: Any, index: Any, count: Any, value: Any) -> Any:
    """`array[index : index + count] = value[:count]`; count: below 16."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        address, mask = _address(context, builder, args[0], sig.args[0], args[1]), _first(builder, args[2])
        value = _narrowed(builder, args[3], address.type.pointee)
        function = _masked(builder, "store", value.type, ir.VoidType(), value.type, address.type, _I32, mask.type)
        builder.call(function, [value, address, _I32(1), mask])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, _kind(array)), generate


@_emitted
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Say that the memory behind `array[index]` will be read; it need not be there."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        function = _llvm(builder, "prefetch.p0", ir.VoidType(), address.type, _I32, _I32, _I32)
        builder.call(function, [address, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@_emitted
def all_of(typing: Any, number: Any) -> Any:
    """Lanes that are all the same number, float32 or uint8."""
    kind = FLOATS if number == types.float32 else BYTES

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0])

    return kind(number), generate


@_emitted
def wins(typing: Any, challenger: Any, holder: Any) -> Any:
    """Where `challenger` is larger, or no number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        larger = builder.fcmp_ordered(">", args[0], args[1])
        return builder.or_(larger, builder.fcmp_unordered("uno", args[0], args[0]))

    return MASK(FLOATS, FLOATS), generate


@_emitted
def at_most(typing: Any, left: Any, right: Any) -> Any:
    """Where `left <= right`; no number is not."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fcmp_ordered("<=", args[0], args[1])

    return MASK(FLOATS, FLOATS), generate


@_emitted
def equal(typing: Any, left: Any, right: Any) -> Any:
    """Where bytes are equal."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_unsigned("==", args[0], args[1])

    return MASK(BYTES, BYTES), generate


@_emitted
def choose(typing: Any, mask: Any, left: Any, right: Any) -> Any:
    """`left` where the mask is set, else `right`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return left(MASK, left, left), generate


@_emitted
def at_least(typing: Any, value: Any, least: Any) -> Any:
    """`least` where `value` is less; no number stays."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, least = args
        return builder.select(builder.fcmp_ordered("<", value, least), least, value)

    return FLOATS(FLOATS, FLOATS), generate


@_emitted
def rsqrt(typing: Any, value: Any) -> Any:
    """`1 / sqrt(value)`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = FLOATS.vector
        sqrt = _llvm(builder, f"sqrt.v{LANES}f32", vector, vector)
        root = builder.call(sqrt, [args[0]], fastmath=FAST)
        return builder.fdiv(ir.Constant(vector, [1.0] * LANES), root, flags=FAST)

    return FLOATS(FLOATS), generate


@_emitted
def power(typing: Any, value: Any, exponent: Any) -> Any:
    """`value ** exponent`, one call a lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pow_ = _llvm(builder, f"pow.v{LANES}f32", FLOATS.vector, FLOATS.vector, FLOATS.vector)
        return builder.call(pow_, list(args), fastmath=FAST)

    return FLOATS(FLOATS, FLOATS), generate


def _neighbours(first: int) -> Any:
    """Of two runs of lanes, one behind the other, the sixteen from lane `first` on."""

    @_emitted
    def neighbours(typing: Any, before: Any, behind: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            lanes = ir.Constant(ir.VectorType(_I32, LANES), list(range(first, first + LANES)))
            return builder.shuffle_vector(args[0], args[1], lanes)

        return FLOATS(FLOATS, FLOATS), generate

    return neighbours


from_1, from_2, from_14, from_15 = (_neighbours(first) for first in (1, 2, 14, 15))


def _operator(function: Any, name: str, kind: _Lanes, **options: Any) -> None:
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            return _signature(kind, kind, kind) if args == (kind, kind) else None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, name)(*args, **options)

    _infer(function)(Template)
    _lower(function, kind, kind)(generate)


_operator(operator.add, "fadd", FLOATS, flags=FAST)
_operator(operator.sub, "fsub", FLOATS, flags=FAST)
_operator(operator.mul, "fmul", FLOATS, flags=FAST)
_operator(operator.truediv, "fdiv", FLOATS, flags=FAST)
_operator(operator.add, "add", BYTES)
