"""Which layer a loss that is not finite comes from: the step run again, with every output and gradient looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convspec.program.program import Program


def first_nonfinite(net: nn.Module, program: Program, inputs: Mapping[str, Tensor], autocast: torch.autocast) -> str:
    """Says what is not finite first, as the end of a sentence: `the output of layer conv2`.

    Runs `net` forward and backward once; the caller has put the random generators back to where the step began.
    """
    found: list[str] = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, arguments: object, output: object) -> None:
            if not found and not _is_finite(output):
                found.append(name)

        return look

    leaves = [(name, module) for name, module in net.named_modules() if name and not list(module.children())]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves]
    try:
        with autocast:
            outputs = net(dict(inputs))
            objective: Tensor = net.objective(outputs)  # type: ignore[operator]  # emitted modules have one
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return _of_module(net, program, found[0])
    for operator in program.operators:
        if operator.name in outputs and not _is_finite(outputs[operator.name]):
            return f"the output of layer {' and '.join(operator.layers)}"
    objective.backward()  # type: ignore[no-untyped-call]
    tensors = dict(net.named_parameters())
    for parameter in reversed(program.parameters):
        gradient = tensors[parameter.name].grad
        if gradient is not None and not _is_finite(gradient):
            return f"the gradient of {', '.join(block.name for block in parameter.blocks)}"
    return "the loss alone"


def _of_module(net: nn.Module, program: Program, module: str) -> str:
    layers = next(
        (op.layers for op in program.operators if getattr(op, "weight", "").startswith(f"{module}.")),
        program.values[module].layers if module in program.values else (module,),
    )
    named = f"the output of layer {' and '.join(layers)}"
    weights = net.get_submodule(module).parameters(recurse=False)
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
