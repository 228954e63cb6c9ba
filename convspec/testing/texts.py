"""A whole spec: its head, as many stages as are drawn, and costs over what is left unread."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from convspec.testing.costs import add_classifier, add_second_cost
from convspec.testing.filters import add_filters
from convspec.testing.maps import (
    add_channel_pool,
    add_globalpool,
    add_image_layer,
    add_norm,
    add_pool,
    blurrable,
    normalizable,
)
from convspec.testing.net import Limits, Net
from convspec.testing.own import add_own
from convspec.testing.values import add_combination, add_concat, add_elementwise, add_sum, unpassed
from convspec.testing.weights import add_batchnorm, add_fc, add_sfc, add_treefc

# Those that real networks are made of.
_FREQUENT = ("conv", "fc", "pool")


@st.composite
def texts(draw: DrawFn, limits: Limits) -> str:
    net = Net(draw, limits)
    net.rounds_up = draw(st.sampled_from([True, True, False]))
    height, width = _draw_sides(draw, limits)
    channels = draw(st.integers(1, min(3, limits.channels)))
    classes = net.classes = draw(st.integers(2, 6))
    rounding = "ceil" if net.rounds_up else "floor"
    net.write("@net", {"input": f"data:{channels}x{height}x{width}", "classes": str(classes), "rounding": rounding})
    net.write(
        "@params",
        {"initW": "0.1", "epsW": "0.01", "epsB": "0.02", "momW": "0.9", "momB": "0.9", "wc": "0.0005"},
    )
    data = net.add("data", (channels, height, width), (), {"type": "data", "dataIdx": "0"})
    net.write("labels", {"type": "data", "dataIdx": "1"})
    net.stages.append((data,) * limits.towers)
    own = tuple(limits.own_types)
    count = draw(st.integers(min(len(own), 1), max(limits.layers, min(len(own), 1))))
    # One at least is tried where there are any.
    place = draw(st.integers(1, count)) if own else 0
    for index in range(1, count + 1):
        _add_stage(net, index, own if index == place else (*own, *limits.types))
    if limits.costs and draw(st.sampled_from([False, False, False, True])):
        add_second_cost(net, classes)
    leaves = list(net.unread.values()) or [net.stages[0][0]]
    add_classifier(net, draw(st.permutations(leaves)), classes, "", draw(st.sampled_from(["1", "0.5"])))
    return "\n".join(net.sections)


def _draw_sides(draw: DrawFn, limits: Limits) -> tuple[int, int]:
    height = draw(st.integers(1, limits.side))
    return height, height if limits.is_square else draw(st.integers(1, limits.side))


def _add_stage(net: Net, index: int, types: Sequence[str]) -> None:  # noqa: C901 - a case a type
    """One layer in each tower, or in the first tower alone."""
    kinds = [kind for kind in types if _has_place(net, kind)]
    kinds += 2 * [kind for kind in kinds if kind in _FREQUENT or kind in net.limits.own_types]
    if not kinds:
        return
    kind = net.draw(st.sampled_from(kinds))
    match kind:
        case own if own in net.limits.own_types:
            add_own(net, index, own)
        case "conv" | "local":
            add_filters(net, index, kind)
        case "fc":
            add_fc(net, index)
        case "sfc":
            add_sfc(net, index)
        case "treefc":
            add_treefc(net, index)
        case "pool":
            add_pool(net, index)
        case "cmrnorm" | "rnorm" | "cnorm":
            add_norm(net, index, kind)
        case "batchnorm":
            add_batchnorm(net, index)
        case "cmpool":
            add_channel_pool(net, index)
        case "globalpool":
            add_globalpool(net, index)
        case "concat" | "pass":
            add_concat(net, index, kind)
        case "eltsum" | "eltmax":
            add_combination(net, index, kind)
        case "sum":
            add_sum(net, index)
        case "nailbed" | "blur" | "href":
            add_image_layer(net, index, kind)
        case _:
            add_elementwise(net, index, kind)


def _has_place(net: Net, kind: str) -> bool:
    """Whether a layer of this type can stand somewhere."""
    match kind:
        case "cmrnorm":
            return bool(normalizable(net))
        case "pass":
            return bool(unpassed(net))
        case "blur":
            return bool(blurrable(net))
        case _:
            return True
