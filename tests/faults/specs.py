"""Real specs for the tests of this folder: ours, and the collection of files from elsewhere where it is present."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from convspec.checker import Checked, check
from convspec.diagnostics import Diagnostic, Severity
from convspec.layers.data import Data

ROOT = Path(__file__).parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"


@dataclass(frozen=True)
class Spec:
    """A network. params: text of its parameter file, or None. dims: of its data layers, by dataIdx."""

    name: str
    layers: str
    params: str | None = None
    dims: tuple[tuple[int, tuple[int, ...]], ...] = ()
    classes: int | None = None

    def check(self, layers: str | None = None, params: str | None = None) -> Checked:
        """Check this network, or a variant of its texts."""
        layers = self.layers if layers is None else layers
        params = self.params if params is None else params
        return check(layers, params, inputs=self.inputs, classes=self.classes)

    @cached_property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Sizes of its data layers by name."""
        by_index = dict(self.dims)
        layers = check(self.layers, self.params).graph.layers.values() if by_index else []
        data = [layer for layer in layers if isinstance(layer, Data)]
        return {layer.name: by_index[layer.data_index] for layer in data if layer.data_index in by_index}

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What is said of it as it is: notes, and the warnings of old files with keys that nothing reads."""
        return self.check().diagnostics

    @property
    def is_clean(self) -> bool:
        return all(d.severity is not Severity.ERROR for d in self.diagnostics)


@cache
def our_specs() -> tuple[Spec, ...]:
    return tuple(spec for spec in _ours() if spec.is_clean)


@cache
def corpus() -> tuple[Spec, ...]:
    """All of the collection, clean or not; empty where it is absent."""
    return tuple(_from_elsewhere()) if (CORPUS / "expected.jsonl").is_file() else ()


@cache
def clean_corpus() -> tuple[Spec, ...]:
    return tuple(spec for spec in corpus() if spec.is_clean)


def _ours() -> Iterator[Spec]:
    for path in sorted((ROOT / "specs").glob("*.cfg")):
        yield Spec(path.name, path.read_text(encoding="utf-8"))


def _from_elsewhere() -> Iterator[Spec]:
    for row in map(json.loads, (CORPUS / "expected.jsonl").read_text(encoding="utf-8").splitlines()):
        folder = CORPUS / "files" / row["id"]
        params = folder / "params.cfg"
        dims = {int(index): (count,) for index, count in row["data_dims"].items()}
        side = row["image_size"] or 0
        if side and dims.get(0, (1,))[0] % side**2 == 0:
            dims[0] = (dims[0][0] // side**2, side, side)
        yield Spec(
            row["id"],
            (folder / "layers.cfg").read_text(encoding="latin-1"),
            params.read_text(encoding="latin-1") if params.is_file() else None,
            tuple(sorted(dims.items())),
            row["num_classes"],
        )
