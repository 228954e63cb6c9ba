"""`convspec explain`, and what every command says of itself under `--help`."""

from __future__ import annotations

import re

import click
import pytest

from convspec.cli import COMMANDS, group, main
from convspec.diagnostics.codes import CODES, GROUPS
from convspec.diagnostics.explain import explanation
from convspec.graph.reference import SETTINGS
from convspec.layers import layer_type, layer_types


def test_the_list_has_every_code_under_its_hundred(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    *blocks, types = capsys.readouterr().out.rstrip().split("\n\n")
    assert [*layer_types(), *SETTINGS] == "".join(types.splitlines()[1:]).replace(" ", "").split(",")
    assert [block.splitlines()[0] for block in blocks] == list(GROUPS.values())
    rows = [line.split(maxsplit=2) for block in blocks for line in block.splitlines()[1:]]
    assert rows == [[name, code.severity.value, code.title] for name, code in CODES.items()]
    for digit, block in zip(GROUPS, blocks, strict=True):
        assert all(line.startswith(f"  CS{digit}") for line in block.splitlines()[1:])


def test_the_list_is_coloured_for_terminals_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["explain"])
    colored = capsys.readouterr().out
    monkeypatch.delenv("FORCE_COLOR")
    main(["explain"])
    plain = capsys.readouterr().out
    assert "\x1b[1;33mwarning\x1b[0m  a section that stands twice" in colored
    assert re.sub("\x1b\\[[0-9;]*m", "", colored) == plain != colored


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", code.lower()]) == 0
    assert capsys.readouterr().out == explanation(code)


@pytest.mark.parametrize("name", [*layer_types(), *SETTINGS])
def test_every_type_is_explained_with_all_its_keys(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", name]) == 0
    out = capsys.readouterr().out
    cls = SETTINGS.get(name) or layer_type(name)
    assert cls is not None
    assert out.startswith(f"{name}: ")
    for key in cls.keys.values():
        assert re.search(rf"^  {re.escape(key.spelling)} +{re.escape(key.doc)}$", out, re.MULTILINE)
    filters = "  filters         kernels of one group; times groups, the maps that the layer gives\n"
    assert (filters + f"{'':18}a list of integers, at least 1; required\n" in out) == (name in ("conv", "local"))


@pytest.mark.parametrize(
    ("name", "help"), [("conw", "'conv'"), ("@tran", "'@train'"), ("zzz", "a list of all"), ("cs4022", "'CS402'")]
)
def test_a_name_of_nothing(name: str, help: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", name]) == 2
    out = "".join(capsys.readouterr())
    assert f"error[CS802]: there is no diagnostic, layer type or section of settings {name}" in out
    assert help in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_how_it_is_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    examples = [line for line in out.splitlines() if re.match(rf"  (eval \"\$\()?convspec {name}\b", line)]
    assert examples, f"give the docstring of {name} an example"
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert not [p.name for p in command.params if isinstance(p, click.Option) and not p.help]


def test_the_list_of_commands_is_not_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.split("Commands:\n")[1]
    assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)
    assert "..." not in listed
