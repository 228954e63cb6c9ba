"""Layers without weights as training runs them: float32 and bfloat16 under autocast, images in channels-last order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import convspec
from tests.emit.comparison import emitted, lowered, random_batch, random_state
from tests.emit.small_specs import classifier, layer

LAYERS = {
    "maxabs": layer("x", type="pool", pool="maxabs", inputs="c", sizeX=3, stride=2, start=-1),
    "sum": layer("x", type="pool", pool="avg", sum=1, inputs="c", sizeX=3, stride=2),
    "globalpool": layer("x", type="globalpool", inputs="c"),
    "cmpool": layer("x", type="cmpool", inputs="c", size=3, stride=2, start=-1),
    "blocked": layer("x", type="cmrnorm", inputs="c", size=3, blocked=1),
    "cnorm": layer("x", type="cnorm", inputs="c", size=3),
    "batchnorm": layer("x", type="batchnorm", inputs="c", eps=0.1),
    "eltsum": layer("x", type="eltsum", inputs="c,d", coeffs="1,-0.5"),
    "eltmax": layer("x", type="eltmax", inputs="c,d"),
    "mixed eltmax": layer("n", type="cnorm", inputs="d", size=3) + layer("x", type="eltmax", inputs="c,n"),
    "sums": layer("x", type="sum", inputs="c", stride=8),
    "pass": layer("x", type="pass", inputs="c,d"),
    "nailbed": layer("x", type="nailbed", inputs="c", stride=2),
    "blur": layer("x", type="blur", inputs="c", filterSize=3, stdev=1),
    "href": layer("x", type="href", inputs="c"),
    "resize": layer("x", type="resize", inputs="data", scale=1.3),
    "rscale": layer("x", type="rscale", inputs="data", maxScale=1.25),
    "crop": layer("x", type="crop", inputs="data", startX=1, sizeX=4),
    "rgb2yuv": layer("x", type="rgb2yuv", inputs="data"),
    "rgb2lab": layer("x", type="rgb2lab", inputs="data", neuron="linear[0.01,0]"),
    "abstanh": layer("x", type="neuron", inputs="c", neuron="abstanh[1,1]"),
}
CONVOLUTIONS = "".join(layer(name, type="conv", inputs="data", filters=4, filterSize=3) for name in "cd")


@pytest.mark.parametrize(("dtype", "tolerance"), [(None, 1e-4), (torch.bfloat16, 0.1)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_as_in_training(name: str, dtype: torch.dtype | None, tolerance: float) -> None:
    checked = convspec.check(classifier(CONVOLUTIONS + LAYERS[name], leaves="x,c,d", image="3x10x10"))
    assert checked.ok, checked.diagnostics
    program = lowered(checked, ["x"])
    wide, narrow = emitted(program), emitted(program).float()
    state, batch = random_state(wide, 0), random_batch(checked, 4, 1)
    batch["data"] = np.abs(batch["data"])
    for net in (wide, narrow):
        net.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    images, labels = torch.from_numpy(batch["data"]), torch.from_numpy(batch["labels"])
    expected = wide({"data": images, "labels": labels})
    wide.objective(expected).backward()  # type: ignore[operator]
    images = images.float().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        given = narrow({"data": images, "labels": labels})
        objective = narrow.objective(given)  # type: ignore[operator]
    objective.backward()
    size = expected["x"].abs().max()
    assert (given["x"].double() - expected["x"]).abs().max() <= tolerance * size
    for own, other in zip(narrow.parameters(), wide.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        if dtype is None:
            assert (own.grad.double() - other.grad).abs().max() <= tolerance * other.grad.abs().max().clamp(min=1e-3)
        else:
            assert torch.isfinite(own.grad).all()
