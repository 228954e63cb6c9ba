"""Which inputs a module can do without: labels, and what else only costs need. Predicting asks for none of them."""

from __future__ import annotations

from collections.abc import Mapping

from convspec.program.program import Program

_PICTURES = 0


def optional_inputs(program: Program) -> Mapping[str, tuple[str, ...]]:
    """For each value that needs such inputs, their names: for the inputs themselves, for costs, and for operators on
    the way from one to the other, which are then computed only where these inputs are given."""
    needed = _needed_to_predict(program)
    wants: dict[str, tuple[str, ...]] = {}
    for given in program.inputs:
        if given.name not in needed and given.data_index != _PICTURES and program.readers[given.name]:
            wants[given.name] = (given.key,)
    for op in program.operators:
        found = dict.fromkeys(name for source in op.inputs for name in wants.get(source, ()))
        if found:
            wants[op.name] = tuple(found)
    return wants


def _needed_to_predict(program: Program) -> set[str]:
    """The values that the network gives beside its costs, and all that they are made of."""
    costs = {cost.name for cost in program.costs}
    needed = {output.value for output in program.outputs} - costs
    for op in reversed(program.operators):
        if op.name in needed:
            needed.update(op.inputs)
    return needed
