"""A program as text, for `--print-after` and for tests."""

from __future__ import annotations

from dataclasses import fields

from convspec.program.operators import Op
from convspec.program.parameter import Permutations
from convspec.program.program import Buffer, Output, Parameter, Program, Update

_UNSAID = {("gradient_scale", 1.0)}
_SHARED = {"name", "inputs", "shape", "layers", "gpu", "replicas", "cases"}


def print_program(program: Program) -> str:
    """One line an operator, then one a parameter or buffer, then the outputs and the notes of the passes."""
    lines = [f"program {program.name}"]
    lines += [f"  {_operator(op)}" for op in program.operators]
    lines += [f"  {_parameter(parameter)}" for parameter in program.parameters]
    lines += [f"  {_buffer(buffer)}" for buffer in program.buffers]
    lines.append(f"  return {', '.join(_output(output) for output in program.outputs)}")
    lines += [f"  # {note}" for note in program.notes]
    return "\n".join(lines) + "\n"


def _output(output: Output) -> str:
    return output.layer if output.layer == output.value else f"{output.layer}={output.value}"


def _operator(op: Op) -> str:
    values = {f.name: getattr(op, f.name) for f in fields(op) if f.name not in _SHARED}
    # an option that is off goes without saying
    unsaid = _UNSAID | {(f.name, False) for f in fields(op) if f.default is False}
    attributes = [f"{name}={_value(value)}" for name, value in values.items() if (name, value) not in unsaid]
    gpus = op.replicas if op.gpu is None else (op.gpu,)
    gpu = f" gpu {','.join(map(str, gpus))}" if gpus else ""
    if op.cases is not None:
        gpu += f" cases {op.cases}"
    layers = "" if op.layers == (op.name,) else f"  # {' || '.join(op.layers)}"
    return f"{op.name}: {op.shape} = {type(op).__name__}({', '.join([*op.inputs, *attributes])}){gpu}{layers}"


def _value(value: object) -> str:
    return str(getattr(value, "value", value))


def _parameter(parameter: Parameter) -> str:
    size = "x".join(map(str, parameter.shape))
    first, update = parameter.initialization, parameter.update
    start = f"normal(std={first.std:g})" if first.std else f"constant({first.constant:g})"
    return f"{parameter.name}: {size} = {start}, {', '.join(_update(update))}{_blocks(parameter)}"


def _update(update: Update) -> list[str]:
    """The numbers of the plain rule, then what goes beyond it."""
    constraint = update.constraint
    words = [f"rate {update.rate}", f"momentum {update.momentum:g}", f"decay {update.decay:g}"]
    if update.damping:
        words.append(f"damping {update.damping:g}")
    if update.period > 1:
        words.append(f"every {update.period} minibatches")
    if update.counts_cases:
        words.append("short minibatches by their share")
    if update.divisors:
        words.append(f"divided by row up to {max(update.divisors)}")
    if constraint.spread[1]:
        words.append(f"spread {constraint.spread[0]:g} to {constraint.spread[1]:g}")
    if constraint.norm:
        each = " a weight" if constraint.counts_weights else ""
        words.append(f"norm {'' if constraint.is_exact else 'at most '}{constraint.norm:g}{each}")
    return words


def _buffer(buffer: Buffer) -> str:
    size = "x".join(map(str, buffer.shape)) or "1"
    match buffer.initial:
        case Permutations(length=length):
            start = f"permutations({length})"
        case number:
            start = f"constant({number:g})"
    return f"{buffer.name}: {size} = {start}, kept{_blocks(buffer)}"


def _blocks(tensor: Parameter | Buffer) -> str:
    return f"  # {', '.join(block.name for block in tensor.blocks)}" if tensor.is_merged else ""
