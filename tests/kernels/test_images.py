"""Image functions against loops and constants written down from the original's kernels."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import exp

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convspec_kernels import Noise, gaussian_blur, random_rescale, resize_bilinear, rgb_to_lab, rgb_to_yuv
from convspec_kernels.images import draw_rescaling
from tests.kernels import loops

YUV = np.array([[0.2126, 0.7152, 0.0722], [-0.09991, -0.33609, 0.436], [0.615, -0.55861, -0.05639]])
XYZ = np.array([[0.49, 0.31, 0.2], [0.17697, 0.8124, 0.01063], [0, 0.01, 0.99]])


def maps(seed: int, height: int, width: int, channels: int = 3) -> loops.Maps:
    return np.random.default_rng(seed).uniform(0, 1, size=(2, channels, height, width))


def blurred(x: loops.Maps, size: int, stdev: float, shift: int = 0) -> loops.Maps:
    """Every pixel as the sum over the whole bell, of which what lies outside is zero; `shift` 0 is right."""
    taps = [exp(-((size // 2 - i) ** 2) / (2 * stdev**2)) for i in range(size)]
    taps = [tap / sum(taps) for tap in taps]
    y = np.zeros_like(x)
    for i, j, a, b in np.ndindex(*x.shape[2:], size, size):
        row, column = i + a - size // 2 + shift, j + b - size // 2
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            y[:, :, i, j] += taps[a] * taps[b] * x[:, :, row, column]
    return y


def resized(x: loops.Maps, size: tuple[int, int], scale: float, half_pixel: float = 0.0) -> loops.Maps:
    """Each pixel between the four around its source; `half_pixel` 0 is right."""
    y = np.empty((*x.shape[:2], *size))
    for i, j in np.ndindex(*size):
        (row, down), (column, right) = (
            divmod(max(0.0, min(length - 1.01, t * scale + half_pixel + length / 2 - count / 2 * scale)), 1)
            for t, length, count in ((i, x.shape[2], size[0]), (j, x.shape[3], size[1]))
        )
        a, b = int(row), int(column)
        c, d = min(a + 1, x.shape[2] - 1), min(b + 1, x.shape[3] - 1)
        top = (1 - right) * x[:, :, a, b] + right * x[:, :, a, d]
        bottom = (1 - right) * x[:, :, c, b] + right * x[:, :, c, d]
        y[:, :, i, j] = (1 - down) * top + down * bottom
    return y


@given(
    size=st.integers(1, 7),
    stdev=st.sampled_from([0.5, 1.0, 3.0]),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_blur(size: int, stdev: float, height: int, width: int, seed: int) -> None:
    x = maps(seed, height, width)
    y = gaussian_blur(torch.from_numpy(x), size, stdev=stdev).numpy()
    assert loops.agrees(y, blurred(x, size, stdev))
    if size > 1 and height > 1:
        assert not loops.agrees(y, blurred(x, size, stdev, shift=1))


def test_blur_darkens_the_border() -> None:
    y = gaussian_blur(torch.ones(1, 1, 9, 9, dtype=torch.float64), 5, stdev=1.0)[0, 0]
    assert y[4, 4].item() == pytest.approx(1)
    assert y[0, 4].item() < 0.75
    assert y[0, 0].item() == pytest.approx(y[0, 4].item() ** 2)


@given(
    scale=st.sampled_from([0.5, 0.8, 1.0, 1.3, 2.0]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_resize(scale: float, height: int, width: int, seed: int) -> None:
    x = maps(seed, height, width)
    size = max(1, int(height / scale)), max(1, int(width / scale))
    y = resize_bilinear(torch.from_numpy(x), size, scale=scale).numpy()
    assert loops.agrees(y, resized(x, size, scale))


def test_half_a_pixel_is_noticed() -> None:
    x = maps(0, 9, 9)
    y = resize_bilinear(torch.from_numpy(x), (6, 6), scale=1.5).numpy()
    assert loops.agrees(y, resized(x, (6, 6), 1.5))
    assert not loops.agrees(y, resized(x, (6, 6), 1.5, half_pixel=0.25))


def test_equal_size_moves_nothing_but_the_last_pixel() -> None:
    """The clamp at length - 1.01 reads a hundredth before the last pixel."""
    x = torch.from_numpy(maps(0, 5, 5))
    y = resize_bilinear(x, (5, 5), scale=1.0)
    assert torch.equal(y[:, :, :4, :4], x[:, :, :4, :4])
    assert torch.allclose(y[:, :, 4, 0], 0.99 * x[:, :, 4, 0] + 0.01 * x[:, :, 3, 0])


def test_yuv() -> None:
    x = maps(0, 4, 5)
    y = rgb_to_yuv(torch.from_numpy(x)).numpy()
    assert loops.agrees(y, np.einsum("ij,njhw->nihw", YUV, x))
    assert not loops.agrees(y, np.einsum("ij,njhw->nihw", YUV.T, x))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("brightness", [1.0, 0.02, 0.001])
def test_lab(brightness: float, center: bool) -> None:
    """Across the corner at 0.00886; the exponent is 0.3333, and a third is another colour."""
    x = brightness * maps(0, 4, 5)

    def lab(exponent: float) -> loops.Maps:
        t = np.einsum("ij,njhw->nihw", XYZ, x)
        f = np.where(t > 0.0088564517, t**exponent, 7.787037 * t + 0.13793103)
        lightness = 116 * f[:, 1] - 16 - (50 if center else 0)
        return np.stack([lightness, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)

    y = rgb_to_lab(torch.from_numpy(x), center=center).numpy()
    assert loops.agrees(y, lab(0.3333))
    assert (brightness < 0.005) is loops.agrees(y, lab(1 / 3))


def test_lab_has_a_finite_gradient_in_the_dark() -> None:
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    rgb_to_lab(x).sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: gaussian_blur(x, 3, stdev=1.0),
        lambda x: resize_bilinear(x, (4, 3), scale=1.3),
        rgb_to_yuv,
        rgb_to_lab,
        lambda x: random_rescale(x[..., :5], 4, max_scale=1.25, training=False),
    ],
    ids=["blur", "resize", "yuv", "lab", "rescale"],
)
def test_gradient(function: object) -> None:
    x = torch.from_numpy(maps(0, 5, 6)).requires_grad_()
    assert torch.autograd.gradcheck(function, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types_are_kept(dtype: torch.dtype) -> None:
    x = torch.from_numpy(maps(0, 6, 6)).to(dtype)
    results: list[Tensor] = [
        gaussian_blur(x, 3, stdev=1.0),
        resize_bilinear(x, (4, 4), scale=1.5),
        rgb_to_yuv(x),
        rgb_to_lab(x),
    ]
    assert {y.dtype for y in results} == {dtype}


def test_rescaling_at_test_shows_the_whole_image() -> None:
    x = maps(0, 10, 10)
    y = random_rescale(torch.from_numpy(x), 8, max_scale=1.25, training=False).numpy()
    assert loops.agrees(y, resized(x, (8, 8), 1.25))


def test_rescaling_does_what_it_drew() -> None:
    x = maps(0, 10, 10)
    sides = set()
    for seed in range(40):
        noise = Noise(torch.tensor(seed))
        side, scale, top, left = draw_rescaling(10, 8, 1.25, noise, "scaled")
        keys = {"training": True, "noise": noise, "layer": "scaled"}
        y = random_rescale(torch.from_numpy(x), 8, max_scale=1.25, **keys).numpy()
        whole = x if side == 10 else resized(x, (side, side), scale)
        assert loops.agrees(y, whole[:, :, top : top + 8, left : left + 8])
        sides.add(side)
    assert sides == {8, 9, 10}


def test_scales_are_drawn_by_the_crops_that_they_have() -> None:
    """Of 8, 9 and 10 pixels with probabilities 1, 4 and 9 of 14; scales between the neighbours' sides; corners alike."""
    drawn = [draw_rescaling(10, 8, 1.25, Noise(torch.tensor(seed)), "scaled") for seed in range(4000)]
    for side, share in ((8, 1 / 14), (9, 4 / 14), (10, 9 / 14)):
        own = [choice for choice in drawn if choice.side == side]
        assert len(own) / len(drawn) == pytest.approx(share, abs=0.03)
        low, high = max(1, 10 / (side + 1)), 10 / side
        assert all(low <= choice.scale <= high for choice in own)
        assert np.mean([choice.scale for choice in own]) == pytest.approx((low + high) / 2, abs=0.02)
        corners = [choice.top for choice in own]
        assert set(corners) == set(range(side - 8 + 1))
        assert np.mean(corners) == pytest.approx((side - 8) / 2, abs=0.1)
        assert {choice.left for choice in own} == set(corners)


def test_refuses() -> None:
    x = torch.zeros(1, 3, 5, 6)
    refusals: dict[str, list[Callable[[], object]]] = {
        "size must be": [
            lambda: gaussian_blur(x, 0, stdev=1.0),
            lambda: resize_bilinear(x, (0, 3), scale=1.0),
        ],
        "stdev above 0": [
            lambda: gaussian_blur(x, 3, stdev=0.0),
        ],
        "scale above 0": [
            lambda: resize_bilinear(x, (3, 3), scale=0.0),
        ],
        "cannot rescale": [
            lambda: random_rescale(x, 5, max_scale=1.5, training=False),
            lambda: random_rescale(x[:, :, :6], 4, max_scale=1.25, training=False),
            lambda: random_rescale(x[:, :, :6], 7, max_scale=1.25, training=False),
        ],
        "noise is missing": [
            lambda: random_rescale(x[:, :, :, :5], 4, max_scale=1.25, training=True),
        ],
        "3 channels": [
            lambda: rgb_to_yuv(x[:, :2]),
        ],
        "floating-point": [
            lambda: rgb_to_lab(x.long()),
        ],
        "maps are": [
            lambda: rgb_to_lab(x[0]),
        ],
    }
    for message, calls in refusals.items():
        for call in calls:
            with pytest.raises(ValueError, match=re.escape(message)):
                call()
