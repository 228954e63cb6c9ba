"""`channels=` may be left out wherever the input is maps, in every layer type that has it; where it is there, it is checked."""

from __future__ import annotations

import pytest

import convspec
from convspec.layers import BUILT_IN

LEARNS = "initW=0.1\nepsW=0.1\nepsB=0.1\nmomW=0\nmomB=0\nwc=0\nwball=0\n"
KEYS = {
    "conv": f"filters=2\nfilterSize=3\n{LEARNS}",
    "local": f"filters=2\nfilterSize=3\n{LEARNS}",
    "pool": "pool=max\nsizeX=2\nstride=1\n",
    "globalpool": "",
    "batchnorm": LEARNS.replace("initW=0.1\n", ""),
    "cmrnorm": "size=3\nscale=0.1\npow=0.75\n",
    "rnorm": "size=3\nscale=0.1\npow=0.75\n",
    "cnorm": "size=3\nscale=0.1\npow=0.75\n",
    "nailbed": "start=0\nstride=2\n",
    "blur": "filterSize=3\nstdev=1\n",
    "href": "",
    "resize": "scale=1.5\n",
    "rscale": "maxScale=1.25\n",
    "cmpool": "pool=max\nsize=2\nstride=1\nstart=0\noutputs=2\n",
    "crop": "startX=1\nsizeX=4\n",
    "cost.tica": "coeff=1\nsizeX=3\n",
}
WITH_CHANNELS = [name for name in BUILT_IN if name in KEYS]


def check(kind: str, image: str, channels: str) -> convspec.Checked:
    outputs = "" if kind.startswith("cost.") else "outputs=x\n"
    head = f"[@net]\ninput=data:{image}\n{outputs}[data]\ntype=data\ndataIdx=0\n"
    keys = "\n".join(line for line in KEYS[kind].splitlines() if line.split("=")[0].lower() in BUILT_IN[kind].keys)
    return convspec.check(f"{head}[x]\ntype={kind}\ninputs=data\n{channels}{keys}\n")


def test_these_types_have_channels() -> None:
    assert all("channels" in BUILT_IN[name].keys for name in KEYS)


@pytest.mark.parametrize("kind", WITH_CHANNELS)
def test_channels_of_maps_are_inferred(kind: str) -> None:
    without, right, wrong = (check(kind, "3x8x8", channels) for channels in ("", "channels=3\n", "channels=4\n"))
    assert without.ok, without.diagnostics
    assert without.layers[1].shape == right.layers[1].shape is not None
    assert "CS402" in [d.code for d in wrong.diagnostics]


@pytest.mark.parametrize("kind", sorted(set(WITH_CHANNELS) - {"batchnorm"}))
def test_a_vector_needs_them(kind: str) -> None:
    """192 numbers may be 3 maps of 8x8 or 12 of 4x4: nobody but the author can say."""
    assert "CS404" in [d.code for d in check(kind, "192", "").diagnostics]
    assert check(kind, "192", "channels=3\n").layers[1].shape == check(kind, "3x8x8", "").layers[1].shape
