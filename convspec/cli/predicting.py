"""What `convspec predict` does once torch and Pillow are known to be there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from io import BytesIO
from typing import NamedTuple

import click

from convspec.cli.guard import refuse_what_is_read
from convspec.cli.messages import STARTS_ANEW, interrupted_saying
from convspec.cli.pictures import Warned, class_number, drawn, picture_for_panel, refuse_pictures, write_panel
from convspec.data import Split
from convspec.data.dataset import Notify
from convspec.data.gallery import UNKNOWN, Gallery
from convspec.diagnostics.visible import visible
from convspec.report.panels import MOST_BARS, Guess, Guessed, draw_guesses
from convspec.train.galleries import files_named, pictures_in, with_data
from convspec.train.looking import Looker, class_title, likeliest
from convspec.train.trained import Trained, open_trained


class _Predicted(NamedTuple):
    """A picture, by its gallery and its place in it, and its likeliest classes with their probabilities."""

    gallery: Gallery
    place: int
    label: int
    classes: list[int]
    probabilities: list[float]


@interrupted_saying(STARTS_ANEW)
def run_prediction(
    run: str,
    images: Sequence[str],
    *,
    output: str | None,
    top: int,
    label: str | None,
    samples: int | None,
    data: str | None,
    views: int | None,
    checkpoint: str | None,
    device: str,
    as_json: bool,
) -> int:
    """Look at all pictures and print; returns the exit code, 1 where one could not be read."""
    warned = Warned()
    trained = open_trained(run, device=device, checkpoint=checkpoint, notify=warned)
    trained = with_data(trained, data, warned)
    looker = Looker(trained)
    number = UNKNOWN if label is None else class_number(trained, label)
    with ExitStack() as stack:
        galleries: list[Gallery] = []
        if images:
            galleries.append(files_named(trained, images, warned, label=number))
        if samples is not None:
            galleries.append(pictures_in(trained, data, Split.TEST, warned, most=samples))
        for gallery in galleries:
            stack.callback(gallery.close)
        refuse_what_is_read(output, data, trained.data)
        refuse_pictures(output, *galleries)
        found = _predicted(looker, galleries, views or trained.compiled.data.views, top)
        predictions = _print_json(trained, found) if as_json else _print(trained, found, top)
        if output is not None and predictions:
            if top > MOST_BARS:
                click.echo(f"the panel has the first {MOST_BARS} classes of each picture", err=True)
            cells = [_cell(trained, each) for each in drawn(predictions, "pictures")]
            write_panel(output, draw_guesses(cells))
    return 1 if "CS703" in warned.codes else 0


def draw_samples(trained: Trained, samples: int, notify: Notify) -> bytes:
    """A panel of so many test pictures of the run's data with their five likeliest classes, as PNG.

    Raises DiagnosticError where the data are not at hand, or the network does not tell classes.
    """
    with closing(pictures_in(trained, None, Split.TEST, notify, most=samples)) as gallery:
        cells = [_cell(trained, each) for each in _predicted(Looker(trained), [gallery], 1, 5)]
    picture = BytesIO()
    draw_guesses(cells).save(picture, format="PNG", optimize=True)
    return picture.getvalue()


def _predicted(looker: Looker, galleries: Sequence[Gallery], views: int, top: int) -> Iterator[_Predicted]:
    for gallery in galleries:
        for seen in looker.classify(gallery, views):
            for index, label, row in zip(seen.indices.tolist(), seen.labels.tolist(), seen.numbers, strict=True):
                ranked = likeliest(row, top)
                yield _Predicted(gallery, index, label, ranked.tolist(), row[ranked].tolist())


def _print(trained: Trained, found: Iterator[_Predicted], top: int) -> list[_Predicted]:
    """A paragraph a picture, as soon as it was looked at; a star before the true class. At the end how many were right."""
    all_found = []
    for each in found:
        all_found.append(each)
        title = each.gallery.name(each.place)
        known = "" if each.label == UNKNOWN else f": {class_title(trained, each.label)}"
        click.echo(visible(f"{title}{known}"))
        for number, probability in zip(each.classes, each.probabilities, strict=True):
            mark = "*" if number == each.label else " "
            click.echo(visible(f"  {mark} {probability:6.1%}  {class_title(trained, number)}"))
    told = [each for each in all_found if each.label != UNKNOWN]
    if len(told) > 1:
        first = sum(each.label == each.classes[0] for each in told)
        named = sum(each.label in each.classes for each in told)
        among = f", among the first {top} for {named}" if 1 < top == len(told[0].classes) else ""
        click.echo(f"the true class is first for {first} of {len(told)}{among}")
    return all_found


def _print_json(trained: Trained, found: Iterator[_Predicted]) -> list[_Predicted]:
    """One object, once all were looked at."""
    all_found = list(found)
    images = [
        {
            "image": each.gallery.name(each.place),
            "label": None if each.label == UNKNOWN else class_title(trained, each.label),
            "predictions": [
                {"class": class_title(trained, number), "probability": probability}
                for number, probability in zip(each.classes, each.probabilities, strict=True)
            ],
        }
        for each in all_found
    ]
    about = {"run": str(trained.run_dir), "checkpoint": trained.checkpoint, "images": images}
    click.echo(json.dumps(about, indent=2))
    return all_found


def _cell(trained: Trained, each: _Predicted) -> Guessed:
    return Guessed(
        picture_for_panel(each.gallery, each.place),
        None if each.label == UNKNOWN else class_title(trained, each.label),
        [
            Guess(class_title(trained, number), probability, number == each.label)
            for number, probability in zip(each.classes[:MOST_BARS], each.probabilities, strict=False)
        ],
    )
