"""The networks and the numbers on the page of layers with weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import convspec
from convspec.diagnostics import Severity
from convspec.layers import BUILT_IN
from convspec.layers.tree import ClassTree, checked_tree
from convspec.layers.weights import WeightLayer

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
NETWORKS = {m.group(1): m.group() for m in re.finditer(r"(?<=```cfg\n)# (\w+\.cfg)\n.*?(?=```)", PAGE, re.DOTALL)}


@pytest.mark.parametrize(("name", "output"), [("axes.cfg", (16, 40, 49)), ("shared.cfg", (10,))])
def test_a_network_of_the_page(name: str, output: tuple[int, ...]) -> None:
    checked = convspec.check(NETWORKS[name])
    assert [d for d in checked.diagnostics if d.severity is not Severity.NOTE] == []
    assert checked.layers[-1].shape == output
    convspec.compile(NETWORKS[name])


def test_there_is_no_other_network() -> None:
    assert len(NETWORKS) == 2


def test_every_layer_with_weights_has_its_row() -> None:
    """Batch normalisation stands with the layers over maps."""
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows == {name for name, cls in BUILT_IN.items() if issubclass(cls, WeightLayer)} - {"batchnorm"}


def test_the_tree_of_the_page_is_one() -> None:
    [text] = re.findall(r"^    (\{.*\})$", PAGE, re.MULTILINE)
    value = json.loads(text)
    assert checked_tree(ClassTree(tuple(map(tuple, value["children"])), value["root"])).classes == 4
