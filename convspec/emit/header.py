"""The file of an emitted module around its classes: what they are called, the docstring above them and what they import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

from convspec.diagnostics.visible import visible
from convspec.emit.lines import WIDTH, wrapped_import
from convspec.program.names import KERNELS
from convspec.program.operators import Op
from convspec.program.program import Program

# What the class of a module cannot be called, beside the kernels.
_TAKEN = frozenset({"F", "Tensor", "BLOCKS", "LAYERS", "PARENTS"})


def class_name(name: str) -> str:
    """`AlexnetSmall` for `alexnet-small`; a name that is mixed case already stays, but for those that a module imports."""
    words = [word for word in re.split(r"[^0-9A-Za-z]+", name) if word]
    joined = "".join(word[0].upper() + word[1:] for word in words)
    is_free = joined not in KERNELS | _TAKEN
    return f"{joined}{'' if is_free else 'Net'}" if joined[:1].isalpha() else f"Net{joined}"


def source(program: Program, spec_name: str, body: Sequence[str]) -> str:
    """The whole file. body: classes, functions and tables. spec_name: of the spec, for the docstring."""
    text = "\n\n\n".join(body)
    return f"{_header(program, spec_name)}\n\n{_imports(text)}\n\n\n{text}\n"


def _header(program: Program, spec_name: str) -> str:
    """The docstring: what goes in, what comes out, and how much is learned."""
    classes = program.class_inputs
    inputs = [f"{op.key} {'(N,)' if op.name in classes else _batched(op)}" for op in program.inputs]
    costs = {cost.name for cost in program.costs}
    outputs = [f"{o.layer} {'()' if o.value in costs else _batched(program.values[o.value])}" for o in program.outputs]
    count = sum(prod(parameter.shape) for parameter in program.parameters)
    return f'''"""{class_name(program.name)}, compiled by convspec from {_quoted(spec_name)}.

inputs      {_listed(inputs)}
outputs     {_listed(outputs)}
parameters  {count:,}
"""'''


def _quoted(name: str) -> str:
    """The name of a file as part of a docstring: whatever it is, it neither ends it nor escapes anything."""
    return visible(name).replace("\\", "\\\\").replace('"', '\\"')


def _listed(entries: Sequence[str]) -> str:
    """The entries after a heading of the docstring, as many as fit on each line."""
    indent = " " * 12
    lines = [indent]
    for i, entry in enumerate(entries):
        text = entry if i == len(entries) - 1 else f"{entry},"
        if lines[-1] != indent and len(lines[-1]) + 1 + len(text) > WIDTH:
            lines.append(indent)
        lines[-1] += text if lines[-1] == indent else f" {text}"
    return "\n".join(lines).strip()


def _batched(op: Op) -> str:
    return f"(N, {', '.join(map(str, op.shape.dims))})"


def _imports(text: str) -> str:
    """What the text needs, and no more."""
    lines = ["from typing import Any", ""] if "dict[str, Any]" in text else []
    lines += ["import torch"] if re.search(r"\btorch\.", text) else []
    lines.append("from torch import Tensor, nn")
    if re.search(r"\bF\.", text):
        lines.append("from torch.nn import functional as F")
    kernels = [name for name in sorted(KERNELS) if re.search(rf"(?<![.\w]){name}\b(?=[.(:,)])", text)]
    if kernels:
        lines += ["", *wrapped_import(kernels)]
    return "\n".join(lines)
