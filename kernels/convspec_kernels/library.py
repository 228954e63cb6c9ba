"""How torch's dispatcher comes to know an operator of ours.

By a `Library`, and not by `torch.library.custom_op`, whose operators import torch's compiler when one is first called, a
second and more that a network pays which is never compiled, and take some fifty microseconds longer at each call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_NAMESPACE = "convspec_kernels"
LIBRARY = torch.library.Library(_NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]
Implementation = Callable[..., Any]


def define(schema: str, implementation: Implementation, fake: Implementation, *tags: torch.Tag) -> Callable[..., Any]:
    """An operator that compilers do not look into, with one implementation for all devices.

    Args:
        schema: `name(Tensor x, ...) -> Tensor`.
        implementation: computes it. Its results must share no memory with its arguments.
        fake: makes results of the same shapes, strides and types without computing them.
        tags: what else torch is to know of it.

    Returns:
        The operator, without a gradient.
    """
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag, *tags))  # type: ignore[no-untyped-call]
    _hide(implementation)
    LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(qualified(name), fake, lib=LIBRARY)
    operator: Callable[..., Any] = getattr(torch.ops.convspec_kernels, name).default
    return operator


def qualified(name: str) -> str:
    return f"{_NAMESPACE}::{name}"


def _hide(function: Implementation) -> None:
    """Keep torch's compiler from tracing a function and what it calls, where compiled code that it gave up calls the
    operator: as `torch.compiler.disable` would, which imports the compiler."""
    frames = torch._C._dynamo.eval_frame
    skip = frames._FrameAction.SKIP
    frames.set_code_exec_strategy(function.__code__, frames._FrameExecStrategy(skip, skip))
