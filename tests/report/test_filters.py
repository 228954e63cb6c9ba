"""The picture of the first kernels: places, colours, joint scale; and the command on a real run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convspec.cli import main
from convspec.report.filters import FilterBank, draw_filters
from convspec.resources import spec_path


def bank(gpu: int, *levels: float, channels: int = 3) -> FilterBank:
    """Kernels of 2x2, each of one level throughout."""
    kernels = np.stack([np.full((channels, 2, 2), level, np.float32) for level in levels])
    return FilterBank(f"conv{gpu}", gpu, kernels)


def test_levels_are_scaled_over_all_banks() -> None:
    picture = np.asarray(draw_filters([bank(0, -1.0, 0.0), bank(1, 1.0)], scale=3))
    assert picture.shape == (2 * 8 + 8, 2 * 7 + 1, 3)
    first, second, below = picture[3, 3], picture[3, 10], picture[8 + 8 + 3, 3]
    assert first.tolist() == [0, 0, 0]
    assert second.tolist() == [128, 128, 128]
    assert below.tolist() == [255, 255, 255]
    assert not picture[0].any()


def test_gpus_come_in_order() -> None:
    one, two = bank(1, 1.0, 1.0), bank(0, 0.0, 1.0)
    assert np.array_equal(np.asarray(draw_filters([one, two])), np.asarray(draw_filters([two, one])))


def test_three_channels_are_a_colour_and_others_are_grey_tiles() -> None:
    kernels = np.zeros((1, 3, 2, 2), np.float32)
    kernels[0, 0] = 1.0
    colour = np.asarray(draw_filters([FilterBank("conv", 0, kernels)], scale=1))
    assert colour[1, 1].tolist() == [255, 0, 0]
    grey = np.asarray(draw_filters([bank(0, 0.0, 1.0, channels=2)], scale=1))
    assert grey.shape[1] == 4 * 3 + 1
    assert [grey[1, 1 + 3 * i, 0] for i in range(4)] == [0, 0, 255, 255]


@pytest.mark.parametrize(("size", "scale"), [(11, 4), (3, 14), (60, 1)])
def test_kernels_of_any_size_can_be_seen(size: int, scale: int) -> None:
    kernels = np.zeros((2, 3, size, size), np.float32)
    picture = draw_filters([FilterBank("conv", 0, kernels)])
    assert picture.size == (2 * (size * scale + 1) + 1, size * scale + 2)


def test_seventeen_kernels_take_two_rows() -> None:
    picture = np.asarray(draw_filters([bank(0, *range(17))], scale=1))
    assert picture.shape[:2] == (2 * 3 + 1, 16 * 3 + 1)
    assert picture[4, 1, 0] == 255


def test_the_command_draws_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["filters", str(run)]) == 2
    assert "there is no run" in capsys.readouterr().err
    assert main(["train", str(spec_path("lenet-digits.cfg")), "--run", str(run), "--steps", "1"]) == 0
    assert main(["filters", str(run)]) == 0
    with Image.open(run / "filters.png") as picture:
        assert picture.size == (6 * 41 + 1, 41 + 1)
        assert len(picture.getcolors(maxcolors=2**16) or []) > 50
    assert main(["filters", str(run), "-o", str(tmp_path / "nowhere" / "f.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    (run / "resolved.cfg").write_text("[@net]\nname=LeNet\n")
    assert main(["filters", str(run)]) == 1
    assert "CS110" in capsys.readouterr().err
