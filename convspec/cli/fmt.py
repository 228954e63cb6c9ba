"""`convspec fmt`: files in the one layout."""

from __future__ import annotations

import sys
from difflib import unified_diff

import click

from convspec.cli.messages import print_diagnostics
from convspec.cli.options import named, offering
from convspec.cli.write import replace_file
from convspec.diagnostics import DiagnosticError, Report, SourceFile
from convspec.diagnostics.style import Style, painted, wants_color
from convspec.diagnostics.visible import visible
from convspec.syntax.formatter import format_document
from convspec.syntax.parser import parse_document, read_source

_STYLES = {"+": Style.ADDED, "-": Style.REMOVED, "@": Style.PLACE}


@click.command(short_help="Lay out files the one way.")
@click.argument("files", type=named, nargs=-1, required=True, shell_complete=offering("layer_files_or_any"))
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 1 where a file would change.")
@click.option("--diff", "only_diff", is_flag=True, help="Change nothing; print what would change; exit 1 if anything.")
def command(files: tuple[str, ...], only_check: bool, only_diff: bool) -> int:
    """Lay out FILES the one way. Comments stay; a file that does not parse is left alone, and the others are not.

    \b
    convspec fmt my.cfg                  blanks, line ends, empty lines
    convspec fmt --check specs/*.cfg     for continuous integration
    convspec fmt --diff my.cfg           what would change
    """
    changed = broken = 0
    for path in files:
        try:
            source, formatted = _formatted(path)
        except DiagnosticError as error:
            if len(files) == 1:
                raise
            print_diagnostics(error.diagnostics)
            broken += 1
            continue
        if formatted == source.text:
            continue
        changed += 1
        only_looks = only_check or only_diff
        click.echo(f"{'would change' if only_looks else 'changed'} {visible(path)}", err=True)
        if only_diff:
            color = wants_color(sys.stdout)
            click.echo(_difference(path, source.text, formatted, color=color), nl=False, color=color)
        if not only_looks:
            replace_file(path, formatted.encode(source.encoding))
    return 1 if broken or (changed and (only_check or only_diff)) else 0


def _formatted(path: str) -> tuple[SourceFile, str]:
    """A file as it is, and its text in the one layout. Raises DiagnosticError where it cannot be read or parsed."""
    report = Report()
    source = read_source(path)
    formatted = format_document(parse_document(source, report))
    if report.has_errors:
        raise DiagnosticError(*report)
    return source, formatted


def _difference(path: str, text: str, formatted: str, *, color: bool) -> str:
    """A unified diff, as `patch` reads it. A line end that is not `\\n`, or is missing, is said as in `diff`."""
    lines = unified_diff(_lines(text), _lines(formatted), path, path, n=2)
    return "".join(_painted(line, color=color) for line in lines)


def _lines(text: str) -> list[str]:
    lines = [f"{line}\n" for line in text.split("\n")]
    if lines[-1] == "\n":
        return lines[:-1]
    return [*lines[:-1], f"{lines[-1]}\\ No newline at end of file\n"]


def _painted(line: str, *, color: bool) -> str:
    style = _STYLES.get(line[:1])
    return line if style is None else painted(line.rstrip("\n"), style, color=color) + "\n"
