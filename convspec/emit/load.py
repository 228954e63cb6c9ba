"""From emitted source to the module itself. The one place outside the trainer that needs torch."""

from __future__ import annotations

import hashlib
import sys
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from convspec.emit.header import class_name
from convspec_kernels import Peers


class Undrawn(TorchFunctionMode):
    """Around `instantiate`: weights keep what was in their memory, where torch's layers and the emitted module would each draw
    a number for it. For whoever sets all parameters next."""

    def __torch_function__(self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in (nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_):
            return kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def instantiate(source: str, name: str) -> torch.nn.Module:
    """A new module from the source that `emit` gave for a program of this name, with initial weights drawn.

    The source becomes an importable Python module of this process, so that instances pickle and copy.
    """
    instance = getattr(_module(source), class_name(name))()
    assert isinstance(instance, torch.nn.Module)
    return instance


def instantiate_part(source: str, gpu: int, peers: Peers) -> torch.nn.Module:
    """The same of the part of one GPU, from the source that `emit_parts` gave. peers: the processes with the others."""
    instance = _module(source).PARTS[gpu](peers)
    assert isinstance(instance, torch.nn.Module)
    return instance


def _module(source: str) -> ModuleType:
    path = f"convspec_emitted_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    module = sys.modules.get(path)
    if module is None:
        module = ModuleType(path)
        exec(compile(source, f"<{path}>", "exec"), module.__dict__)  # our own emitter wrote it
        sys.modules[path] = module
    return module
