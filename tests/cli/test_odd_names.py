"""Names that the shell hands on and people do not type: empty, of two lines, too long, of bytes that are no text."""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path

import pytest

import convspec
from convspec.cli import main
from convspec.resources import spec_path

LENET = str(spec_path("lenet-digits.cfg"))
LONG = "a" * 300 + ".cfg"
UNPRINTABLE = os.fsdecode(b"lat\xe9.cfg")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", ""],
        ["check", LENET, "--params", ""],
        ["compile", LENET, "-o", ""],
        ["show", LENET, "-o", ""],
        ["diff", LENET, ""],
        ["fmt", ""],
        ["new", "", "--from", "alexnet"],
        ["new", "my", "--from", ""],
        ["import", "", "-o", "run"],
        ["filters", ""],
        ["train", "", "--run", "run"],
        ["train", "--resume", ""],
    ],
)
def test_an_empty_name_is_wrong_usage_and_not_the_folder_that_one_is_in(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "it is empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [".", "..", "/", "folder/"])
def test_new_does_not_write_a_file_that_is_all_suffix(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", name, "--from", "alexnet"]) == 2
    assert f"{name} names no file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_line_end_in_a_name_does_not_make_it_the_text_of_a_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = "two\nlines.cfg"
    assert main(["check", odd]) == 2
    assert "error[CS101]: there is no file two\\x0alines.cfg" in capsys.readouterr().err
    shutil.copy(LENET, odd)
    for arguments in (["check", odd], ["compile", odd], ["diff", odd, LENET], ["show", odd]):
        assert main(arguments) == 0, arguments


@pytest.mark.parametrize(
    "arguments",
    [["new", "my", "--from", LONG], ["import", LONG, "-o", "run"], ["filters", LONG], ["train", "--resume", LONG]],
)
def test_what_the_system_refuses_to_look_up_is_said(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "cannot be used: File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("name", [" first.cfg", "a ;b.cfg", ";c.cfg", "two\nlines.cfg", UNPRINTABLE])
def test_new_says_which_names_extends_cannot_spell(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(LENET, name)
    assert main(["new", "my", "--from", name]) == 2
    assert "error[CS101]: extends= cannot spell" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert main(["new", "my", "--from", name, "--copy"]) == 0
    assert main(["check", "my.cfg"]) == 0


@pytest.mark.parametrize("name", ["a b.cfg", "50%.cfg", "#h.cfg", "x=y.cfg", "q\"'.cfg", "[b].cfg", "é☃.cfg", "~u.cfg"])
def test_new_extends_files_of_any_other_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(LENET, name)
    assert main(["new", "my", "--from", name]) == 0
    assert convspec.check("my.cfg").ok


@pytest.mark.parametrize(
    "name", ['q"""; print("run"); """.cfg', 'end".cfg', "b\\N{x}\\.cfg", "back\\", "two\nlines.cfg", UNPRINTABLE]
)
def test_the_name_of_a_file_cannot_leave_the_docstring_of_its_module(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shutil.copy(LENET, path)
    source = convspec.compile(path)
    tree = ast.parse(source.encode())
    plain = ast.parse(convspec.compile(LENET))
    assert [ast.dump(node) for node in tree.body[1:]] == [ast.dump(node) for node in plain.body[1:]]


def test_names_do_not_paint_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "\x1b[31mred.cfg"
    Path(name).write_text("[a]\ntype = conv\n")
    main(["check", name])
    main(["fmt", name])
    main(["diff", name, LENET])
    main(["new", "my", "--from", name])
    streams = capsys.readouterr()
    assert "\\x1b[31mred.cfg" in streams.err
    assert "\x1b" not in streams.out + streams.err
    assert "\x1b" not in Path("my.cfg").read_text().split("[@net]")[0]


def test_names_that_are_no_text_are_shown_with_escapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"lat\xe9\nx")
    for arguments in (
        ["train", LENET, "--steps", "1", "--run", odd],
        ["train", "--resume", odd, "--steps", "2"],
        ["report", odd, "--samples", "1", "-o", f"{odd}.html"],
        ["filters", odd, "-o", f"{odd}.png"],
        ["test", odd],
        ["features", odd, "-o", f"{odd}.npz"],
        ["doctor", "--runs", odd],
        ["data", "prepare", "digits", f"{odd}-data", "--size", "8"],
        ["data", "verify", f"{odd}-data"],
        ["data", "show", f"{odd}-data", "-o", f"{odd}.png"],
    ):
        assert main(arguments) == 0, arguments
        out = capsys.readouterr().out
        assert "\\x0ax" in out, arguments
        assert "lat\n" not in out


@pytest.mark.parametrize("command", [["compare", LENET], ["ablate", "--seeds", "1"]])
def test_a_network_without_a_cost_is_trained_by_no_command(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.cfg").write_text(
        "[@net]\nextends=lenet-digits.cfg\noutputs=probs\n[logprob]\nremove=1\n[labels]\nremove=1\n"
    )
    assert main([*command, "my.cfg", "--data", "digits"]) == 1
    assert "error[CS602]" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
