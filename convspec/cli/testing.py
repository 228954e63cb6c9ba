"""What `convspec test` does once torch is known to be there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import click

from convspec.cli.guard import refuse_what_is_read
from convspec.cli.messages import STARTS_ANEW, interrupted_saying
from convspec.cli.tested import as_data, table
from convspec.cli.write import replacing
from convspec.diagnostics import Diagnostic
from convspec.train.confusion import Confusion
from convspec.train.display import as_line, open_display
from convspec.train.predictions import CsvPredictions, NpzPredictions, PredictionsFile
from convspec.train.testing import Test
from convspec.train.trained import open_trained


class Outputs(NamedTuple):
    """Files to write, if any."""

    predictions: str | None
    confusion: str | None


@interrupted_saying(STARTS_ANEW)
def run_test(
    runs: Sequence[str],
    *,
    views: int | None,
    data: str | None,
    outputs: Outputs,
    checkpoint: str | None,
    batch: int | None,
    device: str,
    as_json: bool,
) -> int:
    """Test, print and write; returns the exit code."""
    with ExitStack() as stack:
        display = open_display()
        stack.callback(display.close)

        def notify(diagnostic: Diagnostic) -> None:
            display.line(as_line(diagnostic))

        opened = [open_trained(run, device=device, checkpoint=checkpoint, notify=notify) for run in runs]
        test = stack.enter_context(Test(opened, views=views, data=data, batch=batch, notify=notify))
        for file in outputs:
            refuse_what_is_read(file, data, *(each.data for each in opened))
        # both files are begun before the first picture is read: what cannot be written is said at once
        predictions = None if outputs.predictions is None else _predictions(outputs.predictions, test, stack)
        write_confusion = None if outputs.confusion is None else _confusion(outputs.confusion, test, stack)
        result = test.run(
            must_confuse=write_confusion is not None,
            take=None if predictions is None else predictions.add,
            display=display,
        )
        if predictions is not None:
            predictions.close()
        if write_confusion is not None and result.confusion is not None:
            write_confusion(result.confusion)
    click.echo(json.dumps(as_data(result), indent=2, allow_nan=False) if as_json else table(result))
    return 0


def _predictions(path: str, test: Test, stack: ExitStack) -> PredictionsFile:
    kind = NpzPredictions if path.lower().endswith(".npz") else CsvPredictions
    classes = test.classes
    predictions = kind(stack.enter_context(replacing(path)), test.pictures, classes)
    stack.callback(predictions.discard)
    return predictions


def _confusion(path: str, test: Test, stack: ExitStack) -> Callable[[Confusion], None]:
    """Writes the counts to the file, once they are there. Raises DiagnosticError CS740 for more classes than a picture takes."""
    if path.lower().endswith(".csv"):
        test.require_classes()
        file = stack.enter_context(replacing(path))
        return lambda confusion: confusion.write_csv(file)
    from convspec.report.confusion import check_drawable, draw_confusion

    check_drawable(len(test.classes))
    picture = stack.enter_context(replacing(path))
    return lambda confusion: draw_confusion(confusion).save(picture, format="PNG")
