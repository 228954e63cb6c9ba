"""Files that cannot be written whole are not there at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from convspec.cli.write import create_text
from convspec.diagnostics import DiagnosticError


def test_a_new_file_that_cannot_be_finished_is_taken_away(tmp_path: Path) -> None:
    target = tmp_path / "my.cfg"
    with pytest.raises(DiagnosticError, match=r"CS101.*cannot be written"):
        create_text(target, "\udce9")
    assert not target.exists()
    create_text(target, "é")
    assert target.read_bytes() == "é".encode()
    with pytest.raises(DiagnosticError, match="CS114"):
        create_text(target, "other")
    assert target.read_bytes() == "é".encode()
