"""Which layer a loss that is not finite comes from: the step run again, with every output and gradient looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convspec.program.operators import parameters_of
from convspec.program.program import Program
from convspec.train.team import ALONE, Team


def first_nonfinite(
    net: nn.Module, whole: Program, forward: Callable[[], Mapping[str, Tensor]], team: Team = ALONE
) -> str:
    """Says what is not finite first, as the end of a sentence: `the output of layer conv2`.

    forward: the outputs of `net` for the minibatch; empty where this process of `team` has no case of it.

    Runs `net` forward and backward once; the caller has put the random generators back to where the step began.
    """
    program, found = team.part(whole), list[str]()

    def watch(name: str) -> Any:
        def look(module: nn.Module, arguments: object, output: object) -> None:
            if not found and not _is_finite(output):
                found.append(name)

        return look

    weights = _WeightUsers(net, found)
    leaves = [(name, module) for name, module in net.named_modules() if name and not list(module.children())]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves]
    try:
        with weights:
            outputs = forward()
    finally:
        for handle in handles:
            handle.remove()
    place = team.first(_of_module(net, program, found[0]) if found else _of_output(program, outputs))
    if place is not None:
        return place
    if outputs:
        net.objective(outputs).backward()  # type: ignore[operator]  # emitted modules have one
    tensors = dict(net.named_parameters())
    for parameter in reversed(program.parameters):
        gradient = tensors[parameter.name].grad
        if gradient is not None and not _is_finite(gradient):
            place = place or f"the gradient of {', '.join(block.name for block in parameter.blocks)}"
    return team.first(place) or "the loss alone"


def _of_output(program: Program, outputs: Mapping[str, Tensor]) -> str | None:
    for operator in program.operators:
        if operator.name in outputs and not _is_finite(outputs[operator.name]):
            return f"the output of layer {' and '.join(operator.layers)}"
    return None


class _WeightUsers(TorchFunctionMode):
    """Notes the first function of weights whose result is not finite: emitted modules call some without their module."""

    def __init__(self, net: nn.Module, found: list[str]) -> None:
        super().__init__()
        self.names = {id(weight): name for name, weight in net.named_parameters()}
        self.found = found

    def __torch_function__(
        self, func: Any, types: object, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        weight = next((self.names[id(argument)] for argument in args if id(argument) in self.names), None)
        if weight is not None and not self.found and not _is_finite(output):
            self.found.append(weight)
        return output


def _of_module(net: nn.Module, program: Program, name: str) -> str:
    """name: of a module of `net`, or of one of its weights."""
    users = (op for op in program.operators if not {name, f"{name}.weight"}.isdisjoint(parameters_of(op)))
    user = next(users, program.values.get(name))
    layers = user.layers if user is not None else (name,)
    named = f"the output of layer {' and '.join(layers)}"
    modules = dict(net.named_modules())
    weights = modules[name if name in modules else name.rpartition(".")[0]].parameters(recurse=False)
    return named if all(_is_finite(weight) for weight in weights) else f"{named}, whose weights are not finite either"


def _is_finite(value: object) -> bool:
    match value:
        case Tensor():
            return not value.is_floating_point() or bool(torch.isfinite(value).all())
        case tuple() | list():
            return all(map(_is_finite, value))
        case dict():
            return all(map(_is_finite, value.values()))
        case _:
            return True
