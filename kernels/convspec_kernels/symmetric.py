"""Elementary symmetric polynomials in log space, for a batch at once: sums over all sets of a size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_LOG_ZERO = -1e30
"""log of a coefficient that is not there: finite, so that no gradient is inf - inf, and nothing beside any other."""


def log_elementary_symmetric(x: Tensor, degree: int) -> Tensor:
    """Logs of the sums, over all sets of 0, 1, ... `degree` of the K numbers of a case, of exp(sum of the set).

    Those are the coefficients of the product of (1 + exp(x[c]) z), which is multiplied out in a tree: log2(K) rounds,
    each over all pairs of factors of the same length at once, with powers above `degree` left out.

    x: (N, K), float32 or float64. degree: 0 to K. Returns (N, degree + 1).
    """
    factors = torch.stack([torch.zeros_like(x), x], 2)[:, :, : degree + 1]  # (N, factors, coefficients)
    product: Tensor | None = None
    while factors.shape[1]:
        if factors.shape[1] % 2:
            last, factors = factors[:, -1], factors[:, :-1]
            product = last if product is None else _multiplied(product, last, degree)
        factors = _multiplied(factors[:, 0::2], factors[:, 1::2], degree)
    assert product is not None
    return product


def _multiplied(a: Tensor, b: Tensor, degree: int) -> Tensor:
    """The product of polynomials whose coefficients, as logs, lie along the last axis, up to z**degree.

    Coefficient j is the sum of a[i] * b[j - i]: `a` backwards over windows of `b`.
    """
    length, highest = a.shape[-1], min(a.shape[-1] + b.shape[-1] - 2, degree)
    framed = F.pad(b[..., : highest + 1], (length - 1, max(0, highest + 1 - b.shape[-1])), value=_LOG_ZERO)
    return torch.logsumexp(a.flip(-1).unsqueeze(-2) + framed.unfold(-1, length, 1), -1)
