"""What the parsers of the original programs made of each layer, undone: from a dictionary to the lines of its section."""

from __future__ import annotations

from typing import Any

import pytest

from convspec.layers.dialects import DIALECTS
from convspec.layers.restored import Misfit, OldLayer, restore
from convspec.layers.unparsed import section

LEARNED = {
    "initW": [0.01],
    "initB": 0.0,
    "initWFunc": "initw.makew(a)",
    "epsW": [0.001],
    "epsB": 0.002,
    "momW": [0.9],
    "momB": 0.9,
    "wc": [0.0005],
}
LEARNED_LINES = "initW=0.01 epsW=0.001 epsB=0.002 momW=0.9 momB=0.9 wc=0.0005"
WINDOWS = {
    "channels": [8],
    "filters": 12,
    "groups": [2],
    "filterSize": [3],
    "padding": [-1],
    "stride": [2],
    "imgSize": [8],
    "modulesX": 5,
    "modules": 25,
    "filterChannels": [4],
}
WINDOW_LINES = "channels=8 filters=6 filterSize=3 padding=1 stride=2 groups=2"
RATE = {"type": "const", "params": {"base": 1e-5}}
FALLING = {"type": "dexp", "params": {"numSteps": 3, "base": 0.02, "tgtFactor": 10.0}}
MAPS = {"channels": 4, "imgSize": 8, "imgPixels": 64}


@pytest.mark.parametrize(
    ("dialect", "kind", "fields", "lines"),
    [
        (
            "ccn1",
            "conv",
            {**WINDOWS, **LEARNED, "partialSum": 1, "sharedBiases": True},
            f"{LEARNED_LINES} {WINDOW_LINES} partialSum=1",
        ),
        ("ccn1", "conv", {**WINDOWS, **LEARNED, "partialSum": 0, "sharedBiases": False}, "sharedBiases=0 partialSum=0"),
        (
            "ccn1",
            "local",
            {**WINDOWS, **LEARNED, "randSparse": [True], "filterChannels": [8]},
            "randSparse=1 filterChannels=8",
        ),
        (
            "ccn1",
            "cmrnorm",
            {**MAPS, "size": 5, "scale": 0.0005 / 5, "pow": 0.75, "blocked": True},
            "channels=4 size=5 scale=0.0005 pow=0.75 blocked=1",
        ),
        ("ccn1", "rnorm", {**MAPS, "size": 3, "scale": 0.001 / 9, "pow": 0.5}, "channels=4 size=3 scale=0.001 pow=0.5"),
        (
            "ccn2",
            "cnorm",
            {**MAPS, "size": 7, "scale": 0.1 / 49, "pow": 0.5, "minDiv": 3.0},
            "channels=4 size=7 scale=0.1 pow=0.5 minDiv=3",
        ),
        ("ccn1", "eltsum", {"coeffs": [1.0, -1.0]}, "coeffs=1,-1"),
        ("ccn1_dnouri", "fc", {**LEARNED, "outputs": 10, "dropout": 0.5}, f"dropout=0.5 {LEARNED_LINES} outputs=10"),
        ("ccn1", "fc", {**LEARNED, "outputs": 10, "epsW": [1e-3], "epsB": 2.0}, "epsW=0.001 epsB=2"),
        (
            "alexnet2012",
            "fc",
            {
                **LEARNED,
                "outputs": 4,
                "schedW": {"type": "dexp", "params": {"numSteps": 4, "tgtFactor": 250.0, "noiseStdev": 0.0}},
            },
            "schedW=dexp[tgtFactor=250,noiseStdev=0,numSteps=4]",
        ),
        ("alexnet2012", "fc", {**LEARNED, "outputs": 4, "wball": [0.25], "superEps": 0.5}, "wball=0.25 superEps=0.5"),
        ("alexnet2012", "hs", {"keep": 0.5, "enable": False}, "keep=0.5 enable=0"),
        (
            "alexnet2012",
            "pool",
            {**MAPS, "pool": "maxabs", "sizeX": 3, "stride": 2, "start": 0, "outputsX": 4},
            "channels=4 pool=maxabs sizeX=3 stride=2",
        ),
        ("alexnet2012", "cost.msm", {"coeff": 0.5, "setSize": 3, "threads": 8}, "coeff=0.5 setSize=3 threads=8"),
        ("alexnet2012", "cost.tica", {"coeff": 1.0, "channels": 4, "sizeX": 5}, "coeff=1 channels=4 sizeX=5"),
        ("alexnet2012", "rscale", {**MAPS, "maxScale": 1.25, "tgtSize": 7}, "channels=4 maxScale=1.25 tgtSize=7"),
        (
            "ccn2",
            "conv",
            {**WINDOWS, **LEARNED, "sumWidth": 4, "modulesX": 6, "epsW": [FALLING], "epsB": RATE},
            "epsW=dexp[base=0.02;tgtFactor=10;numSteps=3] epsB=const[base=1e-05] modulesX=6 sumWidth=4",
        ),
        (
            "ccn2",
            "conv",
            {**WINDOWS, **LEARNED, "sumWidth": 4, "wcNormMin": [0.1], "wcNormMax": [0.2], "updatePeriod": 4},
            "updatePeriod=4 wcNormMin=0.1 wcNormMax=0.2",
        ),
        ("ccn2", "sfc", {**LEARNED, "outputs": 40, "parts": 4}, "outputs=10 parts=4"),
        (
            "ccn2",
            "pool",
            {**MAPS, "pool": "avg", "sizeX": 3, "stride": 2, "start": -1, "outputsX": 4},
            "channels=4 pool=avg sizeX=3 stride=2 start=-1",
        ),
        ("ccn2", "pool", {**MAPS, "pool": "max", "sizeX": 3, "stride": 2, "start": 0, "outputsX": 3}, "outputsX=3"),
        ("ccn2", "dropout2", {"keep": 0.7, "enable": True}, "keep=0.7"),
        ("ccn2", "crop", {**MAPS, "startX": 1, "startY": 2, "sizeX": 4}, "channels=4 startX=1 startY=2 sizeX=4"),
        ("ccn2", "resize", {**MAPS, "scale": 1.5, "tgtSize": 5}, "channels=4 scale=1.5"),
        ("ccn2", "blur", {**MAPS, "filterSize": 5, "stdev": 1.5}, "channels=4 filterSize=5 stdev=1.5"),
        ("ccn2", "nailbed", {**MAPS, "stride": 2, "start": 0, "outputsX": 4}, "channels=4 stride=2"),
        ("ccn2", "rgb2lab", {"channels": 3, "center": True}, "center=1"),
        ("ccn2", "cost.bce", {"coeff": 1.0, "posWeight": 2.0, "children": []}, "coeff=1 posWeight=2"),
        ("ccn2", "cost.logreg", {"coeff": 1.0, "topk": 5, "children": ["a", "b"]}, "coeff=1 children=a,b topk=5"),
        ("ccn2", "data", {"dataIdx": 0, "start": 64, "end": 128}, "dataIdx=0 start=64 end=128"),
        ("ccn2", "data", {"dataIdx": 0, "start": 0, "end": 128}, "dataIdx=0"),
        ("ccn2", "neuron", {"neuron": {"type": "tanh", "params": {"b": 0.5, "a": 2.0}}}, "neuron=tanh[2,0.5]"),
        ("ccn2", "softmax", {"gpu": [0, 1, 2, 3]}, "gpu=0,1,2,3"),
        ("alexnet2012", "softmax", {"gpu": 1}, "gpu=1"),
        ("ccn2", "softmax", {"gpu": [-1]}, ""),
    ],
    ids=str,
)
def test_each_type_gets_its_lines(dialect: str, kind: str, fields: dict[str, Any], lines: str) -> None:
    """In the order in which our layer types declare their keys; what follows from other lines is not said."""
    inputs = () if kind == "data" else ("above", "other") if kind == "eltsum" else ("above",)
    listed = list(inputs)
    layer = OldLayer("x", kind, inputs, {"name": "x", "type": kind, "inputs": listed, **fields})
    found = section(layer, {"x": layer}, DIALECTS[dialect]).splitlines()
    assert found[:2] == ["[x]", f"type={kind}"]
    whole = [line for line in found[2:] if not line.startswith("inputs=")]
    wanted = lines.split()
    is_part = (
        kind in ("conv", "local", "fc", "sfc") and not lines.startswith((LEARNED_LINES, "dropout="))
    ) or kind == "pool"
    assert (set(wanted) <= set(whole)) if is_part else (whole == wanted)


@pytest.mark.parametrize("scale", [0.0005, 1e-4, 0.001, 1.0, 0.3, 1 / 3, 123.456, 5e-324])
@pytest.mark.parametrize("window", [2, 3, 5, 7, 9])
def test_a_scale_gives_the_quotient_that_it_was(scale: float, window: int) -> None:
    for kind, power in (("cmrnorm", 1), ("rnorm", 2)):
        quotient = scale / window**power
        fields = {"inputs": ["a"], "size": window, "channels": 16, "scale": quotient, "pow": 1.0}
        text = section(OldLayer("x", kind, ("a",), fields), {}, DIALECTS["ccn1"])
        written = float(text.partition("scale=")[2].split()[0])
        assert written / window**power == pytest.approx(quotient, rel=1e-15, abs=5e-324)


def chain(*names: str, kind: str = "softmax") -> dict[str, dict[str, Any]]:
    layers: dict[str, dict[str, Any]] = {"data": {"name": "data", "type": "data", "dataIdx": 0, "outputs": 4}}
    for above, name in zip(["data", *names], names, strict=False):
        layers[name] = {"name": name, "type": kind, "inputs": [above], "outputs": 4, "neuron": ""}
    return layers


def test_layers_without_numbers_stand_in_the_order_of_their_names() -> None:
    layers = chain("a")
    for number in (10, 9, 1):
        layers[f"b{number}"] = {"name": f"b{number}", "type": "softmax", "inputs": ["a"], "outputs": 4}
    assert [layer.name for layer in restore(layers).layers] == ["data", "a", "b1", "b9", "b10"]


def test_numbers_go_before_names() -> None:
    layers = chain("z")
    for place, name in enumerate(["b", "a"]):
        layers[name] = {"name": name, "type": "softmax", "inputs": ["z"], "outputs": 4, "id": 5 + place}
    assert [layer.name for layer in restore(layers).layers] == ["data", "z", "b", "a"]


def test_shared_weights_are_named() -> None:
    layers = chain("a", "b")
    layers["b"] |= {
        "type": "fc",
        "weightSourceLayers": ["a"],
        "weightSourceMatrixIndices": [2],
        "weightSource": ["a[2]"],
    }
    for fields in layers.values():
        fields["gpu"] = [0]
    assert "\nweightSource=a[2]\n" in restore(layers).sections


def test_a_detached_neuron_of_another_name_is_folded() -> None:
    """`a_neuron.1`: what the programs called it where `a_neuron` was taken."""
    layers = chain("a", "a_neuron")
    layers["a"] |= {"neuron": "relu"}
    layers["a_neuron"] |= {"inputs": ["a_neuron.1"]}
    detached = {"type": "neuron", "neuron": {"type": "relu", "params": {}}, "inputs": ["a"], "outputs": 4}
    layers["a_neuron.1"] = {"name": "a_neuron.1", **detached}
    restored = restore(layers)
    assert [(layer.name, layer.inputs) for layer in restored.layers] == [
        ("data", ()),
        ("a", ("data",)),
        ("a_neuron", ("a",)),
    ]


def test_a_neuron_layer_of_its_own_stays() -> None:
    layers = chain("a")
    layers["a_neuron"] = {"name": "a_neuron", "type": "neuron", "neuron": {"type": "relu", "params": {}}}
    layers["a_neuron"] |= {"inputs": ["a"], "outputs": 4}
    assert "[a_neuron]\ntype=neuron\ninputs=a\nneuron=relu" in restore(layers).sections


def test_sizes_of_the_data() -> None:
    layers = chain("a")
    layers["data"]["outputs"] = 3 * 25
    layers["a"] |= {"type": "resize", "channels": 3, "scale": 1.0}
    assert restore(layers).input == "data:3x5x5"
    layers["a"]["channels"] = 2
    assert restore(layers).input == "data:75"
    layers["part"] = {"name": "part", "type": "data", "dataIdx": 0, "outputs": 25, "start": 50, "end": 75}
    layers["a"]["channels"] = 3
    assert restore(layers).input == "data:3x5x5, part:75"


@pytest.mark.parametrize("name", ["", " x", "x ", "@net", "x]", "a,b", "a:b", "x\ny", "x" * 201, "x\x1b[31m"])
def test_names_that_no_file_can_give(name: str) -> None:
    layers = chain("a")
    layers["a"]["name"] = name
    with pytest.raises(Misfit):
        restore(layers)
