"""The other layers that learn, and what weights have beside their sizes: rates, and layers that share them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod
from typing import Any

from hypothesis import strategies as st

from convspec.testing.net import Keys, Net, any_stage, draw_neuron, maps_of, own_values, several, write_stage

# What is said of weights and biases now and then, beyond rates.
_LEARNING: tuple[Keys, ...] = (
    {"biases": "0", "initW": "he"},
    {"schedW": "dexp[tgtFactor=10,noiseStdev=0.2,numSteps=2]", "schedB": "linear[tgtFactor=2,noiseStdev=0]"},
    {"wball": "0.3", "updatePeriod": "2"},
    {"superEps": "0.1"},
)


def add_fc(net: Net, index: int) -> None:
    stage = any_stage(net, net.stages)
    reads = several(net, stage, [s for s in net.stages if s != stage]) or own_values(stage)
    outputs = net.draw(st.integers(1, 2 * net.limits.channels))
    sources = draw_sources(net, f"fc{index}", [("fc", outputs, prod(value.dims)) for value in reads[0]])
    keys = {"type": "fc", "outputs": str(outputs), **sources, **rates(net, reads[0]), **draw_neuron(net)}
    write_stage(net, f"fc{index}", (outputs,), reads, keys)


def add_sfc(net: Net, index: int) -> None:
    stage = any_stage(net, net.stages)
    reads = several(net, stage, [s for s in net.stages if s != stage]) or own_values(stage)
    widths = [prod(value.dims) for value in reads[0]]
    parts = net.draw(st.sampled_from([p for p in range(1, 5) if all(width % p == 0 for width in widths)]))
    outputs = net.draw(st.integers(1, net.limits.channels))
    alike = [("sfc", outputs, parts, width) for width in widths]
    sources = draw_sources(net, f"sfc{index}", alike)
    keys = {
        **sources,
        "type": "sfc",
        "outputs": str(outputs),
        "parts": str(parts),
        **rates(net, reads[0]),
        **draw_neuron(net),
    }
    write_stage(net, f"sfc{index}", (outputs * parts,), reads, keys)


def add_treefc(net: Net, index: int) -> None:
    """The classes are put together, a few at a time, until one node is above all."""
    stage = any_stage(net, net.stages)
    children: list[list[int]] = [[] for _ in range(net.classes)]
    tops = list(range(net.classes))
    while len(tops) > 1:
        below = net.draw(st.permutations(tops))[: net.draw(st.integers(2, len(tops)))]
        tops = [node for node in tops if node not in below] + [len(children)]
        children.append(below)
    tree = json.dumps({"children": children, "root": tops[0]})
    keys = {"type": "treefc", "tree": tree, **draw_neuron(net)}
    write_stage(net, f"treefc{index}", (net.classes,), own_values(stage), keys)


def add_batchnorm(net: Net, index: int) -> None:
    """With numbers so large that they matter; a vector is read as features, or as maps."""
    stage = any_stage(net, net.stages)
    dims: tuple[int, ...] = stage[0].dims
    keys: Keys = {}
    if stage[0].is_map or net.draw(st.booleans()):
        dims, keys = maps_of(net, stage[0])
    keys |= {"type": "batchnorm", "eps": net.draw(st.sampled_from(["0.1", "1e-5"]))}
    write_stage(net, f"batchnorm{index}", dims, own_values(stage), {**keys, **draw_neuron(net)})


def draw_sources(net: Net, name: str, alike: Sequence[tuple[Any, ...]]) -> Keys:
    """Weights of earlier layers, or of earlier inputs, for some of the inputs of a layer; each with what its weights must
    have in common with theirs. Towers have no weights in common."""
    sources = []
    for i, signature in enumerate(alike if net.limits.towers == 1 else ()):
        others = net.matrices.setdefault(signature, [])
        sources.append(net.draw(st.sampled_from(["", *others])))
        others.append(f"{name}[{i}]")
    return {"weightSource": ",".join(sources)} if any(sources) else {}


def rates(net: Net, inputs: Sequence[Any]) -> Keys:
    """Learning rates, which may differ where there are several inputs, and now and then what goes beyond them: no biases,
    schedules, bounds."""
    keys = net.draw(st.sampled_from([{}, {}, {}, *_LEARNING]))
    if len(inputs) < 2 or not net.draw(st.booleans()):
        return keys
    return {"epsW": ",".join(f"0.0{i + 1}" for i in range(len(inputs))), **keys}
