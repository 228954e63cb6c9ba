"""What an author is told to type next: one mistake each in a network of templates, and nothing beside it."""

from __future__ import annotations

import pytest

import convspec

NETWORK = """
[@net]
input=data:3x20x20
classes=4

[@params]
epsW=0.1
epsB=0.1
momW=0.9
momB=0.9
initW=he

[@template fire]
squeeze=
expand=8

[@fire.squeeze]
type=conv
inputs=$inputs
filters=$squeeze
filterSize=1

[@fire.one]
type=conv
inputs=squeeze
filters=$expand
filterSize=1

[@fire.three]
type=conv
inputs=squeeze
filters=$expand
filterSize=3
padding=1

[@fire.maps]
type=concat
inputs=one,three

[data]
type=data
dataIdx=0

[labels]
type=data
dataIdx=1

[fire1]
type=fire
inputs=data
squeeze=4

[fire2]
type=fire
inputs=fire1
squeeze=4
repeat=2
expect=20x20x16

[fire2_1.three]
filterSize=5
padding=2

[pool3]
type=globalpool
inputs=fire2

[fc]
type=fc
inputs=pool3
outputs=4

[probs]
type=softmax
inputs=fc

[cost]
type=cost.logreg
inputs=labels,probs
coeff=1
"""

JOINED = "make those of fire1.one and fire1.three alike"


def test_the_network_has_no_mistake() -> None:
    assert convspec.check(NETWORK).diagnostics == ()


@pytest.mark.parametrize(
    ("right", "wrong", "code", "help"),
    [
        # Maps of two sizes are no maps any more: said where they are claimed, and else where they are read.
        ("padding=1\n", "padding=0\n", "CS404", JOINED),
        ("padding=2\n", "padding=1\n", "CS404", "make those of fire2_1.one and fire2_1.three alike"),
        ("expect=20x20x16", "expect=20x20x15", "CS416", "write expect=20x20x16"),
        # Keys of one layer of an instance.
        ("[fire2_1.three]", "[fire2.three]", "CS201", "fire2 has copies: write [fire2_1.three] for the first"),
        ("[fire2_1.three]", "[fire2_1.thre]", "CS201", "did you mean 'fire2_1.three'?"),
        ("[fire2_1.three]", "[fire2_1.x]", "CS201", "it makes fire2_1.squeeze, fire2_1.one"),
        # What an instance could not make is missed by nobody else.
        ("squeeze=4\nrepeat", "squeze=4\nrepeat", "CS203", "did you mean 'squeeze'?"),
        ("squeeze=4\nrepeat", "squeeze=\nrepeat", "CS203", "or give it one in [@template fire]"),
        ("type=fire\ninputs=fire1", "type=fir\ninputs=fire1", "CS202", "did you mean 'fire'?"),
        # Instances are as near as layers.
        ("inputs=fire2", "inputs=fire3", "CS301", "did you mean 'fire2'?"),
        # Words of other places, and of other cases.
        ("filterSize=5\npadding=2", "kernel_size=5", "CS207", "did you mean 'filterSize'?"),
        ("type=fc", "type=linear", "CS202", "did you mean 'fc'?"),
        ("type=concat", "type=cat", "CS202", "did you mean 'concat'?"),
        ("type=globalpool", "type=AdaptiveAvgPool2d", "CS202", "did you mean 'globalpool'?"),
        ("outputs=4", "units=4", "CS203", "did you mean 'outputs'?"),
        ("outputs=4", "outputs=4\nneuron=ReLU", "CS210", "did you mean 'relu'?"),
        ("outputs=4", "outputs=$classes", "CS204", "$ stands for a parameter in the layers of a template"),
        ("initW=he", "initW=he\n[@params fire]\nexpand=4", "CS109", "in [@template fire]"),
    ],
)
def test_one_mistake_has_one_message_that_says_what_to_type(right: str, wrong: str, code: str, help: str) -> None:
    assert right in NETWORK
    [found] = convspec.check(NETWORK.replace(right, wrong)).diagnostics
    assert found.code == code
    assert found.help is not None
    assert help in found.help


def test_a_claim_of_joined_maps_says_which_do_not_fit() -> None:
    text = NETWORK.replace("filterSize=5\npadding=2", "filterSize=5").replace("[fire2_1.three]", "[fire2_2.three]")
    [found] = convspec.check(text).diagnostics
    assert found.code == "CS416"
    assert "it joins no maps of two sizes, fire2_2.one 8x20x20 and fire2_2.three 8x18x18" in found.message
    assert [label.text for label in found.labels if "fire2_2.three gives" in label.text]


def test_ways_of_different_lengths_point_at_what_changed_the_size() -> None:
    """A shortcut beside two convolutions, of which the second lost its padding."""
    text = NETWORK.replace("[pool3]\ntype=globalpool\ninputs=fire2\n", "") + "".join(
        f"\n[{name}]\ntype=conv\ninputs={source}\nfilters=16\nfilterSize=3\npadding={padding}\n"
        for name, source, padding in (("a", "fire2", 1), ("b", "a", 0), ("c", "b", 1))
    )
    text += "\n[d]\ntype=eltsum\ninputs=c,fire2\n\n[pool3]\ntype=globalpool\ninputs=d\n"
    [found] = convspec.check(text).diagnostics
    assert found.code == "CS406"
    texts = [label.text for label in found.labels]
    assert "b gives 16x18x18 = (20 - 3) / 1 + 1 = 18" in texts
    assert any(text.startswith("fire2_2.maps gives 16x20x20") for text in texts)
