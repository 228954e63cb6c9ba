"""The public strategy: its specs are clean and small, and reach what it promises to reach."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import convspec
from convspec import layers, testing
from convspec.diagnostics import Severity
from convspec.layers.base import Context, Inference, Layer
from convspec.layers.keys import integer
from convspec.layers.reading import read_maps
from convspec.program.shape import Shape
from convspec.testing import COSTS, LAYER_TYPES, specs


@given(
    text=st.one_of(specs(), specs(is_square=False), specs(towers=2), specs(towers=3, max_layers=4), specs(replicas=2))
)
@settings(max_examples=80)
def test_every_spec_checks_clean(text: str) -> None:
    checked = convspec.check(text)
    assert [d for d in checked.diagnostics if d.severity is not Severity.NOTE] == []
    assert all(layer.shape is not None for layer in checked.layers)
    assert any(layer.type == "cost.logreg" for layer in checked.layers)


@given(text=specs(max_layers=3, max_side=5, max_channels=4, layer_types=("conv", "pool"), neurons=("relu",), costs=()))
@settings(max_examples=50)
def test_limits_hold(text: str) -> None:
    layers = convspec.check(text).layers
    between = [layer for layer in layers if layer.type in LAYER_TYPES and not re.match("scores|probs", layer.name)]
    assert len(between) <= 3
    assert {layer.type for layer in between} <= {"conv", "pool"}
    assert {layer.neuron for layer in layers} <= {"", "relu"}
    maps = [layer.shape for layer in layers if layer.shape and len(layer.shape) == 3 and layer.name[:6] != "scores"]
    assert all(channels <= 4 for channels, _, _ in maps)
    assert max(maps[0][1:]) <= 5


def test_towers_are_on_gpus_of_their_own() -> None:
    found = find(specs(towers=2, layer_types=("conv",)), lambda text: "[conv2b]" in text)
    gpus = {layer.name: layer.gpus for layer in convspec.check(found).layers}
    assert gpus["conv2a"] == (0,)
    assert gpus["conv2b"] == (1,)


def drawn(examples: int, **options: Any) -> Counter[str]:
    """How often each type is drawn, and reads both towers, in either order."""
    seen: Counter[str] = Counter()

    @given(text=specs(towers=2, **options))
    @settings(max_examples=examples, database=None, derandomize=True)
    def collect(text: str) -> None:
        for layer in convspec.check(text).layers:
            seen[layer.type] += 1
            crossed = {name[-1] for name in layer.inputs} >= {"a", "b"}
            seen[f"{layer.type} over towers"] += crossed
            seen[f"{layer.type} in the other order"] += crossed and list(layer.inputs) != sorted(layer.inputs)

    collect()
    return seen


def test_many_types_and_ways_to_read_are_drawn_at_once() -> None:
    seen = drawn(150, max_layers=8)
    assert sum(seen[kind] > 0 for kind in LAYER_TYPES) > len(LAYER_TYPES) / 2
    seen = drawn(100, max_layers=6, layer_types=("conv", "fc"), costs=())
    for wanted in ("conv over towers", "conv in the other order", "fc in the other order"):
        assert seen[wanted], wanted


@pytest.mark.parametrize("kind", LAYER_TYPES)
def test_each_type_is_drawn(kind: str) -> None:
    assert drawn(15, max_layers=2, layer_types=(kind,))[kind]


@pytest.mark.parametrize("kind", COSTS)
def test_each_cost_is_drawn(kind: str) -> None:
    assert drawn(40, max_layers=1, costs=(kind,))[kind]


def test_simple_specs_come_first() -> None:
    """The smallest spec is a classifier over one pixel; the smallest with a convolution has one number in its kernel."""
    smallest = convspec.check(find(specs(), lambda text: True))
    assert [layer.type for layer in smallest.layers] == ["data", "data", "fc", "softmax", "cost.logreg"]
    assert smallest.layers[0].shape == (1, 1, 1)
    with_conv = convspec.check(find(specs(), lambda text: "[conv" in text))
    assert [(layer.weights, layer.neuron) for layer in with_conv.layers if layer.name.startswith("conv")] == [(1, "")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_types": ("conv", "deconv")}, "not deconv"),
        ({"costs": ("cost.sum2", "cost.sum3")}, "not cost.sum3"),
        ({"towers": 0}, "towers can be 1 to 8, not 0"),
        ({"replicas": 9}, "replicas can be 1 to 8, not 9"),
        ({"max_side": 0}, "max_side=0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        specs(**options)


def test_the_example_of_the_docstring_runs() -> None:
    assert testing.__doc__ is not None
    example = dedent(
        testing.__doc__[testing.__doc__.index("    import convspec") : testing.__doc__.index("This module")]
    )
    scope: dict[str, Any] = {}
    exec(example, scope)
    scope["test_windows_cover_the_image"]()


@pytest.mark.parametrize("towers", [1, 2])
def test_own_types_are_drawn_where_they_can_stand(towers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the keys that are drawn for them, in towers too; a layer that refuses what it would read is left out."""

    class Halved(Layer):
        """The first half of the maps."""

        type = "halved"

        times = integer("times", default=1, minimum=1, doc="how often")

        def infer(self, inputs: Sequence[Shape], context: Context) -> Inference | None:
            maps = read_maps(self, 0, inputs[0], None, context)
            if maps is None:
                return None
            if maps.channels % 2:
                context.report.add("CS405", self.span("inputs"), f"{self.name} halves {maps.channels} maps", help="-")
                return None
            return Inference(maps.with_channels(maps.channels // 2))

        def lower(self, builder: Any, inputs: Sequence[str], output: Shape) -> str:
            raise NotImplementedError

    monkeypatch.setattr(layers, "_installed", lambda: {"halved": Halved})
    seen: Counter[str] = Counter()

    keys = st.fixed_dictionaries({"times": st.integers(1, 3)})

    @given(specs(towers=towers, own_types={"halved": keys}))
    @settings(max_examples=40, database=None, derandomize=True)
    def collect(text: str) -> None:
        checked = convspec.check(text)
        assert [d for d in checked.diagnostics if d.severity is not Severity.NOTE] == []
        rows = {row.name: row for row in checked.layers}
        for row in rows.values():
            if row.type == "halved":
                above = rows[row.inputs[0]].shape
                assert above is not None
                assert row.shape == (above[0] // 2, *above[1:])
                seen[row.name[-1]] += 1

    collect()
    assert sum(seen.values()) > 5 * towers
    assert seen["a"] == seen["b"]
