"""`convspec predict`: what a trained network takes pictures for."""

from __future__ import annotations

import click

from convspec.cli.extras import extra
from convspec.cli.memory import use_huge_pages
from convspec.cli.options import format_option, named, refuse_other_pictures, trained_options


@click.command(short_help="What pictures show, by a trained network.")
@click.argument("run", type=named)
@click.argument("images", nargs=-1, type=named, metavar="[IMAGE]...")
@click.option("-o", "--output", type=named, metavar="PANEL.png", help="Draw the pictures with their guesses.")
@click.option("--top", type=click.IntRange(1, 1000), default=5, show_default=True, help="Classes to name.")
@click.option("--label", metavar="CLASS", help="What the images show; else the class whose name their folder has.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Look at N test pictures of the run's data.")
@click.option(
    "--data", type=named, metavar="DATA", help="Data for --samples; of an old checkpoint, what it learned from."
)
@click.option(
    "--views", type=click.Choice(["1", "10"]), help="Views of a picture that are averaged; else what [@data] says."
)
@trained_options
@format_option
def command(
    run: str,
    images: tuple[str, ...],
    output: str | None,
    top: int,
    label: str | None,
    samples: int | None,
    data: str | None,
    views: str | None,
    checkpoint: str | None,
    device: str,
    form: str,
) -> int:
    """Name the likeliest classes of each IMAGE, with their probabilities, by the network trained in RUN.

    IMAGE is a picture file, a folder of them, or - for standard input. With -o they are drawn as in Figure 4 of the
    paper: the bar of the true class is red, where that is known.

    \b
    convspec predict runs/alexnet-small cat.jpg
    convspec predict runs/alexnet-small --samples 8 -o panel.png
    """
    refuse_other_pictures(output)
    if not images and samples is None:
        raise click.UsageError("name an IMAGE, or look at test pictures of the run with --samples N")
    use_huge_pages()
    with extra("predicting needs"):
        from convspec.cli.predicting import run_prediction
    return run_prediction(
        run,
        images,
        output=output,
        top=top,
        label=label,
        samples=samples,
        data=data,
        views=None if views is None else int(views),
        checkpoint=checkpoint,
        device=device,
        as_json=form == "json",
    )
