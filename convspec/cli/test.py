"""`convspec test`: error rates of runs, by one view or ten, by themselves and averaged."""

from __future__ import annotations

import click

from convspec.cli.extras import extra
from convspec.cli.memory import use_huge_pages
from convspec.cli.options import checkpoint_option, device_option, format_option, named

_PREDICTIONS = (".npz", ".csv")
_CONFUSION = (".csv", ".png")


@click.command(short_help="Error rates of runs: one view or ten, alone or averaged.")
@click.argument("runs", type=named, nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--views", type=click.Choice(["1", "10"]), help="Views of a picture that are averaged; else what [@data] says."
)
@click.option(
    "--data", type=named, metavar="DATA", help="photos, digits, or a folder; else what the runs were trained on."
)
@click.option("--predictions", type=named, metavar="FILE", help="Write the probabilities: FILE.npz or FILE.csv.")
@click.option("--confusion", type=named, metavar="FILE", help="Write what is taken for what: FILE.csv or FILE.png.")
@checkpoint_option
@click.option("--batch", type=click.IntRange(1, 65536), help="Views a forward pass; else the minibatch of training.")
@device_option
@format_option
def command(
    runs: tuple[str, ...],
    views: str | None,
    data: str | None,
    predictions: str | None,
    confusion: str | None,
    checkpoint: str | None,
    batch: int | None,
    device: str,
    form: str,
) -> int:
    """Test RUN on its test pictures. Several runs are averaged after the softmax, as are the ten views of a picture: its
    four corners and its centre, and their mirror images.

    \b
    convspec test runs/alexnet --views 10
    convspec test runs/a runs/b runs/c runs/d runs/e --views 10
    convspec test runs/alexnet --data flowers --confusion confusion.png

    A folder of class folders that is not the run's own is for testing as a whole, unless it holds train and val.
    """
    _require_suffix("--predictions", predictions, _PREDICTIONS)
    _require_suffix("--confusion", confusion, _CONFUSION)
    if predictions is not None and predictions == confusion:
        raise click.UsageError("--predictions and --confusion name one file: give each its own")
    if checkpoint is not None and len(runs) > 1:
        raise click.UsageError("--checkpoint names one of a single run: test that run alone")
    use_huge_pages()
    with extra("testing needs"):
        from convspec.cli.testing import Outputs, run_test
    return run_test(
        runs,
        views=None if views is None else int(views),
        data=data,
        outputs=Outputs(predictions, confusion),
        checkpoint=checkpoint,
        batch=batch,
        device=device,
        as_json=form == "json",
    )


def _require_suffix(option: str, file: str | None, suffixes: tuple[str, ...]) -> None:
    if file is not None and not file.lower().endswith(suffixes):
        raise click.UsageError(f"{option} writes {' or '.join(suffixes)}, by the end of the name, not {file}")
