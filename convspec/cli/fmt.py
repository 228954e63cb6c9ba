"""`convspec fmt`: files in the one layout."""

from __future__ import annotations

import click

from convspec.cli.options import offering
from convspec.cli.write import replace_text
from convspec.diagnostics import DiagnosticError, Report
from convspec.syntax.formatter import format_document
from convspec.syntax.parser import parse_document, read_source


@click.command()
@click.argument("files", nargs=-1, required=True, shell_complete=offering("layer_files_or_any"))
@click.option("--check", "only_check", is_flag=True, help="Change nothing; exit 1 where a file would change.")
def command(files: tuple[str, ...], only_check: bool) -> int:
    """Lay out FILES the one way. Comments stay; a file that does not parse is left alone."""
    changed = 0
    for path in files:
        report = Report()
        source = read_source(path)
        formatted = format_document(parse_document(source, report))
        if report.has_errors:
            raise DiagnosticError(*report)
        if formatted == source.text:
            continue
        changed += 1
        click.echo(f"{'would change' if only_check else 'changed'} {path}", err=True)
        if not only_check:
            replace_text(path, formatted)
    return 1 if only_check and changed else 0
