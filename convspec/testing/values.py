"""The layers without weights that read maps and vectors alike."""

from __future__ import annotations

from math import prod

from hypothesis import strategies as st

from convspec.testing.net import Keys, Net, Stage, any_stage, draw_lone, draw_neuron, own_values, several, write_stage


def unpassed(net: Net) -> list[Stage]:
    """Stages that no `pass` layer reads yet: one alone may."""
    return [stage for stage in net.stages if stage[0].name not in net.passed]


def add_concat(net: Net, index: int, kind: str) -> None:
    stages = unpassed(net) if kind == "pass" else net.stages
    stage = any_stage(net, stages)
    reads = several(net, stage, [s for s in stages if s != stage]) or own_values(stage)
    if kind == "pass":
        net.passed.update(value.name for value in reads[0])
    values = reads[0]
    if all(value.is_map for value in values) and len({value.dims[1:] for value in values}) == 1:
        dims = (sum(value.dims[0] for value in values), *values[0].dims[1:])
    else:
        dims = (sum(prod(value.dims) for value in values),)
    write_stage(net, f"{kind}{index}", dims, reads, {"type": kind})


def add_combination(net: Net, index: int, kind: str) -> None:
    """Values of as many numbers, one by one; in different shapes they are vectors."""
    stage = any_stage(net, net.stages)
    partners = [s for s in net.stages if s != stage and prod(s[0].dims) == prod(stage[0].dims)]
    reads = several(net, stage, partners) or [[value, value] for value in stage]
    values = reads[0]
    dims = values[0].dims if len({value.dims for value in values}) == 1 else (prod(values[0].dims),)
    keys: Keys = {"type": kind, **draw_neuron(net)}
    if len(set(values)) < len(values):
        # What is read twice would give a warning.
        kind, reads, keys = "eltsum", own_values(stage), {"type": "eltsum", **draw_neuron(net)}
        dims = stage[0].dims
    if kind == "eltsum" and net.draw(st.booleans()):
        keys["coeffs"] = ",".join(net.draw(st.sampled_from(["1", "-1", "0.5", "2"])) for _ in reads[0])
    write_stage(net, f"{kind}{index}", dims, reads, keys)


def add_sum(net: Net, index: int) -> None:
    stage = any_stage(net, net.stages)
    features = prod(stage[0].dims)
    stride = net.draw(st.sampled_from([n for n in range(1, min(features, 16) + 1) if features % n == 0]))
    write_stage(net, f"sum{index}", (features // stride,), own_values(stage), {"type": "sum", "stride": str(stride)})


def add_elementwise(net: Net, index: int, kind: str) -> None:
    stage = any_stage(net, net.stages)
    dims, keys = stage[0].dims, {"type": kind}
    match kind:
        case "neuron":
            keys["neuron"] = net.draw(st.sampled_from(net.limits.neurons or ("relu",)))
        case "softmax":
            dims = (prod(dims),)
        case _:
            keys["keep"] = net.draw(st.sampled_from(["0.5", "0.8", "1"]))
            keys["enable"] = net.draw(st.sampled_from(["1", "0"]))
    write_stage(net, f"{kind}{index}", dims, own_values(stage), keys, is_lone=draw_lone(net))
