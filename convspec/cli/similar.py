"""`convspec similar`: which pictures a trained network finds alike."""

from __future__ import annotations

import click

from convspec.cli.extras import extra
from convspec.cli.memory import use_huge_pages
from convspec.cli.options import format_option, named, refuse_other_pictures, trained_options


@click.command(short_help="Pictures that a trained network finds alike.")
@click.argument("run", type=named)
@click.argument("queries", nargs=-1, type=named, metavar="[QUERY]...")
@click.option(
    "--in", "among", type=named, metavar="DATA", help="Where to look: photos, digits or a folder; else the run's."
)
@click.option(
    "--data", type=named, metavar="DATA", help="Data for --samples; of an old checkpoint, what it learned from."
)
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Look for N test pictures of the run's data.")
@click.option("--layer", type=named, metavar="NAME", help="Whose features are compared; else the last hidden layer.")
@click.option("--top", type=click.IntRange(1, 1000), default=6, show_default=True, help="Pictures to find.")
@click.option("--codes", type=click.IntRange(1, 4096), metavar="N", help="Search among codes of N bits; 64, say.")
@click.option("-o", "--output", type=named, metavar="PANEL.png", help="Draw each query and what was found for it.")
@click.option("--cache", type=named, metavar="DIR", help="Where features are kept; else features/ in RUN.")
@trained_options
@format_option
def command(
    run: str,
    queries: tuple[str, ...],
    among: str | None,
    data: str | None,
    samples: int | None,
    layer: str | None,
    top: int,
    codes: int | None,
    output: str | None,
    cache: str | None,
    checkpoint: str | None,
    device: str,
    form: str,
) -> int:
    """Find the pictures in DATA whose features are nearest to those of each QUERY, by the network trained in RUN.

    Features are what the last hidden layer gives (section 6.1 of the paper), nearest is by Euclidean distance. DATA is
    the training pictures of the run unless it is named; of a folder, all pictures in it.

    \b
    convspec similar runs/alexnet-small cat.jpg --in pictures -o panel.png
    convspec similar runs/alexnet-small --samples 5 --codes 64
    """
    refuse_other_pictures(output)
    if not queries and samples is None:
        raise click.UsageError("name a QUERY, or take test pictures of the run with --samples N")
    use_huge_pages()
    with extra("a search needs"):
        from convspec.cli.finding import Search, run_search
    search = Search(queries, samples, among, data, layer, top, codes, cache)
    return run_search(run, search, output=output, checkpoint=checkpoint, device=device, as_json=form == "json")
