"""Small networks as the three original programs kept them in memory and in checkpoints, written after their `layer.py`.

`Net` takes layers one after another, as a layer file does, and keeps the dictionaries that their parsers made: sizes
that follow from others, padding with its sign turned, filters counted over all groups, scales divided by windows, and a
neuron layer of its own for each `neuron=`. Weights are drawn from a seed. `old_forward` computes what it gives.
"""

from __future__ import annotations

from math import ceil, isqrt
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.python2 import Instance, dumps

Fields = dict[str, Any]


class Net:
    """program: `ccn1`, `alexnet2012` or `ccn2`."""

    def __init__(self, program: str, seed: int = 0) -> None:
        self.program = program
        self.layers: dict[str, Fields] = {}
        self.random = np.random.default_rng(seed)

    # layers, with the names of their layer files

    def data(self, name: str, index: int, outputs: int) -> None:
        fields = self._new(name, "data", [], outputs=outputs, dataIdx=index)
        if self.program == "ccn2":
            fields |= {"start": 0, "end": outputs}

    def conv(self, name: str, inputs: list[str], kind: str = "conv", **given: Any) -> None:
        """given: filters of one group, channels, filterSize, and the rest of what a file may say, as lists or numbers."""
        count = len(inputs)
        lists = {
            key: self._list(given.get(key, default), count)
            for key, default in {
                "channels": 3,
                "filters": 16,
                "filterSize": 3,
                "padding": 0,
                "stride": 1,
                "groups": 1,
            }.items()
        }
        widths = [self.layers[source]["outputs"] for source in inputs]
        sides = [isqrt(width // channels) for width, channels in zip(widths, lists["channels"], strict=True)]
        modules = {
            1 + ceil((2 * padding + side - size) / stride)
            for padding, side, size, stride in zip(
                lists["padding"], sides, lists["filterSize"], lists["stride"], strict=True
            )
        }
        [side] = modules
        [filters] = {f * g for f, g in zip(lists["filters"], lists["groups"], strict=True)}
        per_group = [c // g for c, g in zip(lists["channels"], lists["groups"], strict=True)]
        sparse = self._list(given.get("randSparse", False), count)
        per_group = self._list(given.get("filterChannels", per_group), count)
        pixels = [size**2 for size in lists["filterSize"]]
        shared = bool(given.get("sharedBiases", True)) and kind == "conv"
        fields = self._new(name, kind, inputs, outputs=filters * side**2, **given)
        fields |= lists | {
            "filters": filters,
            "padding": [-padding for padding in lists["padding"]],
            "filterChannels": per_group,
            "filterPixels": pixels,
            "imgSize": sides,
            "imgPixels": [s * s for s in sides],
            "modulesX": side,
            "modules": side**2,
        }
        if self.program != "ccn2":
            fields |= {"randSparse": sparse, "filterConns": []}
            for i, (groups, channels) in enumerate(zip(lists["groups"], lists["channels"], strict=True)):
                draws = groups * per_group[i] // channels if sparse[i] else 0
                orders = [self.random.permutation(channels).tolist() for _ in range(draws)]
                fields["filterConns"].append([channel for order in orders for channel in order])
        if kind == "conv":
            fields |= {"sharedBiases": shared, ("sumWidth" if self.program == "ccn2" else "partialSum"): 1}
        each = 1 if kind == "conv" else side**2
        rows = [each * c * p for c, p in zip(per_group, pixels, strict=True)]
        self._weigh(fields, rows, [filters] * count, (filters if shared else filters * side**2, 1), "C", given)

    def fc(self, name: str, inputs: list[str], outputs: int, parts: int = 0, **given: Any) -> None:
        """With parts above 0 it is `sfc`, with `outputs` of one part."""
        total = outputs * max(1, parts)
        fields = self._new(name, "sfc" if parts else "fc", inputs, outputs=total, **given)
        if parts:
            fields["parts"] = parts
        rows = [self.layers[source]["outputs"] for source in inputs]
        self._weigh(fields, rows, [outputs] * len(inputs), (1, total), "F", given)

    def tree(self, name: str, source: str, children: list[list[int]], root: int) -> None:
        """`treefc`: a column of weights for each node, the first ones classes; a bias for each class."""
        classes = sum(not below for below in children)
        fields = self._new(name, "treefc", [source], outputs=classes, tree=children, rootLabel=root)
        rows = self.layers[source]["outputs"]
        self._weigh(fields, [rows], [len(children)], (1, classes), "F", {})

    def share(self, name: str, index: int, owner: str, matrix: int) -> None:
        """`weightSource=owner[matrix]` for input `index` of a layer: one array under two names."""
        fields, source = self.layers[name], self.layers[owner]
        for key in ("weights", "weightsInc"):
            fields[key][index] = source[key][matrix]
        fields["weightSource"][index] = f"{owner}[{matrix}]" if matrix else owner
        fields["weightSourceMatrixIndices"][index] = matrix
        if self.program == "ccn1":
            fields["weightSourceLayerIndices"][index] = list(self.layers).index(owner)
        else:
            fields["weightSourceLayers"][index] = owner

    def pool(self, name: str, source: str, pool: str = "max", size: int = 3, stride: int = 2, start: int = 0) -> None:
        channels, side = self._maps(source)
        outputs = ceil((side - start - size) / stride) + 1
        sizes = {"channels": channels, "imgSize": side, "imgPixels": side**2, "sizeX": size, "stride": stride}
        self._new(
            name, "pool", [source], outputs=channels * outputs**2, pool=pool, start=start, outputsX=outputs, **sizes
        )

    def norm(self, name: str, source: str, kind: str, size: int, scale: float, power: float, **given: Any) -> None:
        channels, side = self._maps(source)
        divisor = size if kind == "cmrnorm" else size**2
        fields = self._new(name, kind, [source], outputs=channels * side**2, channels=channels, size=size, **given)
        fields |= {"scale": scale / divisor, "pow": power, "blocked": False, "imgSize": side, "imgPixels": side**2}

    def same(self, name: str, inputs: list[str], kind: str, **given: Any) -> None:
        """A layer as wide as its first input, such as `softmax`, `dropout2`, `eltsum`."""
        self._new(name, kind, inputs, outputs=self.layers[inputs[0]]["outputs"], **given)

    def concat(self, name: str, inputs: list[str]) -> None:
        self._new(name, "concat", inputs, outputs=sum(self.layers[source]["outputs"] for source in inputs))

    def cost(self, name: str, inputs: list[str], **given: Any) -> None:
        fields = self._new(name, "cost.logreg", inputs, outputs=1, coeff=1.0, **given)
        fields.pop("neuron")
        if self.program != "ccn1":
            fields["topk"] = given.get("topk", 1)

    # checkpoints

    def state(self, epoch: int = 3, batch: int = 2) -> Fields:
        layers = detached(self)
        return {
            "layers": list(layers.values()) if self.program == "ccn1" else scrambled(layers),
            "train_outputs": [({"logprob": [2.5, 0.5]}, 100)] if self.program == "ccn2" else [[2.5, 0.5]],
            "test_outputs": [],
            "epoch": epoch,
            "batchnum": batch,
        }

    def save(self, path: Path, epoch: int = 3, batch: int = 2, **options: Any) -> Path:
        path.write_bytes(dumps({"model_state": self.state(epoch, batch), "op": parser(self.program, **options)}))
        return path

    # what the parsers do

    def _new(self, name: str, kind: str, inputs: list[str], *, outputs: int, **given: Any) -> Fields:
        fields: Fields = {"name": name, "type": kind, "outputs": outputs, "requiresParams": False, "usesActs": True}
        fields |= {"actsTarget": -1, "actsGradTarget": -1, "gradConsumer": False}
        if inputs:
            fields |= {"inputs": list(inputs), "numInputs": [self.layers[source]["outputs"] for source in inputs]}
            fields["neuron"] = ""
        if self.program == "ccn2":
            fields |= {"id": len(self.layers), "gpu": [-1], "numReplicas": 1}
        elif self.program == "alexnet2012":
            fields["gpu"] = -1
        if self.program != "ccn1" and inputs:
            above = self.layers[inputs[0]]["gpu"]
            fields["gpu"] = given.pop("gpu", above if above not in (-1, [-1]) else 0)
            fields["gpu"] = self._list(fields["gpu"], 1) if self.program == "ccn2" else fields["gpu"]
        self.layers[name] = fields
        fields |= given
        return fields

    def _weigh(
        self, fields: Fields, rows: list[int], columns: list[int], biases: tuple[int, int], order: Any, given: Fields
    ) -> None:
        count = len(rows)
        rates = given.get("epsW", 0.01)
        fields |= {"initW": self._list(given.get("initW", 0.1), count), "initB": given.get("initB", 0.0)}
        fields |= {"initWFunc": "", "initBFunc": "", "weightSource": [""] * count}
        fields |= {"weightSourceMatrixIndices": [-1] * count}
        fields["weightSourceLayerIndices" if self.program == "ccn1" else "weightSourceLayers"] = (
            [-1] * count if self.program == "ccn1" else [""] * count
        )
        fields |= {"epsW": self._rates(rates, count), "epsB": self._rates(given.get("epsB", 0.02), 1)[0]}
        fields |= {"momW": self._list(given.get("momW", 0.9), count), "momB": given.get("momB", 0.9)}
        fields |= {"wc": self._list(given.get("wc", 0.0005), count)}
        fields["weights"] = [self._draw((r, c), order) for r, c in zip(rows, columns, strict=True)]
        fields["weightsInc"] = [self._draw((r, c), order, 1e-3) for r, c in zip(rows, columns, strict=True)]
        fields |= {"biases": self._draw(biases, order), "biasesInc": self._draw(biases, order, 1e-3)}

    def _rates(self, value: Any, count: int) -> list[Any]:
        rates = self._list(value, count)
        if self.program == "ccn2":
            rates = [r if isinstance(r, dict) else {"type": "const", "params": {"base": float(r)}} for r in rates]
        return rates

    def _draw(self, shape: tuple[int, int], order: Any, scale: float = 0.2) -> np.ndarray[Any, Any]:
        return np.array(scale * self.random.standard_normal(shape), dtype=np.float32, order=order)

    def _list(self, value: Any, count: int) -> list[Any]:
        return list(value) if isinstance(value, list | tuple) else [value] * count

    def _maps(self, source: str) -> tuple[int, int]:
        """Channels and side of what a layer gives."""
        fields = self.layers[source]
        while "filters" not in fields and fields["type"] != "pool":
            fields = self.layers[fields["inputs"][0]]
        return (
            (fields["channels"], fields["outputsX"])
            if fields["type"] == "pool"
            else (
                fields["filters"],
                fields["modulesX"],
            )
        )


def detached(net: Net) -> dict[str, Fields]:
    """The layers as a checkpoint has them: neurons as layers, right behind their source in cuda-convnet, else at the end."""
    layers = {name: dict(fields) for name, fields in net.layers.items()}
    neurons = {name: _neuron_behind(fields) for name, fields in layers.items() if _is_detached(fields)}
    for fields in layers.values():
        if fields["type"] == "neuron":
            fields["neuron"] = parsed_neuron(fields["neuron"])
        if "inputs" in fields:
            fields["inputs"] = [neurons[source]["name"] if source in neurons else source for source in fields["inputs"]]
    return _as_list(layers, neurons) if net.program == "ccn1" else _as_dictionary(layers, neurons, net.program)


def _is_detached(fields: Fields) -> bool:
    return bool(fields.get("neuron")) and fields["type"] != "neuron"


def _neuron_behind(fields: Fields) -> Fields:
    neuron = {"name": f"{fields['name']}_neuron", "type": "neuron", "inputs": [fields["name"]]}
    neuron |= {"outputs": fields["outputs"], "neuron": parsed_neuron(fields["neuron"]), "requiresParams": False}
    return neuron | {key: fields[key] for key in ("gpu", "numReplicas") if key in fields}


def _as_list(layers: dict[str, Fields], neurons: dict[str, Fields]) -> dict[str, Fields]:
    ordered: dict[str, Fields] = {}
    for name, fields in layers.items():
        ordered[name] = fields
        if name in neurons:
            ordered[neurons[name]["name"]] = neurons[name]
    places = {name: place for place, name in enumerate(ordered)}
    for fields in ordered.values():
        if "inputs" in fields:
            fields["inputs"] = [places[source] for source in fields["inputs"]]
    return ordered


def _as_dictionary(layers: dict[str, Fields], neurons: dict[str, Fields], program: str) -> dict[str, Fields]:
    for source, neuron in neurons.items():
        if program == "ccn2":
            neuron |= {"id": len(layers), "src_layer": source}
        layers[neuron["name"]] = neuron
    for fields in layers.values():
        if "inputs" in fields:
            fields["inputLayers"] = [layers[source] for source in fields["inputs"]]
    return layers


def scrambled(layers: dict[str, Fields]) -> dict[str, Fields]:
    """In an order of no meaning, as dictionaries of Python 2 had."""
    return {name: layers[name] for name in sorted(layers, key=lambda name: (len(name) % 3, name[::-1]))}


def parsed_neuron(text: str) -> Fields:
    kind, _, rest = text.partition("[")
    values = [float(value) for value in rest.rstrip("]").split(",") if value]
    return {"type": kind, "params": dict(zip("ab", values, strict=False)), "usesActs": True, "usesInputs": False}


def parser(program: str, **values: Any) -> Instance:
    """The options of a run, as `OptionsParser` kept them."""
    module = "python_util.options" if program == "ccn2" else "options"
    options = {
        name: Instance(
            module, "Option", {"name": name, "value": value, "parser": Instance(module, "StringOptionParser", {})}
        )
        for name, value in values.items()
    }
    return Instance(module, "OptionsParser", {"options": options})
