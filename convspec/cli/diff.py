"""`convspec diff`: what differs between two networks, in words and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import click

from convspec.checker import Checked, check
from convspec.cli.messages import print_diagnostics, print_warnings
from convspec.cli.options import as_path, format_option, named, offering, parse_inputs
from convspec.diagnostics import DiagnosticError, listed
from convspec.diagnostics.style import Style, painted, wants_color
from convspec.diagnostics.visible import visible
from convspec.difference.compare import Comparison, Counts, compare
from convspec.difference.finding import Category, Change, Difference
from convspec.layers.dialects import NAMES

EQUAL, DIFFERENT, TROUBLE = 0, 1, 2
_WIDTH = 110
_SIGNS = {Change.ADDED: "+", Change.REMOVED: "-"}
_STYLES = {"+": Style.ADDED, "-": Style.REMOVED, "~": Style.CHANGED}


@click.command(short_help="What differs between two specs.")
@format_option
@click.option("--dialect", type=click.Choice(NAMES), help="Language of both files; else it is recognised.")
@click.option("--classes", type=click.IntRange(min=1), help="Number of classes of the data, for both.")
@click.option("--input", "inputs", multiple=True, metavar="NAME:CxHxW", help="Size of a data layer, for both.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Override a key of B.")
@click.option(
    "--params-b",
    type=named,
    metavar="FILE",
    shell_complete=offering("specs"),
    help="Parameter file of B, if it is not beside it.",
)
@click.option(
    "--params-a",
    type=named,
    metavar="FILE",
    shell_complete=offering("specs"),
    help="Parameter file of A, if it is not beside it.",
)
@click.argument("a", type=named, shell_complete=offering("specs"))
@click.argument("b", type=named, shell_complete=offering("specs"))
def command(
    a: str,
    b: str,
    params_a: str | None,
    params_b: str | None,
    overrides: tuple[str, ...],
    inputs: tuple[str, ...],
    classes: int | None,
    dialect: str | None,
    form: str,
) -> int:
    """Say what differs from spec A to spec B: layers, their order, sizes, hyper-parameters, numerics, GPUs, settings.

    Layers are found again where they have other names or stand elsewhere. Exit code 0: they are equal, whatever their
    comments and layout; 1: they differ; 2: one of them has errors.

    \b
    convspec diff alexnet.cfg alexnet-2012.cfg               the paper, and the code that was released
    convspec diff my.cfg my.cfg --set conv2.filters=192      what an override would change
    """
    known = {"inputs": parse_inputs(inputs), "classes": classes, "dialect": dialect}
    one = _checked(a, params_a, (), known)
    other = _checked(b, params_b, overrides, known)
    if one is None or other is None:
        return TROUBLE
    comparison = compare(one, other)
    if form == "json":
        click.echo(json.dumps(as_data(comparison, a, b), indent=2))
    else:
        color = wants_color(sys.stdout)
        click.echo(_text(comparison, a, b, color=color), nl=False, color=color)
    return DIFFERENT if comparison.differences else EQUAL


def _checked(spec: str, params: str | None, overrides: tuple[str, ...], known: Mapping[str, Any]) -> Checked | None:
    """The network, or None after its errors have been printed."""
    try:
        checked = check(as_path(spec), None if params is None else as_path(params), overrides=overrides, **known)
    except DiagnosticError as error:
        print_diagnostics(error.diagnostics)
        return None
    if checked.ok:
        return print_warnings(checked)
    print_diagnostics(checked.errors)
    click.echo(f"{visible(spec)} has errors: there is nothing to compare", err=True)
    return None


def as_data(comparison: Comparison, a: str, b: str) -> dict[str, object]:
    """What `--format json` prints: a stable contract, described in docs/json.md."""
    return {
        "a": {"spec": a, **comparison.a._asdict()},
        "b": {"spec": b, **comparison.b._asdict()},
        "equal": not comparison.differences,
        "differences": [
            {
                "category": difference.category.value,
                "change": difference.change.value,
                "layers": [pair._asdict() for pair in difference.layers],
                "key": difference.key or None,
                "before": difference.before,
                "after": difference.after,
                "text": difference.text,
            }
            for difference in comparison.differences
        ],
    }


def _text(comparison: Comparison, a: str, b: str, *, color: bool) -> str:
    lines = [f"from {visible(a)}", f"to   {visible(b)}"]
    for category in Category:
        found = [d for d in comparison.differences if d.category is category]
        if found:
            lines += ["", painted(category.value, Style.STRONG, color=color)]
            lines += [line for difference in found for line in _row(difference, color=color)]
    lines += ["", _counts(comparison.a, comparison.b)]
    return "\n".join(lines) + "\n"


def _row(difference: Difference, *, color: bool) -> list[str]:
    """`~ conv3a, conv3b: initW 0.01 -> 0.03: standard deviation ...`, on as many lines as it needs."""
    sign = _SIGNS.get(difference.change, "~")
    values = f"{difference.before} -> {difference.after}" if difference.before is not None else ""
    parts = [
        _subject(difference),
        " ".join(filter(None, [difference.key, values])),
        difference.text,
    ]
    first, *rest = wrap(": ".join(filter(None, parts)), _WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return [f"  {painted(sign, _STYLES[sign], color=color)} {first}", *(f"      {line}" for line in rest)]


def _subject(difference: Difference) -> str:
    if difference.is_everywhere:
        return f"all {len(difference.layers)} layers with {difference.key}"
    if difference.change is Change.RENAMED:
        return listed(f"{pair.a} -> {pair.b}" for pair in difference.layers)
    return listed(map(str, difference.layers))


def _counts(a: Counts, b: Counts) -> str:
    if a == b:
        return f"both: {_count(a)}"
    return f"from: {_count(a)}\nto:   {_count(b)}"


def _count(counts: Counts) -> str:
    return f"{counts.layers} layers, {counts.parameters:,} parameters, {counts.macs:,} multiply-adds an image"
