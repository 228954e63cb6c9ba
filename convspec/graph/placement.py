"""Which GPUs each layer is on, by the rules of the language.

`gpu=` names them, several for data parallelism; a layer without it is where its first input is; a data layer is where
its readers are (cuda-convnet2 layer.py:411-423, 173-176).
"""

from __future__ import annotations

from collections.abc import Mapping

from convspec.graph.graph import Graph
from convspec.layers.dialects import Placing

Placement = Mapping[str, tuple[int, ...]]


def place_layers(graph: Graph) -> Placement:
    """GPUs of each layer in graph order; a spec that names none is on GPU 0."""
    gpus: dict[str, tuple[int, ...]] = {}
    for layer in graph.order:
        stated = () if graph.dialect.placing is Placing.NONE else layer.gpu
        gpus[layer.name] = stated or next((gpus.get(name, ()) for name in layer.input_names), ())
    for layer in graph.order:
        if not layer.input_names:
            gpus[layer.name] = tuple(sorted({gpu for r in graph.readers[layer.name] for gpu in gpus.get(r.name, ())}))
    for layer in graph.order:
        if not gpus[layer.name]:
            gpus[layer.name] = next((gpus[name] for name in layer.input_names if gpus.get(name)), (0,))
    return gpus
