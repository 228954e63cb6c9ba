"""Layers over images and norms within a map, in modules: every edge, both passes, and twins that are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import convspec
from convspec.program.images import ColorSpace, ConvertColors, GaussianBlur, Pick2d, Resize
from convspec.program.operators import Op
from convspec.program.program import Program
from convspec.program.windows import ContrastNorm
from convspec_kernels import Noise
from convspec_kernels.images import draw_rescaling
from tests.emit.comparison import (
    assert_program_is_spec,
    assert_same,
    assert_spec_is_right,
    emitted,
    lowered,
    random_batch,
    random_state,
    run,
)
from tests.emit.small_specs import classifier, layer
from tests.interpreter import interpret


def over(kind: str, image: str = "3x9x9", **keys: object) -> str:
    """A network of one layer over images."""
    return classifier(layer("x", type=kind, inputs="data", **keys), leaves="x", image=image)


@pytest.mark.parametrize("image", ["3x9x9", "3x8x8", "2x7x10", "1x1x1"])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 11])
def test_nailbed(stride: int, image: str) -> None:
    assert_spec_is_right(over("nailbed", image, stride=stride))


@pytest.mark.parametrize("image", ["3x9x9", "1x9x11", "3x3x3"])
@pytest.mark.parametrize(("size", "stdev"), [(3, 1), (5, 0.4), (9, 3)])
def test_blur(size: int, stdev: float, image: str) -> None:
    checked = convspec.check(over("blur", image, filterSize=size, stdev=stdev))
    if size > 3 and image == "3x3x3":
        assert [d.code for d in checked.diagnostics if d.code != "CS207"] == ["CS403"]
    else:
        assert_spec_is_right(over("blur", image, filterSize=size, stdev=stdev))


@pytest.mark.parametrize("image", ["3x9x9", "2x3x4", "12"])
def test_mirror(image: str) -> None:
    assert_spec_is_right(over("href", image, channels=image.partition("x")[0] if "x" in image else 3))


@pytest.mark.parametrize("image", ["3x9x9", "2x5x8", "1x2x2"])
@pytest.mark.parametrize("scale", [0.5, 0.7, 1, 1.3, 2])
def test_resize(scale: float, image: str) -> None:
    assert_spec_is_right(over("resize", image, scale=scale))


@pytest.mark.parametrize(
    "keys",
    [
        {"startX": 0, "sizeX": 9},
        {"startX": 2, "sizeX": 4},
        {"startX": 2, "startY": 0, "sizeX": 7},
        {"startX": 8, "startY": 3, "sizeX": 1},
    ],
    ids=str,
)
def test_crop(keys: dict[str, int]) -> None:
    assert_spec_is_right(over("crop", **keys))


@pytest.mark.parametrize("kind", ["rgb2yuv", "rgb2lab"])
@pytest.mark.parametrize("image", ["3x4x5", "48"])
def test_colors(kind: str, image: str) -> None:
    """Random numbers reach both branches of L*a*b*, below 0 too."""
    assert_spec_is_right(over(kind, image, neuron="tanh[1,0.1]"))


def test_centered_lab() -> None:
    assert_spec_is_right(over("rgb2lab", center=1, neuron="linear[0.01,0]"))


@pytest.mark.parametrize("target", [7, 8, 9, None])
def test_rescaling_at_test(target: int | None) -> None:
    keys = {} if target is None else {"tgtSize": target}
    assert_spec_is_right(over("rscale", maxScale=1.25, **keys))


@pytest.mark.parametrize("target", [7, 8, 9])
def test_rescaling_in_training(target: int) -> None:
    """By what the generator draws: the same seed, the same crop; the whole batch has one."""
    checked = convspec.check(over("rscale", maxScale=1.25, tgtSize=target))
    program = lowered(checked)
    state, batch = random_state(emitted(program), 0), random_batch(checked, 2, 1)
    drawn = set()
    for seed in range(8):
        net = emitted(program).train()
        torch.manual_seed(seed)
        noise = Noise.draw()
        assert noise is not None
        rescaling = draw_rescaling(9, target, 1.25, noise, "x")
        torch.manual_seed(seed)
        trained = run(net, batch, state)
        assert_same(trained, interpret(checked.graph, batch, state, rescalings={"x": rescaling}))
        drawn.add(rescaling)
        with pytest.raises(AssertionError, match="differs by"):
            assert_same(trained, interpret(checked.graph, batch, state))
    assert len(drawn) > 1


def test_towers_draw_their_own_scales() -> None:
    """What both compute alike becomes one operator; what each tower draws is its own."""
    towers = "".join(
        layer(f"blur{tower}", type="blur", inputs="data", filterSize=3, stdev=1, gpu=gpu)
        + layer(f"nails{tower}", type="nailbed", inputs=f"blur{tower}", stride=1)
        + layer(f"scaled{tower}", type="rscale", inputs=f"nails{tower}", maxScale=1.25)
        for gpu, tower in enumerate("ab")
    )
    checked = convspec.check(classifier(towers, leaves="scaleda,scaledb"))
    program = lowered(checked)
    assert sum(isinstance(op, GaussianBlur) for op in program.operators) == 1
    assert sum(isinstance(op, Resize) for op in program.operators) == 2
    assert_program_is_spec(program, checked)


@pytest.mark.parametrize("gradient", ["exact", "published"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_contrast_norm(size: int, gradient: str) -> None:
    norm = layer("x", type="cnorm", inputs="data", size=size, neuron="tanh[2,1]")
    assert_spec_is_right(classifier(norm, leaves="x", image="2x5x4", net=f"cnormGradient={gradient}"))


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_blocked_response_norm(size: int) -> None:
    assert_spec_is_right(over("cmrnorm", "6x3x3", size=size, blocked=1))


def test_gradients_do_not_pass_for_each_other() -> None:
    """Exact in the module, published by the interpreter."""
    text = classifier(layer("x", type="cnorm", inputs="data", size=3), leaves="x", image="2x5x4")
    exact = convspec.check(text)
    published = convspec.check(text, overrides=["@net.cnormGradient=published"])
    assert_program_is_spec(lowered(published), published)
    with pytest.raises(AssertionError, match="gradient of data differs by"):
        assert_program_is_spec(lowered(exact), published)


def changed(program: Program, change: Callable[[Op], Op]) -> Program:
    kinds = (ContrastNorm, ConvertColors, GaussianBlur, Pick2d, Resize)
    return replace(program, operators=tuple(change(op) if isinstance(op, kinds) else op for op in program.operators))


@pytest.mark.parametrize(
    ("text", "change"),
    [
        (over("nailbed", stride=3), lambda op: replace(op, rows=(0, 7, 3))),
        (over("href"), lambda op: replace(op, mirrored=False)),
        (over("crop", startX=1, startY=2, sizeX=4), lambda op: replace(op, rows=op.columns, columns=op.rows)),
        (over("blur", filterSize=3, stdev=1), lambda op: replace(op, stdev=1.01)),
        (over("resize", scale=1.3), lambda op: replace(op, scale=1.29)),
        (over("rscale", maxScale=1.25), lambda op: replace(op, scale=1.2)),
        (over("rgb2yuv"), lambda op: replace(op, space=ColorSpace.LAB)),
        (over("rgb2lab", neuron="linear[0.01,0]"), lambda op: replace(op, space=ColorSpace.CENTERED_LAB)),
        (over("cnorm", size=3), lambda op: replace(op, size=4)),
        (over("cnorm", size=3), lambda op: replace(op, k=2.1)),
    ],
    ids=["nailbed", "href", "crop", "blur", "resize", "rscale", "yuv", "lab", "window", "k"],
)
def test_wrong_operators_are_rejected(text: str, change: Callable[[Op], Op]) -> None:
    checked = convspec.check(text)
    program = lowered(checked)
    assert_program_is_spec(program, checked)
    with pytest.raises((AssertionError, ValueError), match=r"differs by|cannot rescale"):
        assert_program_is_spec(changed(program, change), checked)
