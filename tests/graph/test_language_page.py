"""The networks on the page of the language check, together, as a reader would save them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import convspec
from convspec.diagnostics import Severity
from convspec.graph.settings import NetSettings

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
NETWORKS = {
    match.group(1): match.group()
    for match in re.finditer(r"(?<=```cfg\n)# (\w+\.cfg)\n.*?(?=```)", PAGE.read_text(), re.DOTALL)
}


def test_there_are_networks() -> None:
    assert list(NETWORKS) == ["small.cfg", "variant.cfg", "residual.cfg"]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_page(name: str, tmp_path: Path) -> None:
    for file, text in NETWORKS.items():
        (tmp_path / file).write_text(text)
    checked = convspec.check(tmp_path / name)
    assert [d for d in checked.diagnostics if d.severity is not Severity.NOTE] == []
    convspec.compile(tmp_path / name)


def test_what_the_page_says_of_the_variant(tmp_path: Path) -> None:
    for file, text in NETWORKS.items():
        (tmp_path / file).write_text(text)
    rows = {row.name: row for row in convspec.check(tmp_path / "variant.cfg").layers}
    assert rows["norm1"].inputs == ("conv1",)
    assert rows["fc2"].inputs == ("norm1",)
    assert rows["conv1"].shape == (64, 32, 32)


def test_what_the_page_says_of_the_template(tmp_path: Path) -> None:
    (tmp_path / "residual.cfg").write_text(NETWORKS["residual.cfg"])
    rows = {row.name: row for row in convspec.check(tmp_path / "residual.cfg").layers}
    made = [f"stage1_{i}.{layer}" for i in (1, 2, 3) for layer in ("conv1", "conv2", "sum")]
    assert [name for name in rows if name.startswith("stage1")] == made
    assert rows["stage2.conv1"].inputs == ("stage1_3.sum",)
    assert rows["stage1_1.sum"].inputs == ("stage1_1.conv2", "first")


def test_the_keys_of_the_net_that_are_named_exist() -> None:
    [line] = [line for line in PAGE.read_text().splitlines() if line.startswith("| `[@net]`")]
    named = set(re.findall(r"`(\w+)`", line))
    assert len(named) > 5
    assert named <= {key.spelling for key in NetSettings.keys.values()}
