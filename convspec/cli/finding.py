"""What `convspec similar` does once torch and Pillow are known to be there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from convspec.cli.guard import refuse_what_is_read
from convspec.cli.messages import STARTS_ANEW, counted, interrupted_saying
from convspec.cli.pictures import Progress, Warned, drawn, picture_for_panel, refuse_pictures, write_panel
from convspec.data import Split
from convspec.data.gallery import Gallery
from convspec.diagnostics.visible import visible
from convspec.report.panels import MOST_FOUND, Found, draw_neighbours
from convspec.train.code_search import CodeFigures
from convspec.train.codes import LEAST_ROWS
from convspec.train.features import FOLDER, Features, features_of
from convspec.train.galleries import files_named, pictures_in, with_data
from convspec.train.looking import Looker, open_with_layers
from convspec.train.similar import Answer, Finder, Hit, is_alike
from convspec.train.trained import Trained


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, where, and how: the arguments of the command."""

    queries: Sequence[str]
    samples: int | None
    among: str | None
    data: str | None
    layer: str | None
    top: int
    codes: int | None
    cache: str | None


@interrupted_saying(STARTS_ANEW)
def run_search(
    run: str, search: Search, *, output: str | None, checkpoint: str | None, device: str, as_json: bool
) -> int:
    """Search and print; returns the exit code, 1 where a query could not be read."""
    warned, skipped = Warned(), Warned()
    trained, layers = open_with_layers(run, search.layer, device=device, checkpoint=checkpoint, notify=warned)
    trained = with_data(trained, search.data, warned)
    looker = Looker(trained)
    with ExitStack() as stack:
        gallery = pictures_in(trained, search.among or search.data, Split.TRAIN, warned, takes_other_classes=True)
        stack.callback(gallery.close)
        queries = _query_galleries(trained, search, skipped)
        for each in queries:
            stack.callback(each.close)
        folder = trained.run_dir / FOLDER if search.cache is None else Path(search.cache)
        refuse_what_is_read(output, search.data, search.among, trained.data, search.cache)
        refuse_pictures(output, gallery, *queries)
        with Progress() as progress:
            features = stack.enter_context(
                features_of(looker, gallery, layers, folder=folder, notify=warned, advance=progress)
            )
        finder = _finder(gallery, features, search)
        answers: list[Answer] = []
        for each in queries:
            with features_of(looker, each, layers, notify=skipped) as asked:
                answers += finder.answers(each, asked)
        show = _print_json if as_json else _print
        show(trained, layers, features, gallery, answers, finder.figures)
        if output is not None and answers:
            if search.top > MOST_FOUND:
                click.echo(f"the panel has the first {MOST_FOUND} pictures for each query", err=True)
            rows = [_row(answer) for answer in drawn(answers, "queries")]
            write_panel(output, draw_neighbours(rows))
    return 1 if "CS703" in skipped.codes else 0


def _query_galleries(trained: Trained, search: Search, notify: Warned) -> list[Gallery]:
    found: list[Gallery] = []
    if search.queries:
        found.append(files_named(trained, search.queries, notify))
    if search.samples is not None:
        found.append(pictures_in(trained, search.data, Split.TEST, notify, most=search.samples))
    return found


def _finder(gallery: Gallery, features: Features, search: Search) -> Finder:
    if search.codes is not None:
        if len(features.places) < LEAST_ROWS:
            found = counted(len(features.places), "picture")
            raise click.UsageError(f"codes are learned from {LEAST_ROWS} pictures or more, and there are {found}")
        click.echo(f"learning codes of {counted(search.codes, 'bit')}", err=True)
    return Finder(gallery, features, search.top, search.codes)


def _print(
    trained: Trained,
    layers: Sequence[str],
    features: Features,
    gallery: Gallery,
    answers: Sequence[Answer],
    figures: CodeFigures | None,
) -> None:
    """A paragraph a query; a star before a picture of its class. Then where, by what, and how well."""
    for query, hits in answers:
        click.echo(visible(_titled(query)))
        for hit in hits:
            distance = f"{counted(int(hit.distance), 'bit'):>9}" if figures else f"{hit.distance:9.4g}"
            mark = "*" if is_alike(query, hit) else " "
            click.echo(visible(f"  {mark} {distance}  {_titled(hit)}"))
    numbers = counted(features.rows.shape[1], "feature")
    click.echo(
        visible(f"by {', '.join(layers)}, {numbers}, among {counted(len(features.rows), 'picture')} of {gallery.title}")
    )
    told = [is_alike(query, hit) for query, hits in answers if query.class_name is not None for hit in hits]
    if told:
        click.echo(f"{sum(told)} of {len(told)} are of the class of their query")
    if figures is not None:
        click.echo(_code_lines(figures))


def _code_lines(figures: CodeFigures) -> str:
    return (
        f"{figures.bits}-bit codes, looked for {counted(figures.queries, 'picture')} that they were not learned from:\n"
        f"  recall@{figures.k} against exact search {figures.recall:.1%}; "
        f"among the first {figures.short_list} {figures.short_list_recall:.1%}\n"
        f"  a query takes {1e3 * figures.code_seconds:.3f} ms, exact search {1e3 * figures.exact_seconds:.3f} ms; "
        f"a picture {figures.code_bytes:,} bytes in place of {figures.exact_bytes:,}"
    )


def _print_json(
    trained: Trained,
    layers: Sequence[str],
    features: Features,
    gallery: Gallery,
    answers: Sequence[Answer],
    figures: CodeFigures | None,
) -> None:
    queries = [
        {**_named(query), "nearest": [{**_named(hit), "distance": hit.distance} for hit in hits]}
        for query, hits in answers
    ]
    about: dict[str, Any] = {
        "run": str(trained.run_dir),
        "checkpoint": trained.checkpoint,
        "layers": list(layers),
        "features": features.rows.shape[1],
        "in": gallery.title,
        "pictures": len(features.rows),
        "queries": queries,
        "codes": None if figures is None else asdict(figures),
    }
    click.echo(json.dumps(about, indent=2))


def _named(hit: Hit) -> dict[str, Any]:
    return {
        "image": hit.gallery.name(hit.place),
        "label": hit.class_name,
    }


def _titled(hit: Hit) -> str:
    label = "" if hit.class_name is None else f": {hit.class_name}"
    return f"{hit.gallery.name(hit.place)}{label}"


def _row(answer: Answer) -> tuple[Found, list[Found]]:
    query, hits = answer
    return _found(query, is_alike=False), [_found(hit, is_alike=is_alike(query, hit)) for hit in hits[:MOST_FOUND]]


def _found(hit: Hit, *, is_alike: bool) -> Found:
    caption = Path(hit.gallery.name(hit.place)).name if hit.class_name is None else hit.class_name
    return Found(picture_for_panel(hit.gallery, hit.place), caption, is_alike)
