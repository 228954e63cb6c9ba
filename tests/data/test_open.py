"""What --data takes, and what does not fit a network."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convspec.data import Dataset, Split, open_dataset
from convspec.data.open import dataset_name
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from tests.data.settings import Settings


def opened(
    data: str | None = None,
    settings: Settings | None = None,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 16,
    **options: Any,
) -> Dataset:
    return open_dataset(settings or Settings(), data=data, seed=0, input_shape=input_shape, classes=classes, **options)


def test_what_is_named_wins() -> None:
    assert dataset_name(Settings(), None) == "photos"
    assert dataset_name(Settings(provider="digits"), None) == "digits"
    assert dataset_name(Settings(provider="folder", path="pictures"), None) == "pictures"
    assert dataset_name(Settings(provider="digits"), "elsewhere") == "elsewhere"


def test_photos_and_digits() -> None:
    assert opened().name == "photos"
    digits = opened("digits", input_shape=(3, 28, 32))
    assert digits.shape == (28, 32, 3)
    assert (digits.count(Split.TRAIN), digits.count(Split.TEST)) == (1438, 359)


def test_digits_are_legible() -> None:
    """A nearest-neighbour vote over the stored pixels knows nearly all of them, or labels and pictures are mixed up."""
    digits = opened("digits", input_shape=(1, 8, 8))
    splits = {}
    for split in Split:
        out = np.empty((digits.count(split), 8, 8, 1), np.uint8)
        labels = digits.read(split, np.arange(len(out)), epoch=0, out=out)
        splits[split] = out.reshape(len(out), -1).astype(float), labels
    (train, labels), (test, expected) = splits[Split.TRAIN], splits[Split.TEST]
    distances = (test**2).sum(1)[:, None] - 2 * test @ train.T + (train**2).sum(1)
    assert (labels[distances.argmin(1)] == expected).mean() > 0.97
    assert train.max() == 255


def test_a_folder_by_its_path(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (9, 9)).save(tmp_path / name / f"{i}.png")
    for dataset in (opened(str(tmp_path)), opened(settings=Settings(provider="folder", path=str(tmp_path)))):
        assert dataset.classes == ("a", "b")
        dataset.close()


def test_more_classes_than_outputs() -> None:
    with pytest.raises(DiagnosticError, match="CS704: photos has 16 classes, and the network has 10 outputs") as caught:
        opened(classes=10)
    assert "outputs=16 in the last fc layer" in str(caught.value.diagnostics[0].help)


def test_fewer_classes_than_outputs_is_a_note() -> None:
    told: list[Diagnostic] = []
    opened(classes=1000, notify=told.append)
    assert [(d.code, d.severity) for d in told] == [("CS704", Severity.NOTE)]
    assert "984" in told[0].message


def test_a_single_class(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    for i in range(3):
        Image.new("RGB", (9, 9)).save(tmp_path / "only" / f"{i}.png")
    with pytest.raises(DiagnosticError, match=r"CS704.*one class, 'only'"):
        opened(str(tmp_path))


def test_an_input_larger_than_the_pictures() -> None:
    with pytest.raises(DiagnosticError, match="CS705: the network reads 41x32, and the pictures are stored as 40x40"):
        opened(input_shape=(3, 41, 32))
    opened("digits", input_shape=(1, 64, 64))


def test_an_input_of_four_channels() -> None:
    with pytest.raises(DiagnosticError, match="CS713: the network reads 4x32x32"):
        opened(input_shape=(4, 32, 32))


@pytest.mark.parametrize(
    ("data", "module", "names"), [("photos", "skimage", "scikit-image"), ("digits", "sklearn", "scikit-learn")]
)
def test_a_package_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, data: str, module: str, names: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("convspec.data.requirements.find_spec", lambda name: None if name == module else find(name))
    with pytest.raises(DiagnosticError, match=f"CS801.*{names}") as caught:
        opened(data, input_shape=(1, 8, 8))
    assert caught.value.diagnostics[0].help == 'type: pip install "convspec[train]"'


@pytest.mark.parametrize("data", ["photos", "digits"])
def test_pillow_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DiagnosticError, match=r"CS801.*Pillow"):
        opened(data, input_shape=(1, 8, 8))
