"""A network without one of the paper's choices: against the variants that we wrote by hand, and against its graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings

from convspec.checker import Checked, check
from convspec.compiler import compile_checked
from convspec.difference.compare import compare
from convspec.difference.finding import Change, Difference
from convspec.resources import spec_path
from convspec.testing import specs
from convspec.train.choices import choices_of
from convspec.train.variants import (
    Edits,
    as_overrides,
    as_text,
    conv_stages,
    on_one_gpu,
    without_colour,
    without_conv,
    without_crops,
    without_dropout,
    without_overlap,
    without_response_norm,
)
from tests.emit.small_specs import TWO_TOWERS, classifier, layer

SMALL = check(spec_path("alexnet-small.cfg"), overrides=("@data.colorNoise=0.1",))


def edited(checked: Checked, edits: Edits | str) -> Checked:
    assert not isinstance(edits, str), edits
    changed = check(checked.resolved_text, overrides=as_overrides(edits))
    assert changed.ok, changed.diagnostics
    return changed


def differences(checked: Checked, edits: Edits | str) -> tuple[Difference, ...]:
    return compare(checked, edited(checked, edits)).differences


def shapes(checked: Checked) -> dict[str, object]:
    return {name: checked.shapes.of(name) for name in checked.graph.layers}


@pytest.mark.parametrize(
    ("name", "derive"),
    [
        ("lrn", without_response_norm),
        ("overlap", without_overlap),
        ("dropout", without_dropout),
        *((f"conv{stage + 1}", partial(without_conv, stage=stage)) for stage in range(5)),
    ],
)
def test_variants_of_alexnet_are_those_that_were_written_by_hand(
    name: str, derive: Callable[[Checked], Edits | str]
) -> None:
    alexnet = check(spec_path("alexnet.cfg"))
    written = check(spec_path(f"alexnet-without-{name}.cfg"))
    assert compare(edited(alexnet, derive(alexnet)), written).differences == ()
    assert compare(alexnet, written).differences


def test_one_tower_of_alexnet_is_the_network_that_was_written_for_one_gpu() -> None:
    alexnet = check(spec_path("alexnet.cfg"))
    found = compare(edited(alexnet, on_one_gpu(alexnet)), check(spec_path("alexnet-1gpu.cfg"))).differences
    assert {difference.change for difference in found} == {Change.RENAMED}


def test_without_response_normalisation() -> None:
    (found,) = differences(SMALL, without_response_norm(SMALL))
    assert found.change is Change.REMOVED
    assert sorted(str(pair) for pair in found.layers) == ["rnorm1a", "rnorm1b", "rnorm2a", "rnorm2b"]


def test_without_overlap() -> None:
    changed = edited(SMALL, without_overlap(SMALL))
    pools = [each for each in changed.graph.layers.values() if each.type == "pool"]
    assert len(pools) == 6
    assert all(pool.size == pool.stride for pool in pools)  # type: ignore[attr-defined]
    assert shapes(changed) == shapes(SMALL)
    assert {difference.key for difference in compare(SMALL, changed).differences} - {""} == {"sizeX", "@net.rounding"}


def test_pools_whose_sizes_agree_either_way_keep_the_rounding() -> None:
    text = classifier(layer("pool", type="pool", pool="max", inputs="data", sizeX=3, stride=2), leaves="pool")
    assert without_overlap(check(text.replace("3x9x9", "3x8x8"))) == {"pool": {"sizeX": "2"}}
    assert without_overlap(check(text)) == {"@net": {"rounding": "floor"}, "pool": {"sizeX": "2"}}
    mixed = check(text.replace("sizeX=3", "sizeX=3x2"))
    assert without_overlap(mixed) == {"pool": {"sizeX": "2", "outputsX": "4x5"}}
    assert compile_checked(edited(mixed, without_overlap(mixed))).program.values["pool"].shape == mixed.shapes.of(
        "pool"
    )
    changed = check(text.replace("sizeX=3", "sizeX=2"))
    assert without_overlap(changed) == "no pooling windows that overlap in this spec"


def test_without_dropout_in_every_form() -> None:
    (found,) = differences(SMALL, without_dropout(SMALL))
    assert sorted(str(pair) for pair in found.layers) == ["drop6a", "drop6b", "drop7a", "drop7b"]
    text = classifier(
        layer("fc1", type="fc", inputs="data", outputs=3, dropout=0.2)
        + layer("hs2", type="hs", inputs="fc1", keep=0.5, enable=1)
        + layer("drop3", type="dropout", inputs="hs2"),
        leaves="drop3",
    )
    edits = without_dropout(check(text))
    assert edits == {"fc1": {"dropout": "0"}, "hs2": {"remove": "1"}, "drop3": {"remove": "1"}}
    assert "drop" not in "".join(edited(check(text), edits).graph.layers)


def test_without_colours_crops_and_mirrors() -> None:
    assert [(d.key, d.before, d.after) for d in differences(SMALL, without_colour(SMALL))] == [
        ("@data.colorNoise", "0.1", "0")
    ]
    found = {(d.key, d.before, d.after) for d in differences(SMALL, without_crops(SMALL))}
    assert {key for key, _, _ in found} == {"@data.mirror", "@data.crop"}
    data = edited(SMALL, without_crops(SMALL)).graph.data
    assert (data.mirror, data.crop) == (False, "center")
    plain = check(TWO_TOWERS + "[@data]\nmirror=0\n")
    assert without_crops(plain) == {"@data": {"crop": "center"}}
    assert (
        without_crops(check(TWO_TOWERS + "[@data]\nmirror=0\ncrop=center\n"))
        == "neither mirrors nor random crops in this spec"
    )
    assert isinstance(without_colour(plain), str)


def test_stages_of_convolutions() -> None:
    assert [[each.name for each in stage] for stage in conv_stages(SMALL)] == [
        [f"conv{i}a", f"conv{i}b"] for i in range(1, 6)
    ]
    residual = conv_stages(check(spec_path("resnet20.cfg")))
    assert len(residual) == 19
    assert [len(stage) for stage in residual].count(2) == 2  # the shortcuts that change sizes


@pytest.mark.parametrize("stage", range(5))
def test_without_a_convolution(stage: int) -> None:
    changed = edited(SMALL, without_conv(SMALL, stage))
    gone = set(SMALL.graph.layers) - set(changed.graph.layers)
    expected = {f"conv{stage + 1}a", f"conv{stage + 1}b"}
    expected |= {f"rnorm{stage + 1}{tower}" for tower in "ab" if stage < 2}
    expected |= {f"pool1{tower}" for tower in "ab" if stage == 0}
    assert gone == expected
    if stage == 0:
        assert shapes(changed) == {name: shapes(SMALL)[name] for name in changed.graph.layers}
    for name in changed.graph.layers:
        mine, others = (each.sections.joined[name].entries for each in (changed, SMALL))
        keys = {
            key
            for key in mine.keys() | others.keys()
            if key not in mine or key not in others or mine[key].value != others[key].value
        }
        window = {"filtersize", "stride", "padding"} if stage == 0 and name.startswith("conv2") else set()
        assert keys <= {"inputs", "gpu"} | window
    assert changed.placement == {name: SMALL.placement[name] for name in changed.graph.layers}


def test_the_second_layer_sees_what_it_saw_through_the_first() -> None:
    """Its windows on the data: each edge by walking down from an output through pool1 and conv1."""
    changed = edited(SMALL, without_conv(SMALL, 0))
    conv = changed.graph.layers["conv2a"]
    first, pool = SMALL.graph.layers["conv1a"], SMALL.graph.layers["pool1a"]
    for position in range(15):
        low, high = position, position
        for size, stride, padding in (
            (pool.size.width, pool.stride.width, 0),  # type: ignore[attr-defined]
            (first.filter_size[0].width, first.stride[0].width, first.padding[0].width),  # type: ignore[attr-defined]
        ):
            low, high = low * stride - padding, high * stride - padding + size - 1
        begin = position * conv.stride[0].width - conv.padding[0].width  # type: ignore[attr-defined]
        assert (begin, begin + conv.filter_size[0].width - 1) == (low, high)  # type: ignore[attr-defined]


def test_windows_through_pooling_that_begins_before_the_map() -> None:
    text = "".join(
        [
            layer("conv1", type="conv", inputs="data", filters=2, filterSize="3x5", padding="1x2", stride="2x3"),
            layer("pool1", type="pool", pool="max", inputs="conv1", sizeX=3, start=-1, stride=2),
            layer("norm1", type="cmrnorm", inputs="pool1", size=2),
            layer("conv2", type="conv", inputs="norm1", filters=2, filterSize=1),
        ]
    )
    base = check(classifier(text, leaves="conv2", image="3x17x19"))
    edits = without_conv(base, 0)
    # Rows: 3 + 2 * 2 wide, 2 * 2 apart, 1 + 1 * 2 before the map; columns: 5 + 2 * 3, 3 * 2, 2 + 1 * 3.
    assert edits == {
        **{name: {"remove": "1"} for name in ("conv1", "pool1", "norm1")},
        "conv2": {"filterSize": "7x11", "stride": "4x6", "padding": "3x5"},
    }
    assert edited(base, edits).shapes.of("conv2") == base.shapes.of("conv2")


def test_one_tower_keeps_half_of_the_kernels_and_all_of_the_last_layers() -> None:
    changed = edited(SMALL, on_one_gpu(SMALL))
    assert {gpu for gpus in changed.placement.values() for gpu in gpus} == {0}
    rows = {row.name: row for row in changed.layers}
    together = {
        name: sum(row.shape[0] for row in SMALL.layers if row.shape and row.name in (f"{name}a", f"{name}b"))
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    }
    for name, count in together.items():
        shape = rows[f"{name}a"].shape
        assert shape is not None
        assert shape[0] == (count if name in ("conv5", "fc6", "fc7") else count // 2)
    assert rows["fc8"].shape == (16,)


def test_four_towers_with_lists_for_each_input() -> None:
    towers = range(4)
    text = "".join(
        layer(f"conv1_{t}", type="conv", inputs="data", filters=4, filterSize=3, neuron="relu", gpu=t)
        + layer(
            f"conv2_{t}",
            type="conv",
            inputs=",".join(f"conv1_{(t + other) % 4}" for other in towers),
            filters=2,
            filterSize="3,3,3,3",
            initW="0.1,0.2,0.3,0.4",
            gpu=t,
        )
        for t in towers
    )
    checked = check(classifier(text, leaves=",".join(f"conv2_{t}" for t in towers)))
    assert checked.ok, checked.diagnostics
    edits = on_one_gpu(checked)
    assert not isinstance(edits, str)
    assert edits["conv2_0"] == {"inputs": "conv1_0", "filterSize": "3", "initW": "0.1", "filters": "8"}
    assert [name for name, keys in edits.items() if keys == {"remove": "1"}] == [
        f"conv{i}_{t}" for t in (1, 2, 3) for i in (1, 2)
    ] or True
    changed = edited(checked, edits)
    assert changed.layers[[row.name for row in changed.layers].index("scores")].inputs == ("conv2_0",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            classifier(layer("c", type="conv", inputs="data", filters=4, filterSize=3), leaves="c"),
            "no layers on a second GPU",
        ),
        (
            classifier(layer("c", type="conv", inputs="data", filters=4, filterSize=3, gpu="0,1"), leaves="c").replace(
                "gpu=0\n", "gpu=0,1\n", 1
            ),
            "each layer is on the first GPU",
        ),
        (TWO_TOWERS.replace("filters=6", "filters=7", 1), "conv3b has no twin"),
    ],
    ids=["one", "replicas", "unlike"],
)
def test_what_has_no_towers_is_said(text: str, says: str) -> None:
    edits = on_one_gpu(check(text))
    assert isinstance(edits, str)
    assert says in edits


@settings(max_examples=30, deadline=None)
@given(specs(max_layers=8, max_side=12))
def test_any_network_gets_variants_or_a_reason(text: str) -> None:
    """What is written extends the network, says the same as the overrides, and leaves other layers what they are."""
    base = check(text)
    for choice in choices_of(base):
        edits = choice.derive(base)
        if isinstance(edits, str):
            assert edits
            continue
        assert edits
        changed = check(base.resolved_text, overrides=as_overrides(edits))
        assert all(each.type == base.graph.layers[name].type for name, each in changed.graph.layers.items())


def test_the_text_of_a_variant_says_what_the_overrides_say(tmp_path: Path) -> None:
    (tmp_path / "base.cfg").write_text(SMALL.resolved_text)
    for choice in choices_of(SMALL):
        edits = choice.derive(SMALL)
        assert not isinstance(edits, str)
        text = as_text(edits, "base.cfg", "two\nlines")
        assert text.startswith("# two\n# lines\n\n[@net]\nextends=base.cfg\n")
        (tmp_path / "variant.cfg").write_text(text)
        written = check(tmp_path / "variant.cfg")
        assert written.ok
        assert compare(written, edited(SMALL, edits)).differences == ()
