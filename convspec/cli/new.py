"""`convspec new`: a spec of one's own, begun from one that there is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from convspec.checker import check
from convspec.cli.options import named, offering
from convspec.cli.write import create_text
from convspec.diagnostics import Diagnostic, DiagnosticError, Report, SourceFile, did_you_mean
from convspec.diagnostics.visible import visible
from convspec.graph.files import extends_entry
from convspec.resources import spec_names, spec_path
from convspec.syntax.document import Document, Entry, Line
from convspec.syntax.parser import parse_document, read_source

_SUFFIX = ".cfg"
_VARIANT = """\
# A variant of {base}: what is not said here is as it is there.
#
# A section with the name of a layer overrides its keys; with remove=1 it takes the layer out and joins what is around it;
# a section with a new name adds a layer, and after=LAYER says where. What has changed, so far:
#   convspec diff {base} {name}

[@net]
extends={extends}
"""


@click.command(short_help="Begin a spec from another one.")
@click.option("--copy", "is_copy", is_flag=True, help="Write the whole spec, not a variant that extends it.")
@click.option(
    "--from",
    "base",
    type=named,
    metavar="SPEC",
    shell_complete=offering("bases"),
    help="What to start from: a name of the list, or a file.",
)
@click.argument("name", type=named, required=False)
def command(name: str | None, base: str | None, is_copy: bool) -> int:
    """Write NAME.cfg, a variant of another spec, to be changed; without a NAME, list what can be started from.

    A file that is there already is left alone.

    \b
    convspec new                             what there is
    convspec new my --from alexnet           my.cfg, which extends alexnet.cfg
    convspec new my --from alexnet --copy    my.cfg, all of it
    """
    if name is None:
        click.echo(_list(), nl=False)
        return 0
    if base is None:
        raise click.UsageError(
            f"say what to start from: convspec new {name} --from alexnet; convspec new lists what there is"
        )
    if not os.path.basename(name).strip("."):  # noqa: PTH119 - the last part of a path drops a `/` at the end, and a name does not
        raise click.UsageError(f"{name} names no file: convspec new my --from {base} makes my.cfg")
    target = Path(name if name.endswith(_SUFFIX) else f"{name}{_SUFFIX}")
    source = _find(base)
    document = parse_document(read_source(str(source)), Report())
    shown = source.name if _is_ours(source) else str(source)
    text = _copied(document, source) if is_copy else _variant(document, source, target, shown)
    _require_base(text, source, target, is_copy=is_copy)
    create_text(target, text)
    how = "a copy" if is_copy else "a variant"
    click.echo(f"wrote {visible(str(target))}, {how} of {visible(shown)}\nnext: convspec check {visible(str(target))}")
    return 0


def _list() -> str:
    """The specs that come with convspec, and what each says of itself at its head."""
    names = sorted(name.removesuffix(_SUFFIX) for name in spec_names())
    width = max(map(len, names))
    rows = [f"  {name:<{width}}  {_headline(read_source(str(spec_path(name + _SUFFIX))))}".rstrip() for name in names]
    return "\n".join(["convspec new NAME --from ...", *rows]) + "\n"


def _headline(file: SourceFile) -> str:
    """The first clause of the comment that a spec begins with."""
    words: list[str] = []
    for line in file.text.splitlines():
        if not line.startswith(("#", ";")):
            break
        words += line.lstrip("#; ").split()
    return re.split(r"[.:;](?: |$)", " ".join(words), maxsplit=1)[0]


def _find(base: str) -> Path:
    """A file, or a spec of ours with or without `.cfg` and `specs/`. Raises DiagnosticError with CS101."""
    ours = {name.removesuffix(_SUFFIX): name for name in spec_names()}
    path = Path(base)
    if path.is_file():
        return path
    stem = path.name.removesuffix(_SUFFIX)
    if stem in ours and path.parent.name in ("", "specs"):
        return spec_path(ours[stem])
    raise DiagnosticError(
        Diagnostic(
            "CS101",
            f"there is no spec {base} to start from",
            help=did_you_mean(stem, ours) or f"name a file, or one of {', '.join(ours)}",
        )
    )


def _is_ours(source: Path) -> bool:
    return source.name in spec_names() and source == spec_path(source.name)


def _variant(document: Document, source: Path, target: Path, shown: str) -> str:
    text = _VARIANT.format(base=visible(shown), name=visible(str(target)), extends=_reference(source, target))
    return text + (_example(document) or _example(_resolved(source)))


def _reference(source: Path, target: Path) -> str:
    """What `extends=` must say in `target` to mean `source`: specs of ours go by name, files by the way to them."""
    if not _is_ours(source):
        return Path(os.path.relpath(source, target.parent)).as_posix()
    is_taken = target.name == source.name or os.path.lexists(target.parent / source.name)
    return f"specs/{source.name}" if is_taken else source.name


def _require_base(text: str, source: Path, target: Path, *, is_copy: bool) -> None:
    """Raises DiagnosticError with CS101 where `extends=` cannot spell the way to a base: a blank before it, ` ;`, a line end."""
    if is_copy:
        return
    entry = extends_entry(parse_document(SourceFile(str(target), text), Report()))
    if entry is None or entry.value != _reference(source, target) or not _is_utf8(entry.value):
        message = f"extends= cannot spell {source}, for the letters in its name"
        raise DiagnosticError(
            Diagnostic("CS101", message, help="give that file a plain name, or take it over with --copy")
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _example(document: Document) -> str:
    """An override to begin with, commented out: the first number of the first layer that learns."""
    for section in document.sections:
        entries: dict[str, Entry] = {entry.key: entry for entry in section.entries}
        entry = entries.get("filters") or entries.get("outputs")
        if entry is not None and not section.name.startswith("@"):
            return f"\n# [{section.name}]\n# {entry.written_key}={entry.value.splitlines()[0]}\n"
    return ""


def _resolved(source: Path) -> Document:
    """A spec with all that it extends, and with its parameter file, as one."""
    return parse_document(SourceFile(str(source), check(source).resolved_text), Report())


def _copied(document: Document, source: Path) -> str:
    """The text of a spec as it is, but for its name, which is that of the new file.

    A spec of several files is joined into one, without its comments.
    """
    if check(source).params is not None or extends_entry(document) is not None:
        document = _resolved(source)
    parts = [line.text for line in document.prologue]
    for section in document.sections:
        parts.append(section.header_text)
        parts += [line.text for line in section.lines if not (section.name == "@net" and _is_name(line))]
    return "".join(parts)


def _is_name(line: Line) -> bool:
    return isinstance(line, Entry) and line.key == "name"
