"""Files are written whole or not at all, where a link leads to, as they were encoded, and never over what they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from convspec.cli import main
from convspec.cli.write import create_text, replace_text
from convspec.diagnostics import DiagnosticError
from convspec.resources import spec_path


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


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "m.py", tmp_path / "m.py"
    link.symlink_to(real)
    for text in ("first", "second"):
        replace_text(str(link), text)
        assert link.is_symlink()
        assert real.read_text() == text


def test_fmt_keeps_links_and_encodings(tmp_path: Path) -> None:
    real, link = tmp_path / "real.cfg", tmp_path / "link.cfg"
    link.symlink_to(real)
    for encoding in ("utf-8", "latin-1"):
        real.write_bytes("# caf\xe9\n[a]\ntype =  conv\n".encode(encoding))
        assert main(["fmt", str(link)]) == 0
        assert link.is_symlink()
        assert real.read_bytes() == "# caf\xe9\n[a]\ntype=conv\n".encode(encoding)


@pytest.mark.parametrize("command", ["compile", "show"])
def test_no_file_is_written_over_the_spec_that_it_is_made_of(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, variant, link = (tmp_path / name for name in ("base.cfg", "variant.cfg", "link.cfg"))
    text = spec_path("lenet-digits.cfg").read_text()
    base.write_text(text)
    variant.write_text("[@net]\nextends=base.cfg\n")
    link.symlink_to(base)
    for spec, output in ((base, base), (variant, base), (variant, link)):
        assert main([command, str(spec), "-o", str(output)]) == 2
        assert "is a file that this network is read from" in capsys.readouterr().err
    assert base.read_text() == text
    assert main([command, str(variant), "-o", str(tmp_path / "other")]) == 0
