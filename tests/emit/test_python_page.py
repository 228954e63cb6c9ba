"""docs/python.md: the property-based tests and the program of one's own that it shows do what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import convspec
import convspec.layers
from convspec.layers.base import Layer

ROOT = Path(__file__).parents[2]


def block(first: str) -> str:
    """The block of Python of the page that begins so."""
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    [found] = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if text.startswith(first)]
    return str(found)


def run(first: str) -> dict[str, Any]:
    """What a block defines, with its tests run."""
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block(first), "docs/python.md", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    for test in tests:
        test()
    return names


def test_joining_loses_nothing() -> None:
    run("from hypothesis")


def test_a_layer_type_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = run("# own_layers.py")["CRelu"]
    assert issubclass(own, Layer)
    monkeypatch.setattr(convspec.layers, "_installed", lambda: {"crelu": own})
    seen: list[str] = []
    check = convspec.check
    monkeypatch.setattr(convspec, "check", lambda spec, **more: seen.append(spec) or check(spec, **more))
    run("# test_own_layers.py")
    assert sum("type=crelu" in spec for spec in seen) > 20


def test_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run("# test_variants.py")


def test_a_program_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On small pictures; the exported program takes any batch."""
    small = {"data": (3, 32, 32)}
    module = ModuleType("squeezenet")
    exec(convspec.compile("specs/squeezenet.cfg", inputs=small, overrides=["fire8.expand=8"]), vars(module))
    monkeypatch.setitem(sys.modules, "squeezenet", module)
    monkeypatch.chdir(tmp_path)
    batches = [(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))]
    names: dict[str, Any] = {"batches": batches}
    before = module.SqueezeNet().state_dict()
    exec(block("# train.py").replace("224", "32"), names)
    net = names["net"]
    assert net.state_dict().keys() == before.keys()
    assert all(parameter.grad is not None for parameter in net.parameters())
    program = torch.export.load(str(tmp_path / "squeezenet.pt2")).module()
    images = {"data": torch.rand(5, 3, 32, 32)}
    torch.testing.assert_close(program(images)["probs"], net(images)["probs"])
