"""Devices by name, and what is said of bf16 where it is slow."""

from __future__ import annotations

import pytest
import torch

from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.train.device import note_slow_bf16, open_device


def test_auto_is_a_gpu_if_there_is_one() -> None:
    assert open_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu:x", "meta"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        open_device(name)
    assert error.value.diagnostics[0].code == "CS710"
    assert "cpu" in (error.value.diagnostics[0].help or "")


@pytest.mark.parametrize(
    ("precision", "supported", "codes"), [("bf16", False, ["CS714"]), ("bf16", True, []), ("fp32", False, [])]
)
def test_emulated_bf16_is_noted(
    precision: str, supported: bool, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    said: list[Diagnostic] = []
    note_slow_bf16(torch.device("cpu"), precision, said.append)
    assert [diagnostic.code for diagnostic in said] == codes
