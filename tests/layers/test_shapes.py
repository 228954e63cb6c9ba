"""Shape rules and costs by tables computed by hand from the formulas in the classes' docstrings."""

from __future__ import annotations

import pytest

from convspec.checker import Checked, check
from convspec.cli.table import neurons

RATES = "[@params]\nepsW=0.01\nepsB=0.01\nmomW=0.9\nmomB=0.9\ninitW=0.01\n"


def net(size: str, section: str, settings: str = "", more: str = "") -> Checked:
    """A network of one layer x over data of a size, with the layers `more` before it."""
    head = f"[@net]\ninput=data:{size}\noutputs=x,data\n{settings}\n[data]\ntype=data\ndataIdx=0\n"
    rates = RATES if section.startswith(("type=conv", "type=local", "type=fc", "type=sfc", "type=batchnorm")) else ""
    return check(f"{head}{rates}{more}\n[x]\n{section}\n")


def shape(checked: Checked) -> tuple[int, ...] | None:
    assert checked.ok, [d.message for d in checked.diagnostics]
    return checked.layers[-1].shape


def codes(checked: Checked) -> list[str]:
    return [d.code for d in checked.diagnostics]


@pytest.mark.parametrize(
    ("side", "filter_size", "stride", "padding", "ceil", "floor"),
    [
        (227, 11, 4, 0, 55, 55),  # (227 - 11) / 4 = 54
        (224, 11, 4, 0, 55, 54),  # (224 - 11) / 4 = 53.25
        (27, 5, 1, 2, 27, 27),
        (13, 3, 1, 1, 13, 13),
        (32, 5, 1, 2, 32, 32),
        (5, 5, 1, 0, 1, 1),
        (5, 5, 7, 0, 1, 1),
        (6, 5, 7, 0, 2, 1),  # (6 - 5) / 7 = 0.14
        (1, 3, 1, 1, 1, 1),
        (10, 1, 3, 0, 4, 4),
        (11, 1, 3, 0, 5, 4),
    ],
)
def test_side_of_a_convolution(side: int, filter_size: int, stride: int, padding: int, ceil: int, floor: int) -> None:
    section = f"type=conv\ninputs=data\nfilters=8\nfilterSize={filter_size}\nstride={stride}\npadding={padding}"
    up, down = net(f"3x{side}x{side}", section), net(f"3x{side}x{side}", section, "rounding=floor")
    assert shape(up) == (8, ceil, ceil)
    assert shape(down) == (8, floor, floor)
    assert codes(up) == codes(down) == ([] if ceil == floor else ["CS409"])


def test_window_of_a_row_is_its_arithmetic() -> None:
    section = "type=conv\ninputs=data\nfilters=8\nfilterSize=11\nstride=4"
    assert net("3x224x224", section).layers[-1].window == "(224 - 11) / 4 + 1 = 54.25, rounded up to 55"
    assert net("3x227x227", section + "\npadding=2").layers[-1].window.startswith("(227 + 2*2 - 11) / 4 + 1 = 56")


@pytest.mark.parametrize(
    ("side", "size", "stride", "more", "ceil", "floor"),
    [
        (55, 3, 2, "", 27, 27),
        (27, 3, 2, "", 13, 13),
        (13, 3, 2, "", 6, 6),
        (32, 3, 2, "", 16, 15),  # (32 - 3) / 2 = 14.5
        (8, 2, 2, "", 4, 4),
        (8, 8, 1, "", 1, 1),
        (8, 3, 2, "start=-1", 4, 4),  # (8 + 1 - 3) / 2 = 3
        (9, 3, 2, "start=-1", 5, 4),  # (9 + 1 - 3) / 2 = 3.5
        (9, 3, 3, "start=-2", 4, 3),  # (9 + 2 - 3) / 3 = 2.67
        (9, 3, 2, "start=2", 3, 3),  # (9 - 2 - 3) / 2 = 2
        (9, 3, 2, "outputsX=2", 2, 2),
        (9, 3, 2, "outputsX=5", 5, 5),  # the last window covers 8 to 10
    ],
)
def test_side_of_pooling(side: int, size: int, stride: int, more: str, ceil: int, floor: int) -> None:
    section = f"type=pool\npool=max\ninputs=data\nsizeX={size}\nstride={stride}\n{more}"
    assert shape(net(f"3x{side}x{side}", section)) == (3, ceil, ceil)
    assert shape(net(f"3x{side}x{side}", section, "rounding=floor")) == (3, floor, floor)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("sizeX=10\nstride=2", "CS403"),
        ("sizeX=3\nstride=4", "CS205"),
        ("sizeX=3\nstride=2\nstart=-3", "CS407"),
        ("sizeX=3\nstride=2\nstart=9", "CS407"),
        ("sizeX=3\nstride=2\noutputsX=6", "CS407"),
    ],
)
def test_windows_that_cannot_be(more: str, code: str) -> None:
    assert codes(net("3x9x9", f"type=pool\npool=avg\ninputs=data\n{more}")) == [code]


def test_a_window_over_the_edge_is_there_only_when_counting_up() -> None:
    # (9 - 7 - 3) / 2 = -0.5: one window from pixel 7 on, or none.
    section = "type=pool\npool=max\ninputs=data\nsizeX=3\nstride=2\nstart=7"
    assert shape(net("3x9x9", section)) == (3, 1, 1)
    assert codes(net("3x9x9", section, "rounding=floor")) == ["CS403"]


def test_maps_need_not_be_square() -> None:
    assert shape(net("3x32x48", "type=conv\ninputs=data\nfilters=4\nfilterSize=5\nstride=2\npadding=1")) == (4, 16, 24)
    assert shape(net("3x9x13", "type=pool\npool=max\ninputs=data\nsizeX=3\nstride=2")) == (3, 4, 6)


@pytest.mark.parametrize(("groups", "filters", "maps", "weights"), [(1, 8, 8, 864), (2, 8, 16, 864), (6, 2, 12, 216)])
def test_groups(groups: int, filters: int, maps: int, weights: int) -> None:
    checked = net("12x8x8", f"type=conv\ninputs=data\nfilters={filters}\nfilterSize=3\npadding=1\ngroups={groups}")
    assert shape(checked) == (maps, 8, 8)
    row = checked.layers[-1]
    # Each of maps kernels reads 12 / groups channels of 3x3 pixels.
    assert (row.weights, row.biases, row.macs) == (weights, maps, weights * 64)


LAYERS_OF_FILTERS = [
    # (12 - 4) / 2 + 1 = 5 rows, (9 - 3) / 3 + 1 = 3 columns
    ("filterSize=4x3\nstride=2x3", (5, 3), 12),
    # (12 + 2 - 3) / 1 + 1 = 12 rows, (9 - 1) / 1 + 1 = 9 columns
    ("filterSize=3x1\npadding=1x0", (12, 9), 3),
    # (12 - 5) / 3 + 1 = 3.33, rounded up to 4; (9 - 5) / 3 + 1 = 2.33, rounded up to 3
    ("filterSize=5\nstride=3", (4, 3), 25),
    ("filterSize=5\nstride=3\nmodulesX=4", (4, 4), 25),
    ("filterSize=5\nstride=3\nmodulesX=9x0", (9, 3), 25),
    ("filterSize=5\nstride=3\nmodulesX=0x7", (4, 7), 25),
]


@pytest.mark.parametrize(("keys", "windows", "pixels"), LAYERS_OF_FILTERS)
def test_windows_by_axis_and_what_they_cost(keys: str, windows: tuple[int, int], pixels: int) -> None:
    """Over 6 channels in 2 groups: 8 filters that each see 3 of them."""
    section = f"inputs=data\nfilters=4\ngroups=2\n{keys}"
    conv, local = net("6x12x9", f"type=conv\n{section}"), net("6x12x9", f"type=local\n{section}")
    unshared = net("6x12x9", f"type=conv\n{section}\nsharedBiases=0")
    count = windows[0] * windows[1]
    assert shape(conv) == shape(local) == shape(unshared) == (8, *windows)
    weights = 8 * 3 * pixels
    rows = [checked.layers[-1] for checked in (conv, local, unshared)]
    assert [row.weights for row in rows] == [weights, weights * count, weights]
    assert [row.biases for row in rows] == [8, 8 * count, 8 * count]
    assert [row.macs for row in rows] == [weights * count] * 3


def test_windows_by_axis_are_shown_where_they_do_not_divide() -> None:
    rows = net("6x12x9", "type=conv\ninputs=data\nfilters=4\nfilterSize=4x3\nstride=3x3")
    assert rows.layers[-1].window == "(12 - 4) / 3 + 1 = 3.66667, rounded up to 4 by (9 - 3) / 3 + 1 = 3"
    alike = net("6x11x9", "type=conv\ninputs=data\nfilters=4\nfilterSize=3\nstride=3")
    assert alike.layers[-1].window == "(11 - 3) / 3 + 1 = 3.66667, rounded up to 4"
    assert (
        net("6x12x9", "type=conv\ninputs=data\nfilters=4\nfilterSize=5\nmodulesX=9x6").layers[-1].window
        == "modulesX = 9x6"
    )


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ("filterSize=13x3", "CS403"),
        ("filterSize=3x10", "CS403"),
        ("filterSize=14x3\npadding=1x0", None),
        ("filterSize=3\nmodulesX=9", "CS412"),
        ("filterSize=3\nmodulesX=10x6", "CS412"),
        ("filterSize=3\nmodulesX=10x7", None),
        # without the zeros behind the map 12 + 2 - 3 + 1 = 12 windows, and 9 + 2 - 3 + 1 = 9
        ("filterSize=3\npadding=2\nmodulesX=12x9", None),
        ("filterSize=3\npadding=2\nmodulesX=11x9", "CS412"),
        ("filterSize=3\npadding=2\nmodulesX=12x8", "CS412"),
        ("filterSize=3x0", "CS205"),
        ("filterSize=3\nmodulesX=-1", "CS205"),
        ("filterSize=3x3x3", "CS204"),
    ],
)
def test_windows_by_axis_that_cannot_be(keys: str, code: str | None) -> None:
    for kind in ("conv", "local"):
        assert codes(net("6x12x9", f"type={kind}\ninputs=data\nfilters=4\n{keys}")) == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("sizeX=3x2\nstride=2x1", (6, 8)),  # (12 - 3) / 2 + 1 = 5.5, rounded up; (9 - 2) / 1 + 1 = 8
        ("sizeX=3x2\nstride=2x1\nstart=-1x0", (6, 8)),  # (12 + 1 - 3) / 2 + 1 = 6
        ("sizeX=1x4\nstride=1x4\nstart=0x-3", (12, 3)),  # (9 + 3 - 4) / 4 + 1 = 3
        ("sizeX=3\nstride=3x1\noutputsX=2x0", (2, 7)),
    ],
)
def test_pooling_by_axis(keys: str, expected: tuple[int, int]) -> None:
    assert shape(net("6x12x9", f"type=pool\npool=max\ninputs=data\n{keys}")) == (6, *expected)


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ("sizeX=3x2\nstride=2x3", "CS205"),
        ("sizeX=3x2\nstride=1\nstart=0x-2", "CS407"),
        ("sizeX=3x2\nstride=1\nstart=0x9", "CS407"),
        ("sizeX=13x2\nstride=1", "CS403"),
        ("sizeX=3x2\nstride=1\noutputsX=5x10", "CS407"),
    ],
)
def test_pooling_by_axis_that_cannot_be(keys: str, code: str) -> None:
    assert codes(net("6x12x9", f"type=pool\npool=avg\ninputs=data\n{keys}")) == [code]


def test_parts_of_a_split_layer() -> None:
    checked = net("6x4x4", "type=sfc\ninputs=data,half\noutputs=5\nparts=3", more=TWO)
    row = checked.layers[-1]
    # Each of 3 x 5 outputs reads a third of 96 and of 24 features.
    assert (shape(checked), row.weights, row.biases, row.macs) == ((15,), 15 * (32 + 8), 15, 15 * (32 + 8))
    assert codes(net("6x4x4", "type=sfc\ninputs=data\noutputs=5\nparts=5")) == ["CS405"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("groups=4", (8, 3)),
        ("groups=4\nfilterChannels=6", (8, 6)),
        ("groups=4\nfilterChannels=3", (8, 3)),
        ("groups=6\nfilterChannels=4", (12, 4)),
        ("groups=5\nfilterChannels=12", (10, 12)),
        ("groups=1", "CS413"),
        ("groups=4\nfilterChannels=5", "CS413"),
        ("groups=5\nfilterChannels=6", "CS413"),
        ("groups=4\nfilterChannels=2", "CS413"),
        ("groups=5", "CS405"),
    ],
)
def test_channels_of_a_sparse_filter(keys: str, expected: tuple[int, int] | str) -> None:
    """12 channels dealt out at random, each equally often."""
    checked = net("12x4x4", f"type=conv\ninputs=data\nfilters=2\nfilterSize=3\nrandSparse=1\n{keys}")
    if isinstance(expected, str):
        assert codes(checked) == [expected]
        return
    maps, seen = expected
    assert shape(checked) == (maps, 2, 2)
    assert checked.layers[-1].weights == maps * seen * 9


def test_original_programs_have_square_windows() -> None:
    """A pair of sides is of our own language."""
    section = "type=conv\ninputs=data\nchannels=3\nsumWidth=1\nfilters=4\nfilterSize=3x5\ngpu=0"
    assert "CS204" in codes(net("3x9x9", section, "dialect=ccn2"))
    assert "CS204" not in codes(net("3x9x9", section.replace("3x5", "3"), "dialect=ccn2"))


def test_flat_input_is_read_as_square_maps() -> None:
    assert shape(net("3072", "type=pool\npool=max\ninputs=data\nchannels=3\nsizeX=2\nstride=2")) == (3, 16, 16)
    assert shape(net("3072", "type=conv\ninputs=data\nchannels=12\nfilters=4\nfilterSize=3")) == (4, 14, 14)
    assert codes(net("3072", "type=conv\ninputs=data\nchannels=4\nfilters=4\nfilterSize=3")) == ["CS404"]
    assert codes(net("3072", "type=conv\ninputs=data\nfilters=4\nfilterSize=3")) == ["CS404"]


TWO = "[half]\ntype=pool\npool=max\ninputs=data\nsizeX=2\nstride=2\n"


def test_lists_have_an_entry_for_each_input() -> None:
    # (16 + 2 - 4) / 2 + 1 = 8 and (8 + 2 - 3) / 1 + 1 = 8.
    section = "type=conv\ninputs=data,half\nfilters=4\nfilterSize=4,3\npadding=1\nstride=2,1"
    checked = net("3x16x16", section, more=TWO)
    assert shape(checked) == (4, 8, 8)
    assert checked.layers[-1].weights == 4 * 3 * 16 + 4 * 3 * 9
    assert checked.layers[-1].biases == 4
    assert codes(net("3x16x16", section.replace("2,1", "2"), more=TWO)) == ["CS406"]
    assert codes(net("3x16x16", section.replace("2,1", "2,1,1"), more=TWO)) == ["CS206"]


def test_filters_times_groups_must_agree() -> None:
    section = "type=conv\ninputs=data,data\nfilters=6,{}\nfilterSize=3\ngroups=1,3"
    assert shape(net("3x9x9", section.format(2))) == (6, 7, 7)
    assert codes(net("3x9x9", section.format(3))) == ["CS306", "CS405"]


def test_fc_reads_every_feature_of_every_input() -> None:
    checked = net("3x16x16", "type=fc\ninputs=data,half\noutputs=10", more=TWO)
    assert shape(checked) == (10,)
    assert (checked.layers[-1].weights, checked.layers[-1].biases) == (10 * (768 + 192), 10)


@pytest.mark.parametrize(
    ("size", "section", "expected"),
    [
        ("3x8x8", "type=neuron\ninputs=data\nneuron=relu", (3, 8, 8)),
        ("3x8x8", "type=dropout\ninputs=data", (3, 8, 8)),
        ("3x8x8", "type=dropout2\ninputs=data\nkeep=0", (3, 8, 8)),
        ("3x8x8", "type=hs\ninputs=data\nkeep=0.5\nenable=1", (3, 8, 8)),
        ("6x8x8", "type=cmrnorm\ninputs=data\nsize=5\nscale=0.0005\npow=0.75", (6, 8, 8)),
        ("3x8x8", "type=softmax\ninputs=data", (192,)),
        ("10", "type=softmax\ninputs=data", (10,)),
        ("3x16x16", "type=concat\ninputs=data,half", (960,)),
        ("3x16x16", "type=concat\ninputs=half,half", (6, 8, 8)),
    ],
)
def test_layers_without_windows(size: str, section: str, expected: tuple[int, ...]) -> None:
    assert shape(net(size, section, more=TWO if "half" in section else "")) == expected


@pytest.mark.parametrize(
    ("size", "section", "expected", "weights"),
    [
        ("3x8x6", "type=globalpool\ninputs=data", (3, 1, 1), 0),
        ("48", "type=globalpool\ninputs=data\npool=max\nchannels=12", (12, 1, 1), 0),
        ("3x8x6", "type=batchnorm\ninputs=data", (3, 8, 6), 3),
        ("48", "type=batchnorm\ninputs=data", (48,), 48),
        ("48", "type=batchnorm\ninputs=data\nchannels=12", (12, 2, 2), 12),
    ],
)
def test_layers_of_today(size: str, section: str, expected: tuple[int, ...], weights: int) -> None:
    checked = net(size, section)
    assert shape(checked) == expected
    row = checked.layers[-1]
    assert (row.weights, row.biases) == (weights, weights)


@pytest.mark.parametrize(
    ("size", "section", "code"),
    [
        ("48", "type=globalpool\ninputs=data", "CS404"),
        ("48", "type=globalpool\ninputs=data\nchannels=5", "CS404"),
        ("3x4x4", "type=batchnorm\ninputs=data\nchannels=5", "CS402"),
        ("3x4x4", "type=batchnorm\ninputs=half,data", "CS303"),
        ("3x4x4", "type=batchnorm\ninputs=data\neps=0", "CS205"),
        ("3x4x4", "type=batchnorm\ninputs=data\nmomentum=1.5", "CS205"),
        ("3x4x4", "type=globalpool\ninputs=data\npool=mean", "CS212"),
    ],
)
def test_layers_of_today_refuse(size: str, section: str, code: str) -> None:
    more = TWO if "half" in section else ""
    assert [found for found in codes(net(size, section, more=more)) if found != "CS207"] == [code]


def test_neurons_of_a_normalised_layer_count_once() -> None:
    more = "[c]\ntype=conv\ninputs=data\nfilters=4\nfilterSize=3\n"
    assert neurons(net("3x8x8", "type=batchnorm\ninputs=c", more=more)) == [4 * 36]


@pytest.mark.parametrize(
    ("size", "section", "expected"),
    [
        ("3x9x8", "type=nailbed\ninputs=data\nstride=2", (3, 5, 4)),
        ("3x9x8", "type=nailbed\ninputs=data\nstride=20", (3, 1, 1)),
        ("27", "type=nailbed\ninputs=data\nstride=2\nchannels=3", (3, 2, 2)),
        ("3x9x8", "type=blur\ninputs=data\nfilterSize=3\nstdev=2", (3, 9, 8)),
        ("5x9x8", "type=href\ninputs=data", (5, 9, 8)),
        ("3x9x8", "type=resize\ninputs=data\nscale=1.3", (3, 6, 6)),  # 9 / 1.3 = 6.9 and 8 / 1.3 = 6.2
        ("3x9x8", "type=resize\ninputs=data\nscale=0.5", (3, 18, 16)),
        ("3x32x32", "type=rscale\ninputs=data\nmaxScale=1.25", (3, 25, 25)),  # 25.6
        ("3x32x32", "type=rscale\ninputs=data\nmaxScale=1.25\ntgtSize=28", (3, 28, 28)),
        ("3x32x32", "type=crop\ninputs=data\nstartX=4\nsizeX=28", (3, 28, 28)),
        ("3x32x16", "type=crop\ninputs=data\nstartX=0\nstartY=16\nsizeX=16", (3, 16, 16)),
        ("3072", "type=rgb2yuv\ninputs=data", (3, 32, 32)),
        ("3x8x4", "type=rgb2lab\ninputs=data\ncenter=1", (3, 8, 4)),
        ("3x5x4", "type=cnorm\ninputs=data\nsize=5\nscale=1\npow=1", (3, 5, 4)),
        ("3x16x16", "type=pass\ninputs=half,half", (6, 8, 8)),
        ("3x16x16", "type=eltsum\ninputs=half,half\ncoeffs=1,2", (3, 8, 8)),
        ("3x16x16", "type=eltsum\ninputs=half,flat", (192,)),
        ("3x16x16", "type=eltmax\ninputs=half,half", (3, 8, 8)),
        ("3x16x16", "type=sum\ninputs=half\nstride=8", (24,)),
        ("3x16x16", "type=sum\ninputs=half", (192,)),
    ],
)
def test_layers_that_learn_nothing(size: str, section: str, expected: tuple[int, ...]) -> None:
    more = TWO if "half" in section else ""
    more += "[flat]\ntype=softmax\ninputs=half\n" if "flat" in section else ""
    assert shape(net(size, section, more=more)) == expected


@pytest.mark.parametrize(
    ("size", "section", "code"),
    [
        ("3x9x9", "type=nailbed\ninputs=data\nstride=0", "CS205"),
        ("48", "type=nailbed\ninputs=data\nstride=2", "CS404"),
        ("3x9x9", "type=blur\ninputs=data\nfilterSize=4\nstdev=2", "CS205"),
        ("3x9x9", "type=blur\ninputs=data\nfilterSize=3\nstdev=0", "CS205"),
        ("3x4x9", "type=blur\ninputs=data\nfilterSize=5\nstdev=2", "CS403"),
        ("3x2x2", "type=blur\ninputs=data\nfilterSize=3\nstdev=2", "CS403"),
        ("3x9x9", "type=resize\ninputs=data\nscale=3", "CS205"),
        ("3x9x9", "type=resize\ninputs=data\nscale=0.4", "CS205"),
        ("3x1x9", "type=resize\ninputs=data\nscale=1.5", "CS403"),
        ("3x32x32", "type=rscale\ninputs=data\nmaxScale=1.25\ntgtSize=20", "CS205"),
        ("3x32x32", "type=rscale\ninputs=data\nmaxScale=1.25\ntgtSize=33", "CS205"),
        ("3x32x32", "type=rscale\ninputs=data\nmaxScale=2.5", "CS205"),
        ("3x32x30", "type=rscale\ninputs=data\nmaxScale=1.25", "CS404"),
        ("3x32x32", "type=crop\ninputs=data\nstartX=8\nsizeX=28", "CS403"),
        ("3x32x32", "type=crop\ninputs=data\nstartX=4\nstartY=5\nsizeX=28", "CS403"),
        ("3x32x32", "type=crop\ninputs=data\nstartX=0\nsizeX=40", "CS403"),
        ("4x8x8", "type=rgb2yuv\ninputs=data", "CS402"),
        ("100", "type=rgb2lab\ninputs=data", "CS404"),
        ("3x32x32", "type=cnorm\ninputs=data\nsize=33\nscale=1\npow=1", "CS403"),
        ("3x32x32", "type=rnorm\ninputs=data\nsize=33\nscale=1\npow=1", "CS403"),
        ("3x16x16", "type=eltsum\ninputs=half,data", "CS406"),
        ("3x16x16", "type=eltsum\ninputs=half,data\ncoeffs=1,2,3", "CS206"),
        ("3x16x16", "type=eltmax\ninputs=half", "CS303"),
        ("3x16x16", "type=sum\ninputs=half\nstride=5", "CS405"),
    ],
)
def test_layers_that_learn_nothing_refuse(size: str, section: str, code: str) -> None:
    assert codes(net(size, section, more=TWO if "half" in section else "")) == [code]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("size=4\nstride=4", (3, 4, 4)),  # (12 - 4) / 4 + 1
        ("size=5\nstride=4", (3, 4, 4)),  # (12 - 5) / 4 + 1 = 2.75, rounded up
        ("size=4\nstride=4\nstart=-2", (4, 4, 4)),  # (12 + 2 - 4) / 4 + 1 = 3.5, rounded up
        ("size=4\nstride=4\noutputs=3", (3, 4, 4)),
        ("size=4\nstride=3\noutputs=4", (4, 4, 4)),  # the last window covers maps 9 to 12
        ("size=4\nstride=4\noutputs=2", "CS412"),
        ("size=4\nstride=4\noutputs=4", "CS407"),
        ("size=4\nstride=5", "CS205"),
        ("size=4\nstride=4\nstart=1", "CS205"),
        ("size=4\nstride=4\nstart=-4", "CS407"),
        ("size=13\nstride=4", "CS408"),
        ("size=4\nstride=4\npool=avg", "CS212"),
    ],
)
def test_windows_of_maps(keys: str, expected: tuple[int, ...] | str) -> None:
    checked = net("12x4x4", f"type=cmpool\ninputs=data\n{keys}")
    if isinstance(expected, str):
        assert codes(checked) == [expected]
    else:
        assert shape(checked) == expected


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("pool=avg\nsum=1", []),
        ("pool=max\nsum=1", ["CS207"]),
        ("pool=rand\ndoMax=1", []),
        ("pool=rand", []),
        ("pool=avg\ndoMax=0", ["CS207"]),
        ("pool=maxabs", []),
    ],
)
def test_keys_of_one_kind_of_pooling(keys: str, found: list[str]) -> None:
    assert codes(net("3x9x9", f"type=pool\ninputs=data\nsizeX=3\nstride=2\n{keys}")) == found


@pytest.mark.parametrize(
    ("size", "rows", "expected"),
    [
        ("4096", "start=0\nend=3072", (3072,)),
        ("3x4x4", "start=16", (2, 4, 4)),
        ("3x4x4", "end=17", (17,)),
        ("3x4x4", "start=48", None),
        ("3x4x4", "end=49", None),
        ("3x4x4", "start=9\nend=9", None),
    ],
)
def test_rows_of_data(size: str, rows: str, expected: tuple[int, ...] | None) -> None:
    checked = check(f"[@net]\ninput=data:{size}\noutputs=data\n[data]\ntype=data\ndataIdx=0\n{rows}\n")
    assert codes(checked) == ([] if expected else ["CS205"])
    assert checked.layers[0].shape == expected


LABELS = "[labels]\ntype=data\ndataIdx=1\n[probs]\ntype=softmax\ninputs=data\n"


@pytest.mark.parametrize(
    ("more", "settings", "expected"),
    [
        ("", "", []),
        ("topk=5", "", []),
        ("topk=10", "classes=10", []),
        ("topk=11", "", ["CS410"]),
        ("", "classes=11", ["CS402"]),
    ],
)
def test_logistic_regression(more: str, settings: str, expected: list[str]) -> None:
    section = f"type=cost.logreg\ninputs=labels,probs\ncoeff=1\n{more}"
    checked = net("10", section, settings, LABELS)
    assert codes(checked) == expected
    assert checked.layers[-1].shape == (None if expected else (1,))


def test_one_hot_labels_are_as_wide_as_there_are_classes() -> None:
    text = "[@net]\noutputs=x\n{}\n[x]\ntype=data\ndataIdx=2\n"
    assert check(text.format("classes=7")).layers[0].shape == (7,)
    assert codes(check(text.format(""))) == ["CS401"]


def test_unknown_size_causes_no_further_error() -> None:
    more = "[half]\ntype=pool\npool=max\ninputs=data\nsizeX=99\nstride=2\n"
    checked = net("3x16x16", "type=conv\ninputs=half\nfilters=4\nfilterSize=99\nchannels=7", more=more)
    assert codes(checked) == ["CS403"]
    assert [row.shape for row in checked.layers] == [(3, 16, 16), None, None]


@pytest.mark.parametrize(
    ("text", "code", "help"),
    [
        ("[@net]\ninput=data:3x8x8\n[n]\ntype=neuron\ninputs=n\nneuron=relu\n", "CS301", "add a layer with type=data"),
        ("[@net]\noutputs=l\n[l]\ntype=data\ndataIdx=2\n", "CS401", "add classes= to [@net]: l has a number for each"),
        ("[@net]\noutputs=l\n[l]\ntype=data\ndataIdx=0\n", "CS401", "add a section [@net] with input=l:3x224x224"),
    ],
)
def test_what_helps_where_a_size_is_missing(text: str, code: str, help: str) -> None:
    found = {d.code: d.help for d in check(text).diagnostics}
    assert (found[code] or "").startswith(help)
