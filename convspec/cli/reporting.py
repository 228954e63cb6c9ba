"""What `convspec report` does once torch and Pillow are known to be there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from convspec.checker import Checked, check
from convspec.cli.drawing import filters_picture
from convspec.cli.messages import print_diagnostics
from convspec.cli.predicting import draw_samples
from convspec.cli.table import layer_rows
from convspec.cli.write import replace_text
from convspec.data.batches import steps_of
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.report.curves import draw_curves
from convspec.report.network import draw_network
from convspec.report.page import Listing, Page, Picture, Section, Table, draw_page
from convspec.report.run_charts import charts_of, weights_table
from convspec.train.checkpoint import BrokenCheckpoint, Checkpoint, list_checkpoints, load_checkpoint, newest_state
from convspec.train.metrics import Record, read_metrics
from convspec.train.run import check_is_run
from convspec.train.run_settings import read_settings
from convspec.train.saved import SPEC, SavedRun, read_run
from convspec.train.trained import open_saved

T = TypeVar("T")

_MEBIBYTE = 2**20


def write_report(run: str, target: Path, *, samples: int) -> None:
    """Write the page. What the run cannot show, because it has no checkpoint yet or its data are away, is said and left out.

    Raises DiagnosticError: CS719 where there is no such run, CS708 where its files are broken, CS101 where the page cannot
    be written.
    """
    replace_text(str(target), draw_page(page_of(Path(run), samples=samples, notify=_print)))


def _print(diagnostic: Diagnostic) -> None:
    print_diagnostics([diagnostic])


def page_of(run: Path, *, samples: int, notify: Notify) -> Page:
    """samples: test pictures to show with guesses. notify: is told what is left out."""
    check_is_run(run)
    settings, records = read_settings(run), read_metrics(run)
    checked = check(run / SPEC).require_ok()
    saved = _read(run, notify)
    name, data = str(settings.get("name") or run.name), settings.get("data")
    state = newest_state(run / "checkpoints")
    sections = [
        _curves(settings, records, checked, Path(data).name if data else "its data"),
        _guesses(saved, samples, notify) if samples and data else None,
        _filters(saved, notify),
        _weights(records),
        _checkpoints(run, saved.checkpoint if isinstance(saved, SavedRun) else None),
        _network(checked),
        _files(run),
    ]
    title = f"{name} on {Path(data).name}" if data else name
    facts = list(_facts(run, settings, records, checked, state))
    return Page(title, facts, [section for section in sections if section is not None])


def _facts(
    run: Path,
    settings: Mapping[str, Any],
    records: Sequence[Record],
    checked: Checked,
    state: Mapping[str, Any] | None,
) -> Iterator[tuple[str, str]]:
    options = checked.graph.train
    if state is None:
        yield "stands", "before its first checkpoint"
    else:
        ending = "finished" if state.get("finished") else "not finished"
        yield "stands", f"{state['step']:,} steps, {state['epoch']} of {options.epochs} epochs: {ending}"
    tests = [record["test"] for record in records if record["event"] == "validation"]
    if tests:
        yield "last test", _result(tests[-1])
        best = min(tests, key=_score)
        yield "best test", _result(best)
    if settings.get("train_pictures"):
        pictures = f"{settings['train_pictures']:,} for training, {settings['test_pictures']:,} for tests"
        yield "pictures", f"{pictures}, {len(settings.get('classes') or ())} classes"
    yield "network", f"{checked.totals.network.parameters:,} parameters, {checked.totals.network.macs:,} multiply-adds"
    yield "learning", f"minibatches of {options.batch}, {options.precision}, seed {options.seed}"
    yield from _machine(records, state)
    yield "folder", str(run.resolve())


def _machine(records: Sequence[Record], state: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """How fast, in how much memory, on what."""
    walls = [record["wall"] for record in records if record["event"] == "step"]
    if walls:
        speed = median(wall["images_per_second"] or 0.0 for wall in walls)
        yield "speed", f"{speed:,.0f} images/s, the median of {len(walls):,} recorded steps"
        waited = sum(wall.get("data_wait") or 0.0 for wall in walls)
        yield "waited for pictures", f"{waited:,.1f} s in all"
        memory = max(wall.get("memory") or 0 for wall in walls)
        if memory:
            yield "memory", f"{memory / _MEBIBYTE:,.0f} MiB at most"
    if state is not None:
        made = state.get("made_with") or {}
        yield "machine", f"{made.get('device')}, {made.get('threads')} threads, torch {made.get('torch')}"


def _result(test: Mapping[str, Any]) -> str:
    """The errors of the cost that steers, or its loss."""
    parts = [f"error {test['error']:.1%}"] if test.get("error") is not None else []
    costs = test["costs"].values()
    parts += [f"top-{cost['k']} error {cost['topk_error']:.1%}" for cost in costs if cost.get("topk_error") is not None]
    losses = ", ".join(f"{name} {cost['loss']:.4f}" for name, cost in test["costs"].items() if cost["loss"] is not None)
    return ", ".join([*parts, losses])


def _score(test: Mapping[str, Any]) -> float:
    found = test.get("error")
    if found is None:
        found = next(iter(test["costs"].values()))["loss"]
    return float("inf") if found is None else float(found)


def _curves(settings: Mapping[str, Any], records: Sequence[Record], checked: Checked, data: str) -> Section | None:
    if not settings.get("train_pictures"):
        return None
    steps = steps_of(settings["train_pictures"], checked.graph.train.batch)
    charts = list(charts_of(records, steps, data))
    if not charts:
        return None
    note = "Training curves are running means over one epoch: they lag behind the network by half of one."
    return Section("Curves", [Picture(draw_curves(chart), chart.title) for chart in charts], note)


def _read(run: Path, notify: Notify) -> SavedRun | DiagnosticError:
    """The run with its newest checkpoint, read once for all that shows it; or why there is none."""
    try:
        return read_run(run, notify=notify)
    except DiagnosticError as error:
        return error


def _guesses(saved: SavedRun | DiagnosticError, samples: int, notify: Notify) -> Section | None:
    def draw(saved: SavedRun) -> bytes:
        return draw_samples(open_saved(saved, device="cpu", notify=notify), samples, notify)

    panel = _if_it_can(draw, saved, "the guesses", notify)
    if panel is None:
        return None
    note = f"{samples} test pictures, evenly spaced, with the five likeliest classes: a red bar is the true one."
    return Section("What it takes pictures for", [Picture(panel, "test pictures with bars for guesses")], note)


def _filters(saved: SavedRun | DiagnosticError, notify: Notify) -> Section | None:
    picture = _if_it_can(filters_picture, saved, "the kernels", notify)
    if picture is None:
        return None
    note = "The kernels of the layers that read the pictures, a band a GPU."
    return Section("Kernels of the first layer", [Picture(picture, "kernels of the first layer")], note)


def _weights(records: Sequence[Record]) -> Section | None:
    table = weights_table(records)
    note = "Sizes of weights and of their steps when they were measured last: means over the numbers of a parameter."
    return None if table is None else Section("Weights and their steps", [table], note)


def _checkpoints(run: Path, newest: Checkpoint | None) -> Section | None:
    """newest: that is whole, as it has been read already."""
    found = [_checkpoint(path, newest) for path in reversed(list_checkpoints(run / "checkpoints"))]
    rows = [row for row in found if row is not None]
    if not rows:
        return None
    headings = ("checkpoint", "epochs", "steps", "best error so far", "MiB", "state")
    table = Table(headings, rows, frozenset(headings[1:5]))
    note = (
        f"convspec train --resume {run} goes on from the newest; convspec test {run} --checkpoint NAME tests another."
    )
    return Section("Checkpoints", [table], note)


def _checkpoint(path: Path, newest: Checkpoint | None) -> tuple[str, ...] | None:
    """A row; None where the run, which goes on beside this, has removed it."""
    try:
        state = (newest if newest is not None and newest.name == path.name else load_checkpoint(path)).state
        size = sum(file.stat().st_size for file in path.iterdir()) / _MEBIBYTE
    except (BrokenCheckpoint, FileNotFoundError) as error:
        return (path.name, "", "", "", "", f"cannot be used: {error}") if path.exists() else None
    best = state.get("best_error")
    shown = "" if best is None else f"{best:.4g}"
    return (path.name, str(state["epoch"]), f"{state['step']:,}", shown, f"{size:,.1f}", "whole")


def _network(checked: Checked) -> Section:
    headings, rows = layer_rows(checked)
    table = Table(headings, rows, frozenset({"parameters", "multiply-adds"}))
    return Section("Network", [Picture(draw_network(checked), "the network, layer by layer"), table])


def _files(run: Path) -> Section:
    texts = {"spec.cfg": "the spec as it was written", SPEC: "with all defaults", "model.py": "the PyTorch module"}
    found = [
        Listing(f"{name}: {what}", (run / name).read_text(encoding="utf-8", errors="replace"))
        for name, what in texts.items()
        if (run / name).is_file()
    ]
    return Section("Spec and module", found)


def _if_it_can(draw: Callable[[SavedRun], T], saved: SavedRun | DiagnosticError, what: str, notify: Notify) -> T | None:
    """What is drawn; None, and a word of it, where the run has not what that takes."""
    try:
        if isinstance(saved, DiagnosticError):
            raise saved
        return draw(saved)
    except DiagnosticError as error:
        for diagnostic in error.diagnostics:
            message = f"the page goes without {what}: {diagnostic.message}"
            notify(Diagnostic(diagnostic.code, message, help=diagnostic.help, severity=Severity.NOTE))
        return None
