"""Sizes at which every window fits: AlexNet's 227, and a search held against checking each size anew."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from convspec.checker import check
from convspec.diagnostics import DiagnosticError
from convspec.graph.fitting import Fits, described, find_fits
from convspec.layers.base import Rounding
from convspec.program.shape import Shape
from convspec.resources import spec_path
from convspec.testing import specs

ALEXNET = spec_path("alexnet.cfg")


def fits_of(text: object, layer: str = "data", within: int = 64, **inputs: tuple[int, ...]) -> Fits:
    checked = check(str(text), inputs=inputs)
    return find_fits(checked.graph, checked.shapes, layer, within)


def sides(shapes: tuple[Shape, ...]) -> list[int]:
    return [shape.height for shape in shapes]


def test_alexnet_fits_at_227_and_every_32_pixels_from_there() -> None:
    fits = fits_of(ALEXNET, data=(3, 224, 224))
    assert sides(tuple(fit.size for fit in fits.exact)) == [163, 195, 227, 259]
    assert {name: shape.dims for name, shape in fits.exact[2].maps.items()} == {
        "pool5a": (128, 6, 6),
        "pool5b": (128, 6, 6),
    }
    [loose] = fits.loose
    assert loose == (("conv1a", "conv1b"), "(224 - 11) / 4 + 1 = 54.25", 55, 54)
    assert sides(fits.same[Rounding.CEIL]) == [224, 225, 226, 227]
    assert sides(fits.same[Rounding.FLOOR]) == [227, 228, 229, 230]
    assert [size.dims for size in fits.tried] == [(3, 160, 160), (3, 288, 288)]


def test_at_227_nothing_is_loose() -> None:
    fits = fits_of(ALEXNET)
    assert fits.loose == ()
    assert 227 in sides(tuple(fit.size for fit in fits.exact))


def test_the_range_ends_at_one_pixel_and_both_sides_change_alike() -> None:
    text = "[@net]\ninput=data:1x3x5\noutputs=n\n[data]\ntype=data\ndataIdx=0\n[n]\ntype=neuron\nneuron=relu\ninputs=data\n"
    fits = fits_of(text, within=10)
    assert [size.dims for size in fits.tried] == [(1, 1, 3), (1, 13, 15)]
    assert described([fit.size for fit in fits.exact][:3]) == "1x3 to 3x5"


def test_a_size_too_small_for_a_window_is_none_that_fits() -> None:
    text = (
        "[@net]\ninput=data:1x12x12\noutputs=p\n[data]\ntype=data\ndataIdx=0\n"
        "[p]\ntype=pool\npool=max\nsizeX=8\nstride=2\ninputs=data\n"
    )
    assert sides(tuple(fit.size for fit in fits_of(text, within=12).exact)) == [8, 10, 12, 14, 16, 18, 20, 22, 24]


@pytest.mark.parametrize(
    ("layer", "says"),
    [("conv1a", "follows from its inputs"), ("labels", "no pixels"), ("dta", "there is no layer dta")],
)
def test_other_layers_are_refused(layer: str, says: str) -> None:
    with pytest.raises(DiagnosticError, match=says):
        fits_of(ALEXNET, layer)


def test_a_size_that_is_not_known_is_asked_for() -> None:
    text = "[@net]\noutputs=n\n[data]\ntype=data\ndataIdx=0\n[n]\ntype=neuron\nneuron=relu\ninputs=data\n"
    with pytest.raises(DiagnosticError, match="is not known") as caught:
        fits_of(text)
    assert caught.value.diagnostics[0].help == "pass --input data:3x224x224"


def test_classes_from_outside_are_those_that_are_looked_for() -> None:
    """A cost that does not fit the classes of the spec fits those that were given, at every size."""
    checked = check(str(ALEXNET), classes=5, overrides=["fc8.outputs=5"])
    assert checked.ok
    fits = find_fits(checked.graph, checked.shapes, "data", 40)
    assert sides(tuple(fit.size for fit in fits.exact)) == [195, 227, 259]
    assert sides(fits.same[Rounding.FLOOR]) == [227, 228, 229, 230]


def test_described() -> None:
    def squares(*sides: int) -> list[Shape]:
        return [Shape.of_maps(3, side, side) for side in sides]

    assert described([]) == "none"
    assert described(squares(4)) == "4"
    assert described(squares(4, 5, 6)) == "4 to 6"
    assert described(squares(4, 8)) == "4, 8"
    assert described(squares(4, 8, 12)) == "4, 8, 12, every 4 pixels"
    assert described(squares(4, 8, 13)) == "4, 8, 13"


@settings(max_examples=30)
@given(specs(max_layers=5, max_side=20, is_square=False))
def test_each_size_is_what_check_says_of_it(text: str) -> None:
    checked = check(text)
    layer = next(layer.name for layer in checked.graph.layers.values() if layer.type == "data")
    if not checked.shapes.of(layer).is_map:
        return
    fits = find_fits(checked.graph, checked.shapes, layer, 3)
    exact = {fit.size for fit in fits.exact}
    size = checked.shapes.of(layer)
    for pixels in range(fits.tried[0].height - size.height, 4):
        other = Shape.of_maps(size.channels, size.height + pixels, size.width + pixels)
        anew = check(text, inputs={layer: other.dims})
        is_whole = anew.shapes.inferences.keys() == checked.shapes.inferences.keys()
        assert (other in exact) == (is_whole and all(i.floor_size is None for i in anew.shapes.inferences.values()))
        for rounding in Rounding:
            anew = check(text, inputs={layer: other.dims}, overrides=[f"@net.rounding={rounding.value}"])
            shapes = {name: i.shape for name, i in anew.shapes.inferences.items() if name != layer}
            now = {name: i.shape for name, i in checked.shapes.inferences.items() if name != layer}
            assert (other in fits.same[rounding]) == (shapes == now)
