"""Texts of specs with every cost, for tests that need some of them."""

from __future__ import annotations

HEAD = """
[@net]
input=data:2x4x4
classes=4
{net}
[@params]
initW=0.1
epsW=0.01
epsB=0.02
momW=0.9
momB=0.9
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[tags]
type=data
dataIdx=2
[maps]
type=conv
inputs=data
filters=3
filterSize=2
neuron=tanh[1,1]
[scores]
type=fc
inputs=maps
outputs=4
[probs]
type=softmax
inputs=scores
[guesses]
type=fc
inputs=maps
outputs=4
neuron=logistic
[gate]
type=fc
inputs=data
outputs=1
"""
COSTS = {
    "logreg": "type=cost.logreg\ninputs=labels,probs\ntopk=2",
    "crossent": "type=cost.crossent\ninputs=tags,probs",
    "bce": "type=cost.bce\ninputs=tags,guesses\nposWeight=2.5",
    "dce": "type=cost.dce\ninputs=tags,guesses",
    "crossent2": "type=cost.crossent2\ninputs=tags,guesses",
    "rflickr": "type=cost.rflickr\ninputs=tags,guesses",
    "msm": "type=cost.msm\ninputs=labels,scores\nsetSize=3",
    "sum2": "type=cost.sum2\ninputs=maps",
    "gsum2": "type=cost.gsum2\ninputs=gate,maps",
    "tica": "type=cost.tica\ninputs=maps\nsizeX=2",
    # What lies below is no softmax and no logistic neuron: the formulas over probabilities.
    "crossent of squares": "type=cost.crossent\ninputs=tags,squared",
    "bce of probabilities": "type=cost.bce\ninputs=tags,probs\nposWeight=0.5",
    "bce of rectified": "type=cost.bce\ninputs=tags,rectified",
    "crossent2 of probabilities": "type=cost.crossent2\ninputs=tags,probs",
    "bce of a neuron layer": "type=cost.bce\ninputs=tags,squashed",
    "tica of a vector": "type=cost.tica\ninputs=guesses\nchannels=1\nsizeX=3",
    "gsum2 of labels": "type=cost.gsum2\ninputs=labels,maps",
    "msm of a set of one": "type=cost.msm\ninputs=labels,scores\nsetSize=1",
}
SQUASHED = "[squashed]\ntype=neuron\ninputs=scores\nneuron=logistic\n"
RECTIFIED = "[rectified]\ntype=fc\ninputs=guesses\noutputs=4\nneuron=brelu[0.9]\ninitB=0.3\n"
SQUARED = "[squared]\ntype=softmax\ninputs=scores\nneuron=square\n"


def spec(*names: str, coefficient: float = 0.7, net: str = "", more: str = "") -> str:
    """A network with the costs of these names, and what else would be read by nothing among its outputs."""
    costs = "".join(f"[{name}]\n{COSTS[name]}\ncoeff={coefficient}\n" for name in names)
    between = "".join(text for text in (SQUARED, SQUASHED, RECTIFIED) if text[1:8] in costs)
    layers = HEAD.format(net=net) + between + more + costs
    unread = [name for name in ("labels", "tags", "scores", "guesses", "gate", "probs") if not is_read(name, layers)]
    return layers.replace("[@net]", f"[@net]\noutputs={','.join(['maps', *unread])}")


def is_read(name: str, layers: str) -> bool:
    inputs = [line.removeprefix("inputs=").split(",") for line in layers.splitlines() if line.startswith("inputs=")]
    return any(name in names for names in inputs)
