"""What `convspec.compile` and `convspec.load` give of each target, and what they say where it cannot be had."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch

import convspec
from convspec.cli import main
from convspec.diagnostics import DiagnosticError
from convspec.passes.pipeline import Target
from convspec.resources import spec_path
from tests.emit.small_specs import TWO_TOWERS

SMALL = spec_path("alexnet-small.cfg")


@pytest.mark.parametrize("target", [target.value for target in Target])
def test_the_source_is_that_of_the_command(target: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", str(SMALL), "--target", target]) == 0
    assert convspec.compile(SMALL, target=target) == capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ({}, None),
        ({"devices": ["cpu"]}, None),
        ({"device": torch.device("cpu")}, None),
        ({"devices": ("cpu", torch.device("cpu"))}, 2),
        ({"target": "devices"}, 2),
        ({"target": "devices", "device": "cpu"}, 2),
        ({"target": "devices", "devices": ("cpu",)}, 2),
    ],
)
def test_where_a_network_is(options: Mapping[str, Any], gpus: int | None) -> None:
    net = convspec.load(TWO_TOWERS, **options)
    assert getattr(net, "gpus", None) == (None if gpus is None else (torch.device("cpu"),) * gpus)


def test_targets_compute_the_same() -> None:
    """The weights of one in the other, in float64."""
    folded = convspec.load(TWO_TOWERS, dtype=torch.float64).eval()
    placed = convspec.load(TWO_TOWERS, devices=("cpu", "cpu"), dtype=torch.float64).eval()
    placed.load_state_dict(folded.state_dict())
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    first, second = (net({"data": images})["probs"] for net in (folded, placed))
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        next(placed.parameters()).add_(1)
    assert not torch.allclose(first, placed({"data": images})["probs"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "gpu"}, "target is 'folded', 'devices' or 'spmd', not 'gpu'"),
        ({"devices": "cpu,cpu"}, r"devices is a sequence of devices, such as \('cpu', 'cpu'\), not 'cpu,cpu'"),
        ({"devices": ("cpu", "cpu"), "device": "cpu"}, "device names one device and devices several"),
        ({"devices": ("cpu", "cpu"), "target": "folded"}, "target 'folded' runs on one device, and devices names 2"),
        ({"devices": ("cpu", "cpu"), "target": "spmd"}, "target 'spmd' runs on one device"),
    ],
)
def test_arguments_at_odds(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convspec.load(TWO_TOWERS, **options)
    with pytest.raises(ValueError, match="target is 'folded'"):
        convspec.compile(TWO_TOWERS, target="gpu")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "code", "message", "help"),
    [
        (
            {"devices": ("cpu",) * 3},
            "CS750",
            "TwoTowers is for 2 GPUs, and 3 devices would run it",
            'name as many: devices=("cpu", "cpu"); or one: device="cpu" runs all layers on it',
        ),
        ({"device": "nonsense"}, "CS710", "there is no device 'nonsense' here", "device takes one of: cpu"),
        ({"devices": ("cpu", "cuda:9")}, "CS710", "there is no device 'cuda:9' here", "devices takes one of: cpu"),
        (
            {"target": "spmd"},
            "CS753",
            "TwoTowers is on GPUs 0 and 1, one for each process, and this process has joined no other",
            "start as many: torchrun --nproc-per-node 2 YOUR_SCRIPT, which calls torch.distributed.init_process_group()",
        ),
    ],
)
def test_devices_and_processes_that_are_not_there(
    options: Mapping[str, Any], code: str, message: str, help: str
) -> None:
    with pytest.raises(DiagnosticError) as caught:
        convspec.load(TWO_TOWERS, **options)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.message) == (code, message)
    assert (diagnostic.help or "").startswith(help)


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "convspec.train.instances", None)
    with pytest.raises(DiagnosticError, match=r"CS801: convspec.train.instances is not installed"):
        convspec.load(TWO_TOWERS)
