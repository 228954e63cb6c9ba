"""The public functions on a GPU, against the loops: the same cases as on the CPU, and the narrow types."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convspec_kernels import avg_pool2d, local_response_norm, max_pool2d
from tests.kernels import loops

pytestmark = pytest.mark.gpu

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_agrees_with_the_loops(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    rounded = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 12, 13, 11))).to(dtype)
    maps = rounded.double().numpy()
    x = rounded.cuda().contiguous(memory_format=memory_format)
    normed = local_response_norm(x, 5, alpha=0.5, beta=0.75, k=2.0, groups=2).cpu().double().numpy()
    expected = loops.local_response_norm(maps, 5, 0.5, 0.75, 2.0, 2)
    assert loops.agrees(normed, expected, TOLERANCES[dtype])
    assert not loops.agrees(normed, loops.local_response_norm(maps, 5, 0.5, 0.75, 2.0, 1), TOLERANCES[dtype])
    for start in (-1, 0, 1):
        highest = max_pool2d(x, 3, 2, start=start).cpu().double().numpy()
        assert loops.agrees(highest, loops.pool(maps, np.max, 3, 2, start))
        mean = avg_pool2d(x, 3, 2, start=start).cpu().double().numpy()
        assert loops.agrees(mean, loops.pool(maps, np.mean, 3, 2, start), TOLERANCES[dtype])
