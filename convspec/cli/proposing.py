"""What `convspec plan --auto` prints and writes: schemes for several GPUs, and the best of them as a spec."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from convspec.checker import Checked
from convspec.cli.columns import aligned
from convspec.cli.planning import PlanReport
from convspec.cli.write import refuse_inputs, replace_text
from convspec.diagnostics import did_you_mean
from convspec.diagnostics.visible import visible
from convspec.plan.amounts import duration, mebibytes
from convspec.plan.proposal import Proposal, Replicas, Scheme, propose, replicas

_HEAD = """\
# {name} on {gpus} GPUs, {scheme}: proposed by convspec plan --auto {gpus}, with an ideal step of {step}
# (batch {batch}, {precision}){claim}.
"""
_SAME = ". It computes what the spec does that it was made from"
_OTHER = ". Most convolutions read the maps of their own GPU alone: another network than the spec that it was made from"
_WAYS = {
    Scheme.ONE: "all layers on GPU 0",
    Scheme.DATA: "every layer on each GPU, a slice of the minibatch on each",
    Scheme.TRICK: "convolutions on each GPU, a slice of the minibatch on each; fully-connected layers split",
    Scheme.SPLIT: "filters and outputs split, each part reads all of what is below",
    Scheme.TOWERS: "filters and outputs split, most convolutions read their own tower: another network",
}


def run_proposals(
    checked: Checked,
    gpus: int,
    target: str | None,
    towers: str | None,
    output: str | None,
    settings: Mapping[str, Any],
    *,
    as_json: bool,
) -> int:
    """Propose, print, and write where `output` names a file; returns the exit code."""
    if len(checked.totals.gpus) > 1:
        raise click.UsageError("this spec names its GPUs already: --auto is for one that does not")
    if target is not None:
        raise click.UsageError("--auto compares targets: leave --target out")
    rooms = settings["rooms"]
    if rooms and len(rooms) != gpus:
        raise click.UsageError(
            f"--devices gives {len(rooms)} {'amount' if len(rooms) == 1 else 'amounts'} for --auto {gpus}: write one for each GPU"
        )
    if output is not None:
        refuse_inputs(output, checked)
    proposals = propose(checked, gpus, towers=_crossing(checked, towers), **settings)
    best = _best(proposals, towers)
    if output is not None:
        replace_text(output, _header(checked, best, gpus) + best.text)
    if as_json:
        click.echo(json.dumps([_as_data(each, is_best=each is best) for each in proposals], indent=2))
    else:
        own = {name: value for name, value in settings.items() if name != "rooms"}
        as_it_is = _unplaced(checked, gpus, replicas(checked, gpus, **own))
        click.echo(_table(proposals, best, as_it_is, output), nl=False)
    return 1 if best.plan.fits is False else 0


def _best(proposals: Sequence[Proposal], towers: str | None) -> Proposal:
    """Towers where they were asked for, else the first."""
    asked = next((each for each in proposals if towers is not None and each.scheme is Scheme.TOWERS), None)
    return asked or proposals[0]


def _crossing(checked: Checked, towers: str | None) -> frozenset[str] | None:
    """The convolutions that read all towers. Raises UsageError for a name that is none."""
    if towers is None:
        return None
    convolutions = [layer.name for layer in checked.graph.layers.values() if layer.type == "conv"]
    names = [name.strip() for name in towers.split(",") if name.strip()]
    for name in names:
        if name not in convolutions:
            hint = did_you_mean(name, convolutions) or f"they are {', '.join(convolutions[:8]) or 'not there'}"
            raise click.UsageError(f"--towers names {name}, which is no conv layer: {hint}")
    return frozenset(names)


def _header(checked: Checked, best: Proposal, gpus: int) -> str:
    plan = best.plan
    file = checked.document.file.name.replace("\\", "/").rpartition("/")[2]
    return _HEAD.format(
        name=visible(checked.graph.net.network_name or file),
        gpus=gpus,
        scheme=best.scheme.value,
        step=duration(plan.time.seconds),
        batch=plan.batch,
        precision=plan.precision.name.lower(),
        claim=_OTHER if best.scheme is Scheme.TOWERS else _SAME,
    )


def _table(proposals: Sequence[Proposal], best: Proposal, as_it_is: str, output: str | None) -> str:
    rows = [("scheme", "ideal step", "bound by", "sent, all GPUs", "most memory", "fits")]
    for each in proposals:
        fits = {None: "", True: "yes", False: "no"}[each.plan.fits]
        most = max(share.memory.total for share in each.plan.shares)
        rows.append(
            (
                each.scheme.value,
                duration(each.plan.time.seconds),
                each.plan.time.bound,
                mebibytes(each.sent),
                mebibytes(most),
                fits,
            )
        )
    lines = [
        *aligned(rows, left=[0]),
        "",
        f"proposed: {best.scheme.value}: {_WAYS[best.scheme]}",
        _reason(proposals, best),
        as_it_is,
    ]
    if output is not None:
        lines.append(f"wrote {visible(output)}\nnext: convspec check {visible(output)}")
    return "\n".join(lines) + "\n"


def _unplaced(checked: Checked, gpus: int, found: Replicas) -> str:
    """What the spec gives as it is."""
    return (
        f"as it is, in {gpus} processes (torchrun --nproc-per-node {gpus} -m convspec train "
        f"{visible(checked.document.file.name)}):\na slice of each minibatch, {duration(found.seconds)} or more a step, "
        f"{mebibytes(found.sent)} sent, {mebibytes(found.memory.total)} on each GPU"
    )


def _reason(proposals: Sequence[Proposal], best: Proposal) -> str:
    """Why it and not the next best, or which was asked for."""
    others = [each for each in proposals if each is not best]
    if not others:
        return "nothing else can be said in the dialect of this spec"
    if best is not proposals[0]:
        return "towers were asked for"
    rival = others[0]
    if best.plan.fits is not False and rival.plan.fits is False:
        return f"{rival.scheme.value} does not fit"
    if not best.plan.time.seconds:
        return "nothing is computed"
    ratio = rival.plan.time.seconds / best.plan.time.seconds
    return (
        f"{rival.scheme.value} takes {ratio:.2f} times as long and sends {mebibytes(rival.sent)} "
        f"where this sends {mebibytes(best.sent)}"
    )


def _as_data(each: Proposal, *, is_best: bool) -> dict[str, object]:
    """For `--format json`; docs/json.md describes it."""
    return {
        "scheme": each.scheme.value,
        "proposed": is_best,
        "sent_bytes": each.sent,
        "text": each.text,
        "plan": PlanReport(each.checked, each.plan, each.rates).as_data(),
    }
