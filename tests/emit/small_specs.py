"""Texts of small one-file specs, for tests that need a certain layer and little else."""

from __future__ import annotations

import re

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from convspec.testing import specs

_PARAMETERS = """
[@params]
initW=0.1
epsW=0.01
epsB=0.02
momW=0.9
momB=0.9
wc=0.0005
scale=5
pow=0.75
minDiv=2

[data]
type=data
dataIdx=0

[labels]
type=data
dataIdx=1
"""

_CLASSIFIER = """
[scores]
type=fc
inputs={leaves}
outputs=4
gpu=0

[probs]
type=softmax
inputs=scores

[cost]
type=cost.logreg
inputs=labels,probs
coeff=0.7
topk=2
gpu=0
"""


def classifier(layers: str, *, leaves: str, image: str = "3x9x9", net: str = "") -> str:
    """A network of `layers` between the data layer `data` and a classifier of four classes that reads `leaves`."""
    return f"[@net]\ninput=data:{image}\nclasses=4\n{net}\n{_PARAMETERS}\n{layers}\n{_CLASSIFIER.format(leaves=leaves)}"


def layer(name: str, **keys: object) -> str:
    return "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in keys.items())]) + "\n"


# All that the towers of AlexNet have, in small: normalised and pooled towers, a grouped convolution, a crossing with the
# inputs of one tower in the other order, and fully-connected layers that cross too.
TWO_TOWERS = classifier(
    "\n".join(
        f"""
[conv1{tower}]
type=conv
inputs=data
filters=4
filterSize=3
stride=2
neuron=relu
gpu={gpu}

[rnorm1{tower}]
type=cmrnorm
inputs=conv1{tower}
size=3

[pool1{tower}]
type=pool
pool=max
inputs=rnorm1{tower}
sizeX=3
stride=2

[conv2{tower}]
type=conv
inputs=pool1{tower}
filters=4
filterSize=3
padding=1
neuron=relu

[conv3{tower}]
type=conv
inputs={crossing.format("conv2")}
filters=6
filterSize=3
padding=1
neuron=relu
gpu={gpu}

[fc4{tower}]
type=fc
inputs={crossing.format("conv3")}
outputs=5
neuron=relu
gpu={gpu}

[drop4{tower}]
type=dropout2
inputs=fc4{tower}
"""
        for tower, gpu, crossing in (("a", 0, "{0}a,{0}b"), ("b", 1, "{0}b,{0}a"))
    ),
    leaves="drop4a,drop4b",
    image="3x16x16",
    net="name=TwoTowers",
)


# Layers whose filters are not shared between windows, and windows whose rows and columns differ, in two towers.
UNSHARED = classifier(
    "".join(
        layer(f"pool1{t}", type="pool", pool="max", inputs="data", sizeX="3x2", stride="2x1", start="-1x0", gpu=gpu)
        + layer(
            f"conv1{t}", type="conv", inputs=f"pool1{t}", filters=4, filterSize=2, sharedBiases=0, neuron="tanh[1,1]"
        )
        + layer(
            f"local2{t}",
            type="local",
            inputs=f"conv1{t}",
            filters=2,
            groups=2,
            filterSize="1x3",
            padding="0x1",
            stride="2x1",
            neuron="abs",
        )
        + layer(
            f"local3{t}", type="local", inputs=crossing, filters=3, filterSize=2, modulesX=4, neuron="relu", gpu=gpu
        )
        + layer(f"split4{t}", type="sfc", inputs=f"local3{t}", outputs=2, parts=3)
        for t, gpu, crossing in (("a", 0, "local2a,local2b"), ("b", 1, "local2b,local2a"))
    ),
    leaves="split4a,split4b",
    image="2x9x6",
    net="name=Unshared",
)


def parted(*, fc: str = "0,1", first: str = "0,1,2,3") -> str:
    """Convolutions in four parts, dropped units, a linear layer with fewer replicas, and towers above."""
    layers = (
        layer("conv1", type="conv", inputs="data", filters=4, filterSize=3, neuron="relu", gpu=first)
        + layer("norm1", type="batchnorm", inputs="conv1")
        + layer("drop1", type="dropout", inputs="norm1", keep=0.7)
        + layer("fc2", type="fc", inputs="drop1", outputs=6, neuron="relu", gpu=fc)
        + layer("drop2", type="dropout2", inputs="fc2", keep=0.6)
    )
    for gpu, tower in enumerate("ab"):
        layers += layer(f"fc3{tower}", type="fc", inputs="drop2", outputs=3, neuron="nrelu", gpu=gpu)
    return classifier(layers, leaves="fc3a,fc3b")


@st.composite
def scattered(draw: DrawFn, gpus: int = 3, **limits: int) -> str:
    """Generated specs, each of whose layers is on any GPU."""
    sections = re.split(r"(?m)^(?=\[)", draw(specs(**limits)))
    layers = [
        section for section in sections if section and not section.startswith("[@") and "type=data" not in section
    ]
    placed = {section: f"{section.rstrip()}\ngpu={draw(st.integers(0, gpus - 1))}\n\n" for section in layers}
    return "".join(placed.get(section, section) for section in sections)


def replicated(*, conv: str = "0,1,2,3", fc: str = "0", **more: object) -> str:
    """A convolution with replicas, and a linear layer with fewer."""
    return classifier(
        layer("conv1", type="conv", inputs="data", filters=4, filterSize=3, neuron="relu", gpu=conv, **more)
        + layer("fc2", type="fc", inputs="conv1", outputs=3, gpu=fc),
        leaves="fc2",
    )
