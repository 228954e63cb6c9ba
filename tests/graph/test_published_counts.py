"""The networks of papers have the parameters that were published of them, to the last one, and their multiply-adds."""

from __future__ import annotations

import pytest

import convspec
from convspec.resources import spec_path

# vgg11, vgg16, resnet50, squeezenet: those of torchvision's models. googlenet, nin-cifar: of the files that Caffe's model
# zoo has; googlenet is without the classifiers on the way what its authors' table 1 adds up to.
PUBLISHED = {
    "vgg11.cfg": ((), 132_863_336),
    "vgg16.cfg": ((), 138_357_544),
    "resnet50.cfg": ((), 25_557_032),
    "squeezenet.cfg": ((), 1_235_496),
    "googlenet.cfg": ((), 13_378_280),
    "googlenet.cfg at test": (("classifier4a.remove=1", "classifier4d.remove=1"), 6_998_552),
    "nin-cifar.cfg": ((), 966_986),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name: str) -> None:
    overrides, parameters = PUBLISHED[name]
    checked = convspec.check(spec_path(name.removesuffix(" at test")), overrides=overrides)
    assert checked.ok
    assert checked.totals.network.parameters == parameters
    if not overrides:
        # Each size that is rounded is one that the spec claims.
        assert not checked.diagnostics


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("vgg11.cfg", 7.61),
        ("vgg16.cfg", 15.47),
        ("resnet50.cfg", 3.86),
        ("squeezenet.cfg", 0.349),
        ("googlenet.cfg", 1.58),
    ],
)
def test_multiply_adds(name: str, billions: float) -> None:
    """Of what multiplies matrices at test; the papers say 3.8 billion of ResNet-50 and 1.5 of GoogLeNet."""
    counted = {"conv", "fc"}
    rows = [row for row in convspec.check(spec_path(name)).layers if row.type in counted]
    macs = sum(row.macs for row in rows if not row.name.startswith("classifier"))
    assert macs / 1e9 == pytest.approx(billions, rel=0.003)
