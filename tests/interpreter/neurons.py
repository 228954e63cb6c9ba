"""Neurons: value and slope."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tests.interpreter.tape import Array


def _logistic(x: Array) -> tuple[Array, Array]:
    y = 1 / (1 + np.exp(-x))
    return y, y * (1 - y)


def _relu(x: Array) -> tuple[Array, Array]:
    y = np.where(x < 0, 0, x)
    return y, np.where(y > 0, 1.0, 0.0)


def noisy_relu(x: Array, noise: Array) -> tuple[Array, Array]:
    """relu(r + r z) with r = relu(x); the slope takes the noise for a constant that was added."""
    r, _ = _relu(x)
    return _relu(r + r * noise)


def _soft_relu(x: Array) -> tuple[Array, Array]:
    y = np.where(x > 4, x, np.log(1 + np.exp(np.minimum(x, 4))))
    return y, np.where(x > 4, 1, 1 - np.exp(-y))


def _tanh(x: Array, a: float, b: float) -> tuple[Array, Array]:
    y = a * (2 / (1 + np.exp(-2 * b * x)) - 1)
    return y, b * (a - y * y / a)


def _absolute_tanh(x: Array, a: float, b: float) -> tuple[Array, Array]:
    """Slope 0 at 0, where it has none."""
    t = np.tanh(b * x)
    return a * np.abs(t), a * b * np.sign(t) * (1 - t * t)


def _bounded_relu(x: Array, a: float) -> tuple[Array, Array]:
    y = np.minimum(a, np.maximum(0, x))
    return y, np.where((y > 0) & (y < a), 1.0, 0.0)


NEURONS: Mapping[str, Callable[..., tuple[Array, Array]]] = {
    "ident": lambda x: (x, np.ones_like(x)),
    "logistic": _logistic,
    "abs": lambda x: (np.abs(x), np.where(x > 0, 1.0, -1.0)),
    "relu": _relu,
    "softrelu": _soft_relu,
    "square": lambda x: (x * x, 2 * x),
    "sqrt": lambda x: (np.sqrt(x), 0.5 / np.sqrt(x)),
    "tanh": _tanh,
    "abstanh": _absolute_tanh,
    "brelu": _bounded_relu,
    "linear": lambda x, a, b: (a * x + b, np.full_like(x, a)),
    "log": lambda x, a: (np.log(a + x), 1 / (a + x)),
    "drelu": lambda x, a: (x - a * np.tanh(x / a), np.tanh(x / a) ** 2),
}
