"""Writes `reset_parameters` of an emitted module: what is drawn alike in one loop, as a paper says it in one sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import prod

from convspec.emit.holders import Holders, leaf_of, path_of
from convspec.emit.lines import literal, loop
from convspec.program.parameter import Initialization, Permutations
from convspec.program.program import Buffer, Parameter, Program
from convspec.program.weighted import BatchNorm


def reset_method(program: Program, registered: Sequence[Buffer], holders: Holders) -> list[str]:
    """registered: buffers that no module of torch resets."""
    norms = [op for op in program.operators if isinstance(op, BatchNorm)]
    lines = [*_reset_norms(norms, holders), *_started(program, norms), *(_start(buffer) for buffer in registered)]
    return [
        "def reset_parameters(self) -> None:",
        '    """Draw the initial weights."""',
        *(f"    {line}" for line in lines),
    ]


def _reset_norms(norms: Sequence[BatchNorm], holders: Holders) -> list[str]:
    """Statistics, weights and biases as torch starts them."""
    attributes = [f"self.{path_of(op.weight)}" for op in norms]
    if len(attributes) < 2:
        return [f"{attribute}.reset_parameters()" for attribute in attributes]
    lines = [*loop("norm", attributes), "    norm.reset_parameters()"]
    if len(lines) == 2:
        return lines
    kinds = sorted({holders.norm_class(op) for op in norms})
    return [
        "for module in self.modules():",
        f"    if isinstance(module, {' | '.join(kinds)}):",
        "        module.reset_parameters()",
    ]


def _started(program: Program, norms: Sequence[BatchNorm]) -> list[str]:
    """What gives parameters their first values, those that are drawn alike together."""
    torchs_own = {op.weight: Initialization(constant=1.0) for op in norms} | {op.bias: Initialization() for op in norms}
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for parameter in program.parameters:
        alike[_initialization(parameter)].append(parameter.name)
    lines: list[str] = []
    for statements, names in alike.items():
        left = [name for name in names if torchs_own.get(name) != program.parameter[name].initialization]
        for leaf in ("weight", "bias"):
            own = [name for name in left if leaf_of(name) == leaf]
            has_all = all(name in names for name in program.parameter if leaf_of(name) == leaf)
            if has_all and len(_for_each(own, statements)) > len(_for_all(leaf, statements)):
                lines += _for_all(leaf, statements)
                left = [name for name in left if name not in own]
        lines += _for_each(left, statements)
    return lines


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
    if len(names) < 2:
        return [text.format(f"self.get_parameter({literal(name)})") for name in names for text in statements]
    body = [f"    {text.format('self.get_parameter(name)')}" for text in statements]
    return [*loop("name", list(map(literal, names))), *body]


def _for_all(leaf: str, statements: Sequence[str]) -> list[str]:
    """The statements for all weights, or for all biases."""
    return [
        "for name, parameter in self.named_parameters():",
        f'    if name.endswith(".{leaf}"):',
        *(f"        {text.format('parameter')}" for text in statements),
    ]


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
