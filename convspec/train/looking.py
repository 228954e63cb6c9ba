"""A trained network looks at pictures: what it takes them for, and the features by which it tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convspec.checker import Checked
from convspec.data import Batch
from convspec.data.dataset import Notify, Pictures
from convspec.data.gallery import Gallery
from convspec.data.views import ONE, TEN, cut_views, views_of
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.graph.hidden import last_hidden_layers, layers_named
from convspec.train.averaging import by_class, probabilities
from convspec.train.inputs import InputTensors
from convspec.train.trained import Trained, open_trained

MOST_AT_ONCE = 128
"""Crops that a network is given at once, at most."""


class Seen(NamedTuple):
    """What a network made of some pictures of a gallery. indices: their places in it, (N,). labels: (N,).

    numbers: float32 (N, ...), probabilities of the classes, or features.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    numbers: NDArray[np.float32]


def likeliest(probabilities: NDArray[np.float32], most: int) -> NDArray[np.int64]:
    """The classes of largest probability, so many at most, the likeliest first; of equal ones the first."""
    return np.argsort(-probabilities, kind="stable")[:most]


def class_title(trained: Trained, number: int) -> str:
    """The name of a class; the network may have outputs for more than the data had."""
    return trained.classes[number] if number < len(trained.classes) else f"output {number}"


def open_with_layers(
    run: str, layer: str | None, *, device: str, checkpoint: str | None, notify: Notify
) -> tuple[Trained, tuple[str, ...]]:
    """A trained network that gives what a layer holds, and the names of the layers that were meant, see `hidden`.

    layer: None for the last hidden ones. Raises DiagnosticError what `open_trained` raises, and CS601.
    """
    found: tuple[str, ...] = ()

    def find(checked: Checked) -> tuple[str, ...]:
        nonlocal found
        graph = checked.graph
        found = (
            last_hidden_layers(graph)
            if layer is None
            else layers_named(layer, graph, checked.shapes, checked.placement)
        )
        return found

    trained = open_trained(run, outputs=find, device=device, checkpoint=checkpoint, notify=notify)
    return trained, found


class Looker:
    """A trained network that is shown pictures, a few at once."""

    def __init__(self, trained: Trained) -> None:
        """Raises DiagnosticError CS701 where it has no mean picture."""
        self.trained, self.mean = trained, trained.mean_for()
        self._at_once = max(TEN, min(MOST_AT_ONCE, trained.compiled.train.batch))
        self._inputs = InputTensors(trained.program, self.mean, trained.device, self._at_once)

    def classify(self, gallery: Gallery, views: int = ONE) -> Iterator[Seen]:
        """Probabilities of all pictures that can be read, (N, classes), the mean over one view or ten (paper, section 4.1).

        Raises DiagnosticError CS707 where they are not finite, CS602 where the network does not tell classes.
        """
        judged, cost = self.trained.judged, self.trained.cost
        if judged is None or cost is None:
            message = (
                f"{self.trained.name} has no cost that judges classes, so that it cannot tell what a picture shows"
            )
            raise DiagnosticError(Diagnostic("CS602", message, help="take its features: convspec features"))
        for seen, outputs in self._looks(gallery, views):
            found = probabilities(cost, outputs[judged])
            means = found.view(len(seen.indices), -1, found.shape[1]).mean(1)
            yield seen._replace(numbers=self._finite(by_class(means), judged, gallery, seen))

    def features(self, gallery: Gallery, layers: Sequence[str]) -> Iterator[Seen]:
        """What the layers give for the middle of each picture, joined: (N, features), or (N, channels, height, width).

        `layers` are among the outputs of the network. Raises DiagnosticError CS707 where numbers are not finite.
        """
        for seen, outputs in self._looks(gallery, ONE):
            joined = torch.cat([outputs[layer] for layer in layers], 1).float()
            yield seen._replace(numbers=self._finite(joined, ", ".join(layers), gallery, seen))

    def _looks(self, gallery: Gallery, count: int) -> Iterator[tuple[Seen, dict[str, Tensor]]]:
        """Of each chunk of pictures the outputs of the network, a case a view, valid until the next chunk."""
        _, height, width = self.trained.input_shape
        views = views_of(gallery.shape[:2], (height, width), count)
        for chunk in gallery.chunks(self._at_once // len(views)):
            if len(chunk.indices):
                crops = np.empty((len(chunk.indices), len(views), height, width, gallery.shape[2]), np.uint8)
                cut_views(chunk.pictures, views, crops)
                outputs = self._forward(crops.reshape(-1, *crops.shape[2:]))
                yield Seen(chunk.indices, chunk.labels, np.empty(0, np.float32)), outputs

    def _forward(self, crops: Pictures) -> dict[str, Tensor]:
        # costs are computed as well where the network has them: any label will do
        tensors, _ = self._inputs(Batch(crops, np.zeros(len(crops), np.int64)))
        with torch.inference_mode(), self.trained.autocast():
            outputs: dict[str, Tensor] = self.trained.net(tensors)
        return outputs

    def _finite(self, numbers: Tensor, layer: str, gallery: Gallery, seen: Seen) -> NDArray[np.float32]:
        found: NDArray[np.float32] = numbers.float().cpu().numpy()
        good = np.isfinite(found.reshape(len(found), -1)).all(axis=1)
        if not good.all():
            name = gallery.name(int(seen.indices[int(good.argmin())]))
            message = f"{layer} gives numbers that are not finite for {name}"
            help = "the training went astray: name an earlier checkpoint with --checkpoint, or another run"
            raise DiagnosticError(Diagnostic("CS707", message, help=help))
        return found
