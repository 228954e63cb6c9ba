"""What autograd really keeps of a module's forward pass, by torch's own hooks."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convspec.checker import Checked
from convspec.compiler import compile_checked
from convspec.emit.load import instantiate
from convspec.passes.pipeline import Target
from convspec.train.bench import random_inputs


def kept_bytes(checked: Checked, cases: int, *, is_bf16: bool = False) -> int:
    """Of the module of a network on random images, laid out as the trainer lays them out."""
    compiled = compile_checked(checked, allow_init_imports=True)
    net = instantiate(compiled.source, compiled.name)
    tensors = dict(net.named_parameters())
    for parameter in compiled.program.parameters:
        tensors[parameter.name].requires_grad_(not parameter.update.rate.is_frozen)
    drawn = random_inputs(compiled.program, cases, torch.device("cpu"))
    inputs = {name: value if value.ndim < 4 else _in_channels_last(value) for name, value in drawn.items()}
    return _kept(net, inputs, is_bf16=is_bf16)


def kept_bytes_of_gpus(checked: Checked, cases: int) -> int:
    """Of the module for all GPUs of a spec in one process, where what crosses is memory of its own."""
    compiled = compile_checked(checked, target=Target.DEVICES)
    net = instantiate(compiled.source, compiled.name)
    drawn = random_inputs(compiled.program, cases, torch.device("cpu"))
    inputs = {name: value if value.ndim < 4 else _in_channels_last(value) for name, value in drawn.items()}
    given = {value.untyped_storage().data_ptr() for value in inputs.values()}
    with _Crossing(given):
        return _kept(net, inputs, is_bf16=False)


class _Crossing(TorchFunctionMode):
    """Makes `to` copy where the emitted module sends, as it would between GPUs; what is given is there already."""

    def __init__(self, given: Container[int]) -> None:
        self.given = given

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (
            func is Tensor.to
            and "non_blocking" in (kwargs or {})
            and args[0].untyped_storage().data_ptr() not in self.given
        ):
            return args[0].clone()
        return func(*args, **(kwargs or {}))


def _in_channels_last(maps: Tensor) -> Tensor:
    cases, channels, height, width = maps.shape
    return maps.new_empty(cases, height, width, channels).copy_(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _kept(net: nn.Module, inputs: dict[str, Tensor], *, is_bf16: bool) -> int:
    """Bytes of all buffers that a training forward pass saves, each once, without parameters and inputs."""
    outside = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers(), *inputs.values())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in outside:
            kept[place] = tensor
        return tensor

    net.train()
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=is_bf16),
    ):
        net.objective(net(inputs))  # type: ignore[operator]
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
