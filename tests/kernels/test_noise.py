"""Random numbers of layers against SplitMix64 written in Python's integers, and against what chance allows."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from convspec_kernels import Noise, dropout, normal_like
from convspec_kernels.noise import stream_of, uniforms

SIZE = 1 << 64
NOISE = Noise(torch.tensor(1234567))


def split_mix(state: int, count: int) -> list[int]:
    """The first numbers of the generator of Steele, Lea and Flood, Figure 17, with Stafford's thirteenth mixer."""
    numbers = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) % SIZE
        z = state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % SIZE
        z = (z ^ z >> 27) * 0x94D049BB133111EB % SIZE
        numbers.append(z ^ z >> 31)
    return numbers


def mixed(z: int) -> int:
    """One output of the generator, by the state that it comes from."""
    return split_mix((z - 0x9E3779B97F4A7C15) % SIZE, 1)[0]


def bits(seed: int, use: str, layer: str, case: int, units: int) -> list[int]:
    start = mixed((seed ^ stream_of(use, layer)) % SIZE)
    return split_mix(mixed((start + case * 0x9E3779B97F4A7C15) % SIZE), units)


def ones(*shape: int) -> Tensor:
    return torch.ones(shape, dtype=torch.float64)


def test_the_reference_is_the_published_generator() -> None:
    """The numbers that other implementations give for this seed."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert split_mix(1234567, 4) == published


@given(
    seed=st.integers(0, 2**62 - 1),
    first=st.integers(0, 2**31),
    p=st.sampled_from([0.1, 0.5, 0.75, 1 / 3]),
    layer=st.sampled_from(["fc6", "drop6a", "dröp 7", ""]),
)
def test_masks_are_those_of_the_generator(seed: int, first: int, p: float, layer: str) -> None:
    kept = dropout(ones(3, 2, 2, 2), p, True, Noise(torch.tensor(seed), first), layer) != 0
    for i, mask in enumerate(kept.flatten(1).tolist()):
        # as numbers in [-1/2, 1/2): the order of int64
        signed = [(z + SIZE // 2) % SIZE for z in bits(seed, "dropout", layer, first + i, 8)]
        assert mask == [z < (1 - p) * SIZE for z in signed]


def test_normal_numbers_are_those_of_the_generator() -> None:
    drawn = normal_like(ones(2, 5), NOISE, "noisy").numpy()
    for case, row in enumerate(drawn):
        z = np.array(bits(1234567, "normal", "noisy", case, 5), np.uint64)
        high, low = (z >> np.uint64(32)).astype(float) / 2**32, (z & np.uint64(2**32 - 1)).astype(float) / 2**32
        assert np.allclose(row, np.sqrt(-2 * np.log(high + 2.0**-33)) * np.cos(2 * np.pi * low), rtol=1e-12)


def test_uniform_numbers_are_those_of_the_generator() -> None:
    state = mixed((1234567 ^ stream_of("uniform", "scaled")) % SIZE)
    assert uniforms(NOISE, "scaled", 4) == tuple((z >> 11) / 2**53 for z in split_mix(state, 4))


def test_streams_do_not_change() -> None:
    """A seed means the same numbers in every version: FNV-1a of the text, mixed."""
    state = 0xCBF29CE484222325
    for byte in b"dropout fc6":
        state = (state ^ byte) * 0x100000001B3 % SIZE
    assert stream_of("dropout", "fc6") % SIZE == mixed(state)


@pytest.mark.parametrize("function", [lambda *args: dropout(args[0], 0.3, True, *args[1:]), normal_like])
def test_neither_merging_nor_slices_change_a_number(function: Callable[..., Tensor]) -> None:
    """Maps and vectors; cases, layers and memory formats any way around."""
    x = ones(6, 12, 3, 2)
    whole = function(x, NOISE, "a", "b", "c")
    assert torch.equal(whole, torch.cat([function(x[:, :4], NOISE, layer) for layer in "abc"], 1))
    assert torch.equal(whole[4:], function(x[4:], NOISE.from_case(4), "a", "b", "c"))
    assert torch.equal(whole[5:], function(x[5:], NOISE.from_case(2).from_case(3), "a", "b", "c"))
    assert torch.equal(whole.flatten(1), function(x.flatten(1), NOISE, "a", "b", "c"))
    last = function(x.contiguous(memory_format=torch.channels_last), NOISE, "a", "b", "c")
    assert torch.equal(whole, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert not torch.equal(whole, function(x, NOISE, "b", "a", "c"))
    assert not torch.equal(whole[4:], function(x[4:], NOISE, "a", "b", "c"))


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_rate(p: float) -> None:
    """In all and for each unit and case: within five deviations of what chance gives."""
    dropped = (dropout(torch.ones(1000, 500), p, True, NOISE, "fc") == 0).double()
    for axis, count in ((None, 500_000), (0, 1000), (1, 500)):
        means = dropped.mean() if axis is None else dropped.mean(axis)
        assert ((means - p).abs() < 5 * (p * (1 - p) / count) ** 0.5).all()


def test_masks_are_independent() -> None:
    """Of neighbours: of units, of cases, of layers, of uses, of steps. Correlations of 400,000 pairs, five deviations."""
    x = torch.ones(800, 500)

    def mask(noise: Noise, layer: str) -> Tensor:
        return (dropout(x, 0.5, True, noise, layer) > 0).double() * 2 - 1

    first = mask(NOISE, "fc6a")
    normals = normal_like(x, NOISE, "fc6a").sign()
    others = {
        "layer": mask(NOISE, "fc6b"),
        "use": normals,
        "step": mask(Noise(NOISE.seed + 1), "fc6a"),
        "unit": first.roll(1, 1),
        "case": first.roll(1, 0),
        "units far away": first.roll(256, 1),
        "diagonal": first.roll((1, 1), (0, 1)),
    }
    for name, other in others.items():
        assert abs((first * other).mean().item()) < 5 / first.numel() ** 0.5, name
    assert abs((first * first.clone()).mean().item()) == 1


def test_moments_of_normal_numbers() -> None:
    drawn = normal_like(torch.empty(1000, 500, dtype=torch.float64), NOISE, "noisy")
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3), (6, 15)):
        deviation = (drawn**power).std().item() / drawn.numel() ** 0.5
        assert (drawn**power).mean().item() == pytest.approx(moment, abs=5 * deviation)
    assert 4 < drawn.abs().max() < 6.8


def test_gradient_goes_where_values_went() -> None:
    x = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = dropout(x, 0.25, True, NOISE, "fc")
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient * x, y)
    assert set(gradient.flatten().tolist()) == {0.0, 1 / 0.75}


def test_nothing_is_dropped_at_test_or_by_chance_0_and_all_by_1() -> None:
    x = ones(2, 3)
    assert dropout(x, 0.5, False, None, "fc") is x
    assert dropout(x, 0.0, True, NOISE, "fc") is x
    assert not dropout(x, 1.0, True, NOISE, "fc").any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_types_share_masks(dtype: torch.dtype) -> None:
    y = dropout(torch.ones(4, 6, dtype=dtype), 0.5, True, NOISE, "fc")
    assert y.dtype is dtype
    assert torch.equal(y.double(), dropout(ones(4, 6), 0.5, True, NOISE, "fc"))
    assert normal_like(y, NOISE, "fc").dtype is dtype


def test_autocast_keeps_masks() -> None:
    x, weight = torch.ones(4, 6), torch.ones(6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = dropout(torch.nn.functional.linear(x, weight), 0.5, True, NOISE, "fc")
    assert y.dtype is torch.bfloat16
    assert torch.equal(y != 0, dropout(x, 0.5, True, NOISE, "fc") != 0)


def test_a_step_is_one_number_of_torchs_generator() -> None:
    torch.manual_seed(5)
    first, second = Noise.draw(), Noise.draw()
    assert first is not None
    assert second is not None
    assert first.seed != second.seed
    torch.manual_seed(5)
    assert Noise.draw(False) is None
    assert Noise.draw() == first


def test_exports() -> None:
    """The exported graph draws a seed each time it runs, as the module does."""

    class Dropped(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return dropout(2 * x, 0.5, True, Noise.draw(), "a", "b")

    exported = torch.export.export(Dropped(), (torch.ones(4, 6),)).module()
    for seed in range(3):
        torch.manual_seed(seed)
        expected = Dropped()(torch.ones(4, 6))
        torch.manual_seed(seed)
        assert torch.equal(exported(torch.ones(4, 6)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_operator_is_its_own_gradient(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for the composition on a GPU, with the composition in place of the kernel: values, gradients, tracing."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from convspec_kernels import dispatch, triton_dropout

    x = torch.randn(4, 6, 2, 3, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = dropout(x, 0.3, True, NOISE, "a", "b")
    slopes = torch.autograd.grad(expected, x, torch.ones_like(x))

    def in_one(x: Tensor, seed: Tensor, first_case: int, layers: list[str], p: float) -> Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "drops_in_one", lambda *_: False)
            return dropout(x, p, True, Noise(seed, first_case), *layers)

    monkeypatch.setattr(dispatch, "drops_in_one", lambda *_: True)
    monkeypatch.setattr(triton_dropout, "dropout", in_one)
    y = dropout(x, 0.3, True, NOISE, "a", "b")
    assert torch.equal(y, expected)
    assert torch.equal(*torch.autograd.grad(y, x, torch.ones_like(x)), *slopes)
    arguments = (x, NOISE.seed, 2, ["a", "b"], 0.3)
    torch.library.opcheck(torch.ops.convspec_kernels.dropout.default, arguments)


def test_no_chance_is_too_small() -> None:
    assert torch.equal(dropout(ones(2, 6), 1e-300, True, NOISE, "fc"), ones(2, 6))


@pytest.mark.gpu
def test_a_gpu_drops_the_same_and_waits_for_nothing() -> None:
    x = torch.ones(64, 512, device="cuda")
    with torch.cuda.device(x.device):
        torch.cuda.set_sync_debug_mode("error")
        try:
            y, z = dropout(x, 0.5, True, Noise.draw(), "warm"), normal_like(x, NOISE, "fc")
            y = dropout(x, 0.5, True, NOISE, "a", "b")
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(y.cpu(), dropout(torch.ones(64, 512), 0.5, True, NOISE, "a", "b"))
    assert torch.allclose(z.cpu(), normal_like(torch.ones(64, 512), NOISE, "fc"), atol=1e-6)


def test_refuses() -> None:
    x = ones(2, 6)
    refusals: dict[str, Callable[[], object]] = {
        "p must be in [0, 1], not 1.5": lambda: dropout(x, 1.5, True, NOISE, "fc"),
        "p must be in [0, 1], not nan": lambda: dropout(x, float("nan"), False, NOISE, "fc"),
        "noise is missing": lambda: dropout(x, 0.5, True, None, "fc"),
        "shape (2, 6) has no channels for 4 layers each": lambda: dropout(x, 0.5, True, NOISE, *"abcd"),
        "for 0 layers": lambda: normal_like(x, NOISE),
        "shape (6,)": lambda: normal_like(x[0], NOISE, "fc"),
    }
    for message, call in refusals.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            call()
