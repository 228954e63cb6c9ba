"""`convspec show`: the network as a picture."""

from __future__ import annotations

import click

from convspec.cli.messages import print_warnings
from convspec.cli.options import Given, named, spec_arguments
from convspec.cli.write import refuse_inputs, replace_text


@click.command(short_help="A picture of the network.")
@spec_arguments
@click.option("-o", "--output", type=named, metavar="FILE.svg", help="Write to FILE.svg instead of standard output.")
def command(
    given: Given,
    output: str | None,
) -> int:
    """Draw SPEC as SVG: sizes, window arithmetic and parameters of each layer, GPUs, and what crosses between them.

    \b
    convspec show alexnet.cfg -o alexnet.svg
    convspec show my.cfg --set conv1.stride=2 > my.svg
    """
    if output is not None and output.lower().endswith((".png", ".pdf", ".jpg", ".jpeg", ".gif")):
        raise click.UsageError(f"{output}: a network is drawn as SVG; name FILE.svg and convert that")
    checked = print_warnings(given.checked().require_ok())
    if output is not None:
        refuse_inputs(output, checked)
    from convspec.report.network import draw_network

    picture = draw_network(checked)
    if output is None:
        click.echo(picture, nl=False)
    else:
        replace_text(output, picture)
    return 0
