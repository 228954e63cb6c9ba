"""What README and the pages under docs/ quote is what the commands print, and what they say to type can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest

from convspec.cli import COMMANDS, group, main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = tuple(sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("specs/*.md")]))
# What these print comes from a training: numbers that a machine gets once.
OF_TRAININGS = frozenset({"ablate", "bench", "compare", "data", "predict", "similar", "test", "train"})
# Python that a page quotes of an emitted module, by its first line.
EMITTED = {
    ("README.md", "conv1 = F.conv2d(data, self.conv1.weight, stride=4)"): (),
    ("docs/placement.md", "GPU 0  conv1a"): ("--target", "devices"),
    ("docs/distributed.md", "pool2a = bias_act_lrn_max_pool2d(...)"): ("--target", "spmd"),
    ("docs/distributed.md", "def forward(self, inputs"): (),
}
# What a page says to type, with what stands for one of several things made one of them.
STANDING_FOR = (
    (r" {2,}.*", ""),  # a remark
    (r"(?<=\S)\\?\|[^\s\]]+", ""),  # one of several
    (r"\[([^]]*)\]", r"\1"),  # what may be left out
    (r" [>|#] .*", ""),
    (r"--rates \.\.\.", "--rates 0.1"),
    (r"(--[a-z]+) \.\.\.", r"\1 x"),
    (r" \.\.\.( |$)", " "),
    (r"\bN\b", "2"),
    (r"\bPASS\b", "lower"),
    (r"\bSHELL\b", "bash"),
)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def require_in_order(quoted: list[str], printed: str) -> None:
    """Each quoted line is looked for behind the one before; in a line, too, `...` stands for what was left out."""
    place = 0
    for line in quoted:
        pattern = re.escape(line).replace(re.escape("..."), "(?s:.*?)")
        found = re.compile(f"^{pattern}$", re.MULTILINE).search(printed, place)
        assert found is not None, f"not printed, or not here: {line}\n\n{printed[place:]}"
        place = found.end()


def quoted() -> Iterator[tuple[str, str, list[str]]]:
    """Page, command, and the lines quoted of its output. Tests of their own run the examples of the diagnostics."""
    for page in PAGES:
        for block in blocks(page, "console") if page.name != "diagnostics.md" else ():
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *lines = part.splitlines()
                words = command.split()
                if words[0] == "convspec" and words[1] not in OF_TRAININGS and any(map(str.strip, lines)):
                    yield name_of(page), command, [line for line in lines if line.strip() not in ("", "...")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with our specs, and one that README makes a mistake in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    assert main(["new", "my", "--from", "alexnet", "--copy"]) == 0
    text = (tmp_path / "my.cfg").read_text()
    (tmp_path / "my.cfg").write_text(re.sub(r"(\[pool1a\][^\[]*)sizeX=3", r"\1sizeX=60", text))
    capsys.readouterr()
    return tmp_path


@pytest.mark.parametrize(
    ("page", "command", "lines"), [*quoted()], ids=lambda value: value if isinstance(value, str) else ""
)
@pytest.mark.usefixtures("folder")
def test_a_page_quotes_what_is_printed(
    page: str, command: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(shlex.split(command)[1:])
    captured = capsys.readouterr()
    require_in_order(lines, captured.out if lines[0] in captured.out else captured.out + captured.err)


def test_what_is_not_printed_is_missed() -> None:
    require_in_order(["a ... c", "d"], "a b c\nd\n")
    for lines in (["d", "a ... c"], ["a ... d"], ["a"]):
        with pytest.raises(AssertionError):
            require_in_order(lines, "a b c\nd\n")


@pytest.mark.parametrize(("page", "first"), [*EMITTED])
def test_a_page_quotes_the_module_that_is_emitted(page: str, first: str, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = [text for text in blocks(ROOT / page, "python") if text.strip().startswith(first)]
    assert main(["compile", "alexnet.cfg", *EMITTED[page, first]]) == 0
    require_in_order([line for line in block.splitlines() if line.strip() not in ("", "...")], capsys.readouterr().out)


def said_to_type(text: str) -> list[str]:
    """The commands in a text: behind a prompt, as a block of code, in a sentence, or of torchrun."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"^(?:\$ | {4})(?:torchrun .* -m )?convspec (.*)$", joined, re.MULTILINE)
    found += re.findall(r"^torchrun .* -m convspec (.*)$", joined, re.MULTILINE)
    return found + [" ".join(command.split()) for command in re.findall(r"`convspec ([^`]*)`", joined)]


def typed(command: str) -> list[str]:
    for sought, put in STANDING_FOR:
        command = re.sub(sought, put, command)
    return shlex.split(command)


def understood(command: str) -> None:
    """Raises click.UsageError for an option or a value that the command does not take. Nothing is carried out.

    What it has to have may be missing: pages speak of commands by a part of what is typed.
    """
    here: click.Command = group
    context = click.Context(group)
    words = typed(command)
    while isinstance(here, click.Group) and words:
        _, found, words = here.resolve_command(context, words)
        assert found is not None
        here, context = found, click.Context(found, parent=context)
    with suppress(click.MissingParameter):
        if words:
            here.make_context(here.name, words, parent=context.parent)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_says_to_type_can_be_typed(page: Path) -> None:
    for command in said_to_type(page.read_text(encoding="utf-8")):
        understood(command)


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_examples_of_help_can_be_typed(name: str | None) -> None:
    command = group if name is None else group.get_command(click.Context(group), name)
    assert command is not None
    for each in [command, *(command.commands.values() if isinstance(command, click.Group) else ())]:
        text = re.sub(r"(?m)^ *(?=convspec )", "    ", each.help or "")
        examples = said_to_type(text)
        assert examples
        for example in examples:
            understood(example)


@pytest.mark.parametrize(
    "command", ["train x.cfg --run-dri runs/x", "plan x.cfg --auto many", "tset runs/x", "diff a b c"]
)
def test_what_cannot_be_typed_is_told(command: str) -> None:
    with pytest.raises(click.UsageError):
        understood(command)


def anchors(page: Path) -> set[str]:
    """The places in a page that a link can lead to, as GitHub names them after headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, place = target.partition("#")
        file = page.parent / name if name else page
        assert file.is_file(), target
        assert not place or place in anchors(file), target


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if target.partition("#")[0]
    }
    assert [name_of(page) for page in PAGES if page.name != "README.md" and page.resolve() not in linked] == []


@pytest.mark.parametrize("page", ["docs/python.md", "docs/kernels.md"])
def test_the_python_of_a_page_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CONVSPEC_KERNELS", "eager")
    small = blocks(ROOT / page, "python")[0].replace("alexnet.cfg", "alexnet-small.cfg")
    given: dict[str, Any] = {
        "images": torch.rand(2, 3, 56, 56),
        "labels": torch.tensor([0, 1]),
        "x": torch.rand(2, 32, 9, 9),
        "bias": torch.rand(32),
    }
    exec(compile(small, page, "exec"), given)
    if "net" in given:
        assert given["given"]["logprob"].isfinite()
        assert all(parameter.grad is not None for parameter in given["net"].parameters())
    else:
        assert given["y"].shape == (2, 32, 4, 4)
