"""`check --portable`: limits of the old kernels are warnings there, and nothing at all without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from convspec.checker import check
from convspec.cli import main
from convspec.diagnostics import Severity
from convspec.resources import spec_path

RATES = "epsW=0.01\nepsB=0.01\nmomW=0.9\nmomB=0.9\nwc=0\ninitW=0.01\n"
KEYS = {"channels": 3, "filters": 32, "filterSize": 5, "partialSum": 0, "sumWidth": 1, "gpu": 0}


def conv(name: str, inputs: str, **keys: object) -> str:
    lines = "".join(f"{key}={value}\n" for key, value in {**KEYS, **keys}.items())
    return f"[{name}]\ntype=conv\ninputs={inputs}\n{lines}{RATES}"


def limits(layers: str, *, dialect: str = "ccn2", size: str = "3x20x20", net: str = "") -> list[str]:
    """What CS510 says, without the program and the layer."""
    name = layers.rpartition("\n[")[2].partition("]")[0].removeprefix("[")
    head = f"[@net]\ndialect={dialect}\ninput=data:{size}\noutputs={name}\n{net}[data]\ntype=data\ndataIdx=0\n"
    quiet, loud = check(head + layers), check(head + layers, portable=True)
    assert quiet.ok, [d.message for d in quiet.diagnostics]
    assert "CS510" not in {d.code for d in quiet.diagnostics}
    found = [d for d in loud.diagnostics if d.code == "CS510"]
    assert {d.severity for d in found} <= {Severity.WARNING}
    assert set(quiet.diagnostics) == set(loud.diagnostics) - set(found)
    return [d.message.partition("could not run this: ")[2].partition(": ")[2] for d in found]


FILTERS = "it has {} filters"


@pytest.mark.parametrize(
    ("layers", "size", "expected"),
    [
        (conv("x", "data"), "3x20x20", []),
        (conv("x", "data", filters=15), "3x20x20", [FILTERS.format(15)]),
        (conv("x", "data", filters=24), "3x20x20", [FILTERS.format(24)]),
        (conv("x", "data", channels=5), "5x20x20", ["it reads 5 channels"]),
        (conv("x", "data", channels=6), "6x20x20", ["it reads 6 channels"]),
        (conv("x", "data", channels=12, groups=2), "12x20x20", ["it reads 12 channels in 2 groups"]),
        (conv("x", "data", channels=8), "8x20x20", ["its weights see 8 channels"]),
        (conv("x", "data", channels=16), "16x20x20", []),
        (conv("x", "data", channels=32, groups=2), "32x20x20", []),
        (conv("x", "data", channels=32, groups=4), "32x20x20", ["its weights see 8 channels a group"]),
        (conv("x", "data", channels=2, groups=2), "2x20x20", ["it reads 2 channels in 2 groups"]),
        (conv("x", "data", stride=6), "3x20x20", ["its stride of 6 leaves out pixels"]),
        (conv("x", "data", stride=5), "3x20x20", []),
        (conv("x", "data", partialSum=7), "3x20x20", []),
        (conv("x", "data", neuron="nrelu"), "3x20x20", ["its parser knows nrelu and its kernels do not"]),
        ("[x]\ntype=pool\ninputs=data\npool=max\nchannels=3\nsizeX=2\nstride=2\ngpu=0\n", "3x20x20", []),
        (
            "[x]\ntype=cmrnorm\ninputs=data\nchannels=8\nsize=5\nscale=1\npow=1\ngpu=0\n",
            "8x4x4",
            ["it normalises 8 maps"],
        ),
    ],
)
def test_limits_of_cuda_convnet2(layers: str, size: str, expected: list[str]) -> None:
    assert limits(layers, size=size) == expected


NORM = "[x]\ntype={}\ninputs=data\nchannels={}\nsize=3\nscale=1\npow=1\ngpu=0\n"
IMAGE = "[x]\ntype={}\ninputs=data\nchannels={}\ngpu=0\n{}"


@pytest.mark.parametrize("dialect", ["ccn1", "ccn1_dnouri", "alexnet2012", "ccn2"])
def test_limits_of_layers_without_weights(dialect: str) -> None:
    for kind in ("rnorm", "cnorm"):
        for channels, expected in ((3, []), (8, []), (5, ["it normalises 5 maps"]), (6, ["it normalises 6 maps"])):
            found = limits(NORM.format(kind, channels), dialect=dialect, size=f"{channels}x4x4")
            assert found == expected, (kind, channels)
    assert limits(IMAGE.format("nailbed", 3, "stride=1\n"), dialect=dialect) == ["it takes every pixel"]
    assert limits(IMAGE.format("nailbed", 3, "stride=2\n"), dialect=dialect) == []
    if not dialect.startswith("ccn1"):
        assert limits(IMAGE.format("href", 4, ""), dialect=dialect, size="4x4x4") == ["it mirrors 4 maps"]
        assert limits(IMAGE.format("href", 3, ""), dialect=dialect) == []


@pytest.mark.parametrize(
    ("channels", "seen", "expected"),
    [
        (16, 8, []),
        (12, 4, []),  # 12 is no multiple of 4 times 6 groups, which is asked of groups that draw nothing
        (12, 2, ["its groups draw 2 channels each"]),
        (12, 6, ["its groups draw 6 channels each"]),
    ],
)
def test_drawn_channels_are_counted_by_four(channels: int, seen: int, expected: list[str]) -> None:
    keys = {"channels": channels, "groups": 6 if channels == 12 else 4, "filters": 16, "randSparse": 1}
    layers = conv("x", "data", **keys, filterChannels=seen)
    assert limits(layers, dialect="alexnet2012", size=f"{channels}x20x20") == expected


def test_maps_above_weights_are_pooled_by_sixteen() -> None:
    pool = "[p]\ntype=pool\ninputs=data,\nchannels={}\npool=max\nsizeX=2\nstride=2\ngpu=0\n".replace("data,", "x")
    assert limits(conv("x", "data", filters=8) + pool.format(8)) == [
        FILTERS.format(8),
        "it pools 8 maps above weights that learn",
    ]
    assert limits(conv("x", "data") + pool.format(32)) == []


@pytest.mark.parametrize(("dialect", "count"), [("ccn1", 1), ("ccn1_dnouri", 1), ("alexnet2012", 1), ("ccn2", 0)])
def test_partial_sums_were_a_matter_of_the_older_programs(dialect: str, count: int) -> None:
    assert len(limits(conv("x", "data", partialSum=7), dialect=dialect)) == count
    assert limits(conv("x", "data", partialSum=64), dialect=dialect) == []


def test_only_cuda_convnet2_counts_channels_of_weights_by_sixteen() -> None:
    assert limits(conv("x", "data", channels=8), dialect="alexnet2012", size="8x20x20") == []


def test_our_own_dialect_is_held_against_the_last_program() -> None:
    assert limits("[x]\ntype=hs\ninputs=data\nkeep=0.5\nenable=1\n", dialect="convspec") == ["it has no layer type hs"]
    assert limits(conv("x", "data"), dialect="convspec", size="3x20x24") == ["its maps are 20x24"]
    assert limits(conv("x", "data"), dialect="convspec", net="rounding=floor\n") == [""]


def test_the_network_of_the_paper_would_have_run() -> None:
    assert [d.code for d in check(spec_path("alexnet.cfg"), portable=True).diagnostics] == []


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.cfg"
    path.write_text(
        "[@net]\ninput=data:3x20x20\noutputs=x\n[data]\ntype=data\ndataIdx=0\n" + conv("x", "data", filters=15)
    )
    assert main(["check", str(path)]) == 0
    assert "CS510" not in capsys.readouterr().out
    assert main(["check", str(path), "--portable"]) == 0
    assert "warning[CS510]: cuda-convnet2 could not run this: x: it has 15 filters" in capsys.readouterr().out
    assert main(["check", str(path), "--portable", "--strict"]) == 1


def test_windows_that_differ_by_axis() -> None:
    """Only our own dialect can write them; it is held against cuda-convnet2."""
    layers = conv("x", "data", filterSize="3x5", padding="1x2", stride=1)
    assert limits(layers, dialect="convspec") == ["its filterSize is 3x5", "its padding is 1x2"]
    pool = "[x]\ntype=pool\ninputs=data\npool=max\nsizeX=3x2\nstride=2\nstart=0x-1\n"
    assert [fact for fact in limits(pool, dialect="convspec") if "its maps" not in fact] == [
        "its sizeX is 3x2",
        "its start is 0x-1",
    ]
