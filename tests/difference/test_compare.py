"""What `compare` finds: the smallest changes one by one, and properties over random networks."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from convspec.checker import Checked, check
from convspec.difference.align import MAXIMUM_PAIRS, align
from convspec.difference.compare import compare
from convspec.difference.finding import Category, Change, Difference
from convspec.difference.steps import steps_of
from convspec.resources import spec_path
from convspec.testing import specs

HEAD = """
[@net]
input=data:3x32x32
[@params]
initW=0.01
epsW=0.01
epsB=0.01
momW=0.9
momB=0.9
scale=0.1
pow=0.75
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
"""
CHAIN = """
[conv1]
type=conv
inputs=data
filters=8
filterSize=5
neuron=relu
[norm1]
type=cmrnorm
inputs=conv1
size=5
[pool1]
type=pool
pool=max
inputs=norm1
sizeX=2
stride=2
[conv2]
type=conv
inputs=pool1
filters=8
filterSize=3
padding=1
neuron=relu
[conv3]
type=conv
inputs=conv2
filters=8
filterSize=3
padding=1
neuron=relu
[fc4]
type=fc
inputs=conv3
outputs=10
[probs]
type=softmax
inputs=fc4
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


def net(*edits: tuple[str, str], text: str = HEAD + CHAIN) -> Checked:
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    checked = check(text)
    assert checked.ok, checked.diagnostics
    return checked


def differences(*edits: tuple[str, str]) -> list[Difference]:
    return list(compare(net(), net(*edits)).differences)


def the(found: list[Difference], category: Category) -> Difference:
    [difference] = [d for d in found if d.category is category]
    return difference


def names(difference: Difference) -> list[tuple[str | None, str | None]]:
    return [tuple(pair) for pair in difference.layers]


def test_a_network_equals_itself_whatever_its_comments_and_claims() -> None:
    assert differences() == []
    assert differences(("[conv1]\n", "# a remark\n[conv1]\nchannels=3\n"), ("[@net]\n", "[@net]\nnote=hello\n")) == []


def test_a_hyper_parameter() -> None:
    [found] = differences(("filters=8\nfilterSize=5", "filters=8\ninitW=0.03\nfilterSize=5"))
    assert found[:6] == (Category.PARAMETERS, Change.CHANGED, (("conv1", "conv1"),), "initW", "0.01", "0.03")
    assert "standard deviation" in found.text


def test_what_all_layers_say_is_said_once() -> None:
    found = differences(("epsW=0.01", "epsW=exp[base=0.01;tgtFactor=10]"))
    assert [(d.key, d.after, d.is_everywhere) for d in found] == [("epsW", "exp[base=0.01;tgtFactor=10]", True)]
    assert names(found[0]) == [(n, n) for n in ("conv1", "conv2", "conv3", "fc4")]


def test_a_layer_put_in_between_is_added_and_nothing_is_rewired() -> None:
    new = "[drop]\ntype=dropout\ninputs=pool1\n[conv2]\ntype=conv\ninputs=drop"
    [found] = differences(("[conv2]\ntype=conv\ninputs=pool1", new))
    assert (found.category, found.change, names(found)) == (Category.LAYERS, Change.ADDED, [(None, "drop")])
    assert found.text == "dropout (dropout), behind pool1, before conv2"


def test_a_layer_taken_out_is_removed_and_nothing_is_rewired() -> None:
    text = (
        (HEAD + CHAIN)
        .replace("[norm1]\ntype=cmrnorm\ninputs=conv1\nsize=5\n", "")
        .replace("inputs=norm1", "inputs=conv1")
    )
    [found] = compare(net(), net(text=text)).differences
    assert (found.category, found.change, names(found)) == (Category.LAYERS, Change.REMOVED, [("norm1", None)])
    assert found.text.startswith("response normalisation across maps (cmrnorm, size=5), behind conv1, before pool1")


def test_a_layer_put_in_front_of_equal_ones_moves_no_other() -> None:
    """By name, conv2 and conv3 would have changed and conv4 would be new."""
    text = HEAD + CHAIN.replace("[conv3]", "[conv4]").replace("[conv2]", "[conv3]").replace("=conv2", "=conv3x")
    text = text.replace("inputs=conv3\noutputs", "inputs=conv4\noutputs").replace("=conv3x", "=conv3")
    new = "[conv2]\ntype=conv\ninputs=pool1\nfilters=16\nfilterSize=5\npadding=2\n[conv3]\ntype=conv\ninputs=conv2"
    found = list(compare(net(), net(("[conv3]\ntype=conv\ninputs=pool1", new), text=text)).differences)
    assert sorted((d.change.value, names(d)) for d in found) == [
        ("added", [(None, "conv2")]),
        ("renamed", [("conv2", "conv3"), ("conv3", "conv4")]),
    ]


def test_the_order_of_norm_and_relu_is_numeric() -> None:
    [found] = differences(
        ("filterSize=5\nneuron=relu", "filterSize=5"), ("inputs=conv1\nsize=5", "inputs=conv1\nsize=5\nneuron=relu")
    )
    assert (found.category, found.change) == (Category.NUMERICS, Change.MOVED)
    assert found.text == "the ReLU comes behind response normalisation across maps (norm1) instead of before"


def test_the_order_of_relu_and_max_pooling_is_not() -> None:
    without_norm = (("[norm1]\ntype=cmrnorm\ninputs=conv1\nsize=5\n", ""), ("inputs=norm1", "inputs=conv1"))
    moved = (("filterSize=5\nneuron=relu", "filterSize=5"), ("pool=max", "pool=max\nneuron=relu"))
    [found] = compare(net(*without_norm), net(*without_norm, *moved)).differences
    assert (found.category, found.change) == (Category.ORDER, Change.MOVED)
    assert "outputs are the same" in found.text
    absolute = (*without_norm, ("filterSize=5\nneuron=relu", "filterSize=5\nneuron=abs"))
    moved = (("filterSize=5\nneuron=abs", "filterSize=5"), ("pool=max", "pool=max\nneuron=abs"))
    [found] = compare(net(*absolute), net(*absolute, *moved)).differences
    assert (found.category, found.change) == (Category.NUMERICS, Change.MOVED)
    averages = (*without_norm, ("pool=max", "pool=avg"))
    moved = (("filterSize=5\nneuron=relu", "filterSize=5"), ("pool=avg", "pool=avg\nneuron=relu"))
    [found] = compare(net(*averages), net(*averages, *moved)).differences
    assert found.category is Category.NUMERICS


def test_a_neuron_as_a_layer_of_its_own_is_no_difference_of_wiring() -> None:
    new = "filterSize=5\n[relu1]\ntype=neuron\nneuron=relu\ninputs=conv1"
    found = differences(("filterSize=5\nneuron=relu", new), ("inputs=conv1\nsize=5", "inputs=relu1\nsize=5"))
    assert [d.change for d in found] == []


def test_layers_that_changed_places() -> None:
    [found] = [
        d
        for d in differences(
            ("type=cmrnorm\ninputs=conv1", "type=cmrnorm\ninputs=pool1"),
            ("pool=max\ninputs=norm1", "pool=max\ninputs=conv1"),
            ("type=conv\ninputs=pool1", "type=conv\ninputs=norm1"),
        )
        if d.category is not Category.SHAPES
    ]
    assert (found.category, found.change, names(found)) == (Category.NUMERICS, Change.MOVED, [("norm1", "norm1")])
    assert found.text.startswith("the response normalisation across maps comes behind max pooling (pool1)")


def test_a_rewired_layer() -> None:
    [found] = differences(("inputs=conv2", "inputs=conv2,pool1"))
    assert (found.category, found.change, names(found)) == (Category.ORDER, Change.REWIRED, [("conv3", "conv3")])
    assert (found.before, found.after, found.text) == ("conv2", "conv2, pool1", "now reads pool1")


def test_functions_and_rounding_are_numeric() -> None:
    found = differences(("filterSize=5\nneuron=relu", "filterSize=5\nneuron=tanh[1,2]"), ("pool=max", "pool=avg"))
    assert [(d.category, d.key, d.before, d.after) for d in found] == [
        (Category.NUMERICS, "neuron", "relu", "tanh[1,2]"),
        (Category.NUMERICS, "pool", "max", "avg"),
    ]
    found = differences(("[@net]", "[@net]\nrounding=floor"))
    assert [(d.category, d.key, d.before, d.after) for d in found] == [
        (Category.NUMERICS, "@net.rounding", "ceil", "floor")
    ]


def test_a_neuron_that_is_gone_or_new() -> None:
    [found] = differences(("filterSize=5\nneuron=relu", "filterSize=5"))
    assert (found.category, found.change, names(found)) == (Category.NUMERICS, Change.REMOVED, [("conv1", "conv1")])
    assert "ReLU" in found.text
    [found] = differences(("outputs=10", "outputs=10\nneuron=logistic"))
    assert (found.change, found.text) == (Change.ADDED, "sigmoid behind it")


def test_sizes_and_windows_that_no_longer_fit() -> None:
    found = differences(("data:3x32x32", "data:3x33x33"))
    numeric = the(found, Category.NUMERICS)
    assert names(numeric) == [("pool1", "pool1")]
    assert numeric.text == "the last window now hangs over the edge"
    assert (numeric.before, numeric.after) == (
        "(28 - 2) / 2 + 1 = 14",
        "(29 - 2) / 2 + 1 = 14.5, rounded up to 15",
    )
    assert next((d.before, d.after) for d in found if d.category is Category.SHAPES) == ("3x32x32", "3x33x33")


def test_neighbours_tell_layers_apart_that_are_alike() -> None:
    """Two equal convolutions under other names and in another order: one feeds a pool, one a normalisation."""
    conv = "[{0}]\ntype=conv\ninputs=data\nfilters=8\nfilterSize=5\n"
    pool = "[{0}]\ntype=pool\npool=max\ninputs={1}\nsizeX=2\nstride=2\n"
    norm = "[{0}]\ntype=cmrnorm\ninputs={1}\nsize=5\n"
    head = HEAD.replace("[@net]", "[@net]\noutputs={0},{1}").replace("[labels]\ntype=data\ndataIdx=1\n", "")
    a = head.format("n", "p") + conv.format("x1") + conv.format("x2") + pool.format("p", "x1") + norm.format("n", "x2")
    b = head.format("o", "q") + conv.format("y1") + conv.format("y2") + pool.format("q", "y2") + norm.format("o", "y1")
    found = compare(net(text=a), net(text=b)).differences
    renamed = [pair for d in found if d.change is Change.RENAMED for pair in names(d)]
    assert sorted(renamed) == [("n", "o"), ("p", "q"), ("x1", "y2"), ("x2", "y1")]
    assert {d.change for d in found} <= {Change.RENAMED, Change.CHANGED}


def test_a_function_in_place_of_another_in_a_layer_of_another_name() -> None:
    """Of networks so unlike, the neurons of paired layers are paired by their layers alone."""
    found = compare(check(spec_path("alexnet.cfg")), check(spec_path("lenet-digits.cfg"))).differences
    [neurons] = [d for d in found if d.key == "neuron"]
    assert (neurons.change, neurons.before, neurons.after) == (Change.CHANGED, "relu", "tanh[1.7159,0.6667]")
    assert ("conv1a", "conv1") in names(neurons)


def test_a_function_in_place_of_another() -> None:
    [found] = differences(("filterSize=5\nneuron=relu", "filterSize=5\nneuron=logistic"))
    assert (found.change, found.before, found.after) == (Change.CHANGED, "relu", "logistic")


def test_windows_that_end_before_the_edge() -> None:
    floor = ("[@net]", "[@net]\nrounding=floor")
    numeric = the(
        list(compare(net(floor), net(floor, ("data:3x32x32", "data:3x33x33"))).differences), Category.NUMERICS
    )
    assert numeric.text == "the last window now ends before the edge"


def test_values_are_written_as_specs_write_them() -> None:
    [size] = [
        d
        for d in differences(
            ("filterSize=3\npadding=1\nneuron=relu\n[conv3]", "filterSize=3x5\npadding=1x2\nneuron=relu\n[conv3]")
        )
        if d.key == "filterSize"
    ]
    assert (size.before, size.after) == ("3", "3x5")
    [start] = differences(("filters=8\nfilterSize=5", "filters=8\ninitWFunc=initw.makew(a)\nfilterSize=5"))
    assert (start.key, start.before, start.after) == ("initWFunc", "none", "initw.makew(a)")
    [decline] = differences(
        ("filters=8\nfilterSize=5", "filters=8\nschedW=dexp[tgtFactor=10,noiseStdev=0.5,numSteps=4]\nfilterSize=5")
    )
    assert (decline.before, decline.after) == ("default", "dexp[tgtFactor=10,noiseStdev=0.5,numSteps=4]")


def test_shared_weights_of_layers_with_other_names() -> None:
    shared = ("inputs=conv2\nfilters=8", "inputs=conv2\nweightSource=conv2\nfilters=8")
    renamed = (HEAD + CHAIN).replace("conv2", "other")
    changes = compare(
        net(shared), net(("inputs=other\nfilters=8", "inputs=other\nweightSource=other\nfilters=8"), text=renamed)
    )
    assert [d.change for d in changes.differences] == [Change.RENAMED]
    assert "weightSource" in {d.key for d in differences(shared)}


def test_the_scale_of_a_norm_is_told_as_the_alpha_of_the_paper() -> None:
    [found] = differences(("inputs=conv1\nsize=5", "inputs=conv1\nscale=0.2\nsize=5"))
    assert (found.key, found.before, found.after) == ("scale", "0.1", "0.2")
    assert found.text == "alpha of the paper, scale / window: 0.02 became 0.04"
    same_map = HEAD + CHAIN.replace("type=cmrnorm", "type=rnorm")
    changes = compare(
        net(text=same_map), net(("inputs=conv1\nsize=5", "inputs=conv1\nscale=0.2\nsize=5"), text=same_map)
    )
    assert [d.text for d in changes.differences] == ["alpha of the paper, scale / window: 0.004 became 0.008"]


def test_a_reader_of_a_layer_that_is_gone_reads_what_was_behind_it() -> None:
    """Nothing is told of the reader, unless it reads something else as well."""
    gone = ("[norm1]\ntype=cmrnorm\ninputs=conv1\nsize=5\n", "")
    found = differences(gone, ("inputs=norm1", "inputs=conv1"))
    assert [(d.change, names(d)) for d in found] == [(Change.REMOVED, [("norm1", None)])]
    both = gone, ("inputs=norm1", "inputs=conv1"), ("inputs=conv3\noutputs", "inputs=data,conv3\noutputs")
    rewired = [d for d in differences(*both) if d.change is Change.REWIRED]
    assert [(names(d), d.before, d.after) for d in rewired] == [([("fc4", "fc4")], "conv3", "data, conv3")]
    assert [d.text for d in rewired] == ["now reads data"]
    # what the layer that is gone read is not what its reader reads now
    kept = ("input=data:3x32x32", "input=data:3x32x32\noutputs=conv1")
    elsewhere = compare(net(kept), net(kept, gone, ("inputs=norm1", "inputs=data"))).differences
    around = [d for d in elsewhere if d.change is Change.REWIRED]
    assert [(names(d), d.before, d.after) for d in around] == [([("pool1", "pool1")], "norm1", "data")]


def test_placement_and_settings() -> None:
    found = differences(("inputs=conv3", "inputs=conv3\ngpu=1"), ("[@net]", "[@train]\nbatch=32\n[@net]"))
    assert [(d.key, d.before, d.after) for d in found if d.category is Category.PLACEMENT] == [("gpu", "0", "1")]
    assert the(found, Category.SETTINGS)[3:6] == ("@train.batch", "128", "32")


def test_a_replaced_layer() -> None:
    found = differences(("type=cmrnorm\ninputs=conv1\nsize=5", "type=rnorm\ninputs=conv1\nsize=5"))
    assert [(d.change, d.before, d.after) for d in found if d.change is Change.REPLACED] == [
        (Change.REPLACED, "cmrnorm", "rnorm")
    ]


def test_towers_with_other_names_in_another_order_of_the_file() -> None:
    text = spec_path("alexnet.cfg").read_text()
    renamed = re.sub(r"\b((?:conv|rnorm|pool|fc|drop)\d)([ab])\b", lambda m: f"{m[1]}_{'01'['ab'.index(m[2])]}", text)
    head, *sections = re.split(r"(?m)^(?=\[)", renamed)
    shuffled = head + "".join(reversed(sections))
    found = compare(check(text), check(shuffled)).differences
    assert {d.change for d in found} == {Change.RENAMED}
    assert ("conv1b", "conv1_1") in [pair for d in found for pair in names(d)]


def test_the_one_gpu_net_is_a_tower_less() -> None:
    found = compare(check(spec_path("alexnet.cfg")), check(spec_path("alexnet-1gpu.cfg"))).differences
    removed = [d for d in found if d.change is Change.REMOVED]
    assert [d.text.split(" of ")[0] for d in removed] == ["twins on GPU 1"]
    assert not [d for d in found if d.change in (Change.REWIRED, Change.MOVED, Change.ADDED)]


def test_networks_too_different_to_align_go_by_name() -> None:
    count = 1100
    assert count**2 > MAXIMUM_PAIRS
    layer = "[{0}{1}]\ntype=neuron\nneuron=relu\ninputs={2}\n"
    head = "[@net]\ninput=data:3x4x4\noutputs={0}{1}\n[data]\ntype=data\ndataIdx=0\n"

    def chain(name: str) -> Checked:
        layers = (layer.format(name, i, f"{name}{i - 1}" if i else "data") for i in range(count))
        return net(text=head.format(name, count - 1) + "".join(layers))

    assert align(steps_of(chain("x")), steps_of(chain("y"))) == {"data": "data"}


@given(specs(max_layers=5, towers=2))
def test_a_network_equals_itself(text: str) -> None:
    checked = check(text)
    assert compare(checked, checked).differences == ()


@given(specs(max_layers=4), st.integers(0, 50))
def test_the_order_of_sections_says_nothing(text: str, turns: int) -> None:
    head, *sections = re.split(r"(?m)^(?=\[)", text)
    turned = sections[turns % len(sections) :] + sections[: turns % len(sections)]
    assert compare(check(text), check(head + "".join(turned))).differences == ()


@given(specs(max_layers=4), specs(max_layers=4))
def test_there_and_back_are_the_same_differences(one: str, other: str) -> None:
    there, back = compare(check(one), check(other)), compare(check(other), check(one))
    assert bool(there.differences) == bool(back.differences)
    assert (there.a, there.b) == (back.b, back.a)
    settings = [[d for d in c.differences if d.category is Category.SETTINGS] for c in (there, back)]
    assert [(d.before, d.after) for d in settings[0]] == [(d.after, d.before) for d in settings[1]]


def test_sizes_by_axis_and_sources_of_weights_are_written_as_in_a_spec() -> None:
    found = differences(("filterSize=5\n", "filterSize=5x3\npadding=2x1\n"))
    assert [(d.key, d.before, d.after) for d in found if d.category is Category.PARAMETERS] == [
        ("filterSize", "5", "5x3"),
        ("padding", "0", "2x1"),
    ]
