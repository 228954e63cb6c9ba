"""From emitted source to the module itself. The one place outside the trainer that needs torch."""

from __future__ import annotations

import hashlib
import sys
from types import ModuleType

import torch

from convspec.emit.header import class_name


def instantiate(source: str, name: str) -> torch.nn.Module:
    """A new module from the source that `emit` gave for a program of this name, with initial weights drawn.

    The source becomes an importable Python module of this process, so that instances pickle and copy.
    """
    path = f"convspec_emitted_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    module = sys.modules.get(path)
    if module is None:
        module = ModuleType(path)
        exec(compile(source, f"<{path}>", "exec"), module.__dict__)  # our own emitter wrote it
        sys.modules[path] = module
    instance = getattr(module, class_name(name))()
    assert isinstance(instance, torch.nn.Module)
    return instance
