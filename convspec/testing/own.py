"""Layer types of someone else's package, whose size nobody here knows: they are asked."""

from __future__ import annotations

from convspec.checker import check
from convspec.diagnostics import Severity
from convspec.testing.net import Net, any_stage, own_values, write_stage


def add_own(net: Net, index: int, kind: str) -> None:
    """A layer over one value, where `check` has nothing to say of it; what it gives is what `check` finds."""
    stage = any_stage(net, net.stages)
    drawn = net.draw(net.limits.own_types[kind])
    keys = {"type": kind, **{key: str(value) for key, value in drawn.items()}}
    name = f"{kind}{index}"
    before = "\n".join([*net.sections, f"[@net]\noutputs={name}\n"])
    section = "\n".join([f"[{name}]", f"inputs={stage[0].name}", *(f"{key}={value}" for key, value in keys.items())])
    checked = check(f"{before}{section}\n")
    told = [d for d in checked.diagnostics if d.span is not None and d.span.start >= len(before)]
    shape = {row.name: row.shape for row in checked.layers}.get(name)
    if shape is not None and all(d.severity is Severity.NOTE for d in told):
        write_stage(net, name, shape, own_values(stage), keys)
