"""Writes `reset_parameters` of an emitted module: what is drawn alike in one loop, as a paper says it in one sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import prod

from convspec.emit.holders import path_of
from convspec.emit.lines import literal, loop
from convspec.program.parameter import Permutations
from convspec.program.program import Buffer, Parameter, Program
from convspec.program.weighted import BatchNorm


def reset_method(program: Program, registered: Sequence[Buffer]) -> list[str]:
    """registered: buffers that no module of torch resets."""
    drawn: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for parameter in program.parameters:
        drawn[_initialization(parameter)].append(parameter.name)
    lines = [line for statements, names in drawn.items() for line in _for_each(names, statements)]
    norms = (path_of(op.weight) for op in program.operators if isinstance(op, BatchNorm))
    lines += [f"self.{norm}.reset_running_stats()" for norm in norms]
    lines += [_start(buffer) for buffer in registered]
    return [
        "def reset_parameters(self) -> None:",
        '    """Draw the initial weights."""',
        *(f"    {line}" for line in lines),
    ]


def _initialization(parameter: Parameter) -> tuple[str, ...]:
    """Statements that give it its first values, in which it is called `{}`."""
    std, constant, rows = parameter.initialization
    if not std:
        return (_filled("{}", constant),)
    mean = f"mean={constant!r}, " if constant else ""
    if rows is None:
        return (f"nn.init.normal_({{}}, {mean}std={std!r})",)
    return _filled("{}", 0), f"nn.init.normal_({{}}[:{rows}], {mean}std={std!r})"


def _for_each(names: Sequence[str], statements: Sequence[str]) -> list[str]:
    """The statements for each of these parameters."""
    if len(names) == 1:
        return [text.format(f"self.get_parameter({literal(names[0])})") for text in statements]
    body = [f"    {text.format('self.get_parameter(name)')}" for text in statements]
    return [*loop("name", list(map(literal, names))), *body]


def _start(buffer: Buffer) -> str:
    path = f"self.get_buffer({literal(buffer.name)})"
    match buffer.initial:
        case Permutations(length=length):
            count = prod(buffer.shape) // length
            return f"{path}.copy_(torch.cat([torch.randperm({length}) for _ in range({count})]).view({buffer.shape}))"
        case number:
            return _filled(path, number)


def _filled(path: str, number: float) -> str:
    if number in (0, 1):
        return f"nn.init.{'ones' if number else 'zeros'}_({path})"
    return f"nn.init.constant_({path}, {number!r})"
