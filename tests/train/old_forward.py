"""What an old network computes, in NumPy and float64, on its matrices as they are: features down, cases across.

Written from what the kernels of the originals compute, by loops over windows; shares nothing with the importer or the compiler.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.train.old_nets import Net

Matrix = np.ndarray[Any, np.dtype[np.float64]]


def old_forward(net: Net, **inputs: Matrix) -> dict[str, Matrix]:
    """The activities of all layers at test time, (features, cases), from those of the data layers."""
    given: dict[str, Matrix] = dict(inputs)
    for name, fields in net.layers.items():
        if fields["type"] == "data" or fields["type"].startswith("cost."):
            continue
        sources = [given[source] for source in fields["inputs"]]
        given[name] = _neuron(fields.get("neuron", ""), _COMPUTED[fields["type"]](fields, sources))
    return given


def _filtered(fields: dict[str, Any], sources: list[Matrix]) -> Matrix:
    filters, side = fields["filters"], fields["modulesX"]
    modules = side * side
    cases = sources[0].shape[1]
    result = np.zeros((filters, modules, cases))
    for i, source in enumerate(sources):
        channels, image = fields["channels"][i], fields["imgSize"][i]
        size, padding, stride = fields["filterSize"][i], -fields["padding"][i], fields["stride"][i]
        groups, of_group = fields["groups"][i], fields["filterChannels"][i]
        pixels = source.reshape(channels, image, image, cases)
        weights = fields["weights"][i].astype(np.float64)
        rows = of_group * size * size
        seen = fields.get("filterConns", [[]] * len(sources))[i] or list(range(channels))
        for module in range(modules):
            top, left = module // side * stride - padding, module % side * stride - padding
            for f in range(filters):
                first = f // (filters // groups) * of_group
                column = weights[:, f] if fields["type"] == "conv" else weights[module * rows : (module + 1) * rows, f]
                row = 0
                for c in seen[first : first + of_group]:
                    for y in range(top, top + size):
                        for x in range(left, left + size):
                            if 0 <= y < image and 0 <= x < image:
                                result[f, module] += column[row] * pixels[c, y, x]
                            row += 1
    flat = result.reshape(filters * modules, cases)
    biases = fields["biases"].astype(np.float64)
    return flat + (biases if len(biases) == len(flat) else np.repeat(biases, modules, axis=0))


def _products(fields: dict[str, Any], sources: list[Matrix]) -> Matrix:
    parts = fields.get("parts", 1)
    outputs = fields["outputs"] // parts
    result = np.zeros((fields["outputs"], sources[0].shape[1]))
    for source, matrix in zip(sources, fields["weights"], strict=True):
        rows = len(source) // parts
        for p in range(parts):
            part = matrix[p * rows : (p + 1) * rows].astype(np.float64)
            result[p * outputs : (p + 1) * outputs] += part.T @ source[p * rows : (p + 1) * rows]
    return result + fields["biases"].astype(np.float64).T


def _by_tree(fields: dict[str, Any], sources: list[Matrix]) -> Matrix:
    """The weights of a class are the sum over the nodes from it to the root."""
    above = {child: node for node, below in enumerate(fields["tree"]) for child in below}
    matrix = fields["weights"][0].astype(np.float64)
    result = np.zeros((fields["outputs"], sources[0].shape[1]))
    for label in range(fields["outputs"]):
        node: int | None = label
        while node is not None:
            result[label] += matrix[:, node] @ sources[0]
            node = above.get(node)
    return result + fields["biases"].astype(np.float64).T


def _pooled(fields: dict[str, Any], sources: list[Matrix]) -> Matrix:
    channels, side, outputs = fields["channels"], fields["imgSize"], fields["outputsX"]
    pixels = sources[0].reshape(channels, side, side, -1)
    result = np.empty((channels, outputs, outputs, pixels.shape[3]))
    for i in range(outputs):
        for j in range(outputs):
            top, left = (fields["start"] + k * fields["stride"] for k in (i, j))
            window = pixels[:, max(0, top) : top + fields["sizeX"], max(0, left) : left + fields["sizeX"]]
            result[:, i, j] = window.max((1, 2)) if fields["pool"] == "max" else window.mean((1, 2))
    return result.reshape(-1, pixels.shape[3])


def _across_maps(fields: dict[str, Any], sources: list[Matrix]) -> Matrix:
    channels, size = fields["channels"], fields["size"]
    pixels = sources[0].reshape(channels, -1, sources[0].shape[1])
    result = np.empty_like(pixels)
    for f in range(channels):
        first = f - size // 2
        window = pixels[max(0, first) : first + size]
        result[f] = pixels[f] * (fields.get("minDiv", 1) + fields["scale"] * (window**2).sum(0)) ** -fields["pow"]
    return result.reshape(sources[0].shape)


def _softmax(fields: dict[str, Any], sources: list[Matrix]) -> Matrix:
    powers = np.exp(sources[0] - sources[0].max(0))
    return powers / powers.sum(0)


def _neuron(text: str, x: Matrix) -> Matrix:
    kind, _, rest = text.partition("[")
    numbers = [float(value) for value in rest.rstrip("]").split(",") if value]
    match kind:
        case "":
            return x
        case "relu":
            return np.maximum(x, 0)
        case "tanh":
            return numbers[0] * np.tanh(numbers[1] * x)
        case "logistic":
            return 1 / (1 + np.exp(-x))
        case _:
            raise NotImplementedError(kind)


_COMPUTED = {
    "conv": _filtered,
    "local": _filtered,
    "fc": _products,
    "sfc": _products,
    "treefc": _by_tree,
    "pool": _pooled,
    "cmrnorm": _across_maps,
    "softmax": _softmax,
    "concat": lambda fields, sources: np.concatenate(sources),
    "hs": lambda fields, sources: fields["keep"] * sources[0],
    "dropout2": lambda fields, sources: fields["keep"] * sources[0],
    "dropout": lambda fields, sources: sources[0],
    "neuron": lambda fields, sources: sources[0],
}
