"""`augment` against loops over pixels: crops at and over the edge, mirrors, either mean, colours, types, a given result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from convspec_kernels import augment, dispatch

NAMES = ("images", "offsets", "mirrors", "colours", "mean")


def by_loops(
    images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor, size: int, scale: float
) -> NDArray[np.float64]:
    """Pixel by pixel: where a crop begins outside the picture, at the nearest place inside."""
    cases, height, width, _ = images.shape
    still = np.broadcast_to(mean.double().numpy(), (size, size, 3))
    y = np.empty((cases, 3, size, size))
    for n, i, j, c in np.ndindex(cases, size, size, 3):
        top = min(max(int(offsets[n, 0]), 0), height - size)
        left = min(max(int(offsets[n, 1]), 0), width - size)
        column = left + (size - 1 - j if mirrors[n] else j)
        y[n, c, i, j] = (int(images[n, top + i, column, c]) - still[i, j, c] + float(colours[n, c])) * scale
    return y


def arguments(seed: int, cases: int = 3, height: int = 9, width: int = 11, size: int = 5, whole: bool = True) -> Any:
    rng = np.random.default_rng(seed)
    return {
        "images": torch.from_numpy(rng.integers(0, 256, (cases, height, width, 3), dtype=np.uint8)),
        "offsets": torch.from_numpy(rng.integers(-2, 9, (cases, 2), dtype=np.int32)),
        "mirrors": torch.from_numpy(rng.random(cases) < 0.5),
        "colours": torch.from_numpy(rng.normal(size=(cases, 3)).astype(np.float32) * 10),
        "mean": torch.from_numpy(rng.uniform(0, 255, (size, size, 3) if whole else 3).astype(np.float32)),
    }


@pytest.fixture(params=["reference", "eager", "numba"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CONVSPEC_KERNELS", request.param)
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("whole", [True, False], ids=["mean image", "mean colour"])
def test_against_loops(implementation: str, dtype: torch.dtype, whole: bool) -> None:
    given_ = arguments(0, cases=6, whole=whole)
    y = augment(**given_, size=5, scale=0.5, dtype=dtype)
    expected = by_loops(**given_, size=5, scale=0.5)
    tolerance = {torch.float32: 1e-4, torch.float16: 0.1, torch.bfloat16: 1.0}[dtype]
    assert y.dtype is dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(y.double().numpy() - expected).max() < tolerance
    for name, wrong in {
        "mirrors": ~given_["mirrors"],
        "offsets": given_["offsets"].flip(1),
        "colours": given_["colours"].flip(1),
        "mean": given_["mean"].flip(-1),
    }.items():
        twin = by_loops(**{**given_, name: wrong}, size=5, scale=0.5)
        assert np.abs(y.double().numpy() - twin).max() > 2 * tolerance, name


@given(
    seed=st.integers(0, 999),
    cases=st.integers(0, 4),
    size=st.integers(1, 6),
    more=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
@settings(max_examples=40)
def test_implementations_agree(seed: int, cases: int, size: int, more: tuple[int, int]) -> None:
    given_ = arguments(seed, cases, size + more[0], size + more[1], size)
    results = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("reference", "eager", "numba"):
            patch.setenv("CONVSPEC_KERNELS", name)
            results.append(augment(**given_, size=size))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-4)


def test_writes_where_it_is_told(implementation: str) -> None:
    given_ = arguments(1)
    out = torch.full((3, 3, 5, 5), torch.nan).to(memory_format=torch.channels_last)
    assert augment(**given_, size=5, out=out) is out
    assert torch.equal(out, augment(**given_, size=5))


def test_in_a_compiled_function() -> None:
    given_ = arguments(2)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def prepared(images: Tensor, offsets: Tensor, mirrors: Tensor, colours: Tensor, mean: Tensor) -> Tensor:
        return augment(images, offsets, mirrors, colours, mean, size=5) * 2

    torch.testing.assert_close(prepared(**given_), augment(**given_, size=5) * 2)


def test_the_operator_keeps_torchs_rules() -> None:
    given_ = arguments(3)
    out = torch.empty(3, 3, 5, 5).to(memory_format=torch.channels_last)
    torch.library.opcheck(torch.ops.convspec_kernels.augment, (*(given_[name] for name in NAMES), 0.5, out))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(3, 9, 11, 3)}, "images are .* uint8"),
        ({"images": torch.zeros(3, 3, 9, 11, dtype=torch.uint8)}, "images are"),
        ({"images": torch.empty(1, 30000, 30000, 3, dtype=torch.uint8, device="meta")}, "fewer than .* 30000x30000x3"),
        ({"size": 10}, "size must be from 1 to 9, not 10"),
        ({"size": 0}, "size must be from 1"),
        ({"offsets": torch.zeros(3, 2)}, "offsets must be"),
        ({"mirrors": torch.zeros(2, dtype=torch.bool)}, "mirrors must be"),
        ({"colours": torch.zeros(3, 1)}, "colours must be"),
        ({"mean": torch.zeros(4, 4, 3)}, "mean must be"),
        ({"dtype": torch.float64}, "dtype must be"),
        ({"out": torch.zeros(3, 3, 5, 5)}, "out must be channels last"),
        ({"out": torch.zeros(3, 3, 4, 4)}, "out must be .*5, 5"),
    ],
    ids="floats, channels first, huge, size, no size, offsets, mirrors, colours, mean, dtype, format, shape".split(
        ", "
    ),
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        augment(**{**arguments(4), "size": 5, **change})


def test_a_forced_choice_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSPEC_KERNELS", "triton")
    with pytest.raises(RuntimeError, match="CONVSPEC_KERNELS=triton cannot run: "):
        augment(**arguments(5), size=5)


def test_who_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVSPEC_KERNELS", raising=False)
    chosen = {device: dispatch.choose_augment(device).__name__ for device in ("cpu", "mps")}
    assert chosen == {"cpu": "convspec_kernels.numba_augment", "mps": "convspec_kernels.reference"}
