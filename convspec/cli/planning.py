"""What `convspec plan` prints, and what its options mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from convspec.checker import Checked
from convspec.cli.columns import aligned
from convspec.diagnostics import did_you_mean
from convspec.diagnostics.visible import visible
from convspec.passes.pipeline import Target
from convspec.plan.amounts import decimal, duration, mebibytes
from convspec.plan.plan import Plan, Reduced, Share, places_of, program_for
from convspec.plan.rates import CARDS, Rates
from convspec.plan.recorder import Precision
from convspec.program.crossings import Crossing


def choose_target(checked: Checked, named: str | None, rooms: Sequence[int]) -> Target:
    """The target that was named, else `spmd` for a spec of several GPUs and `folded` for others. Raises UsageError where
    there are not as many devices as it uses."""
    target = Target(named) if named else Target.SPMD if len(checked.totals.gpus) > 1 else Target.FOLDED
    places = places_of(program_for(checked, target), target) if rooms else ()
    if len(rooms) == 1 and len(places) > 1 and named is None:
        return Target.FOLDED
    if rooms and len(rooms) != len(places):
        wanted = f"GPU {', '.join(map(str, places))}" if len(places) > 1 else "one GPU"
        raise click.UsageError(
            f"--devices gives {len(rooms)} {'amount' if len(rooms) == 1 else 'amounts'}, and target {target.value} of this "
            f"spec uses {wanted}: write {','.join(['80GB'] * len(places))}"
        )
    return target


def choose_rooms(devices: Sequence[int], card: str | None, count: Callable[[], int]) -> Sequence[int]:
    """Bytes of each GPU: as they were given, or what a card that was named has; none where neither was. count: of GPUs."""
    return devices or ([] if card is None else [CARDS[card].memory] * count())


def choose_rates(
    name: str | None, precision: Precision, compute: float | None, memory: float | None, link: float | None
) -> Rates:
    """The rates of a card, an h100 unless one is named, each over which another was given. Raises UsageError for one that is
    unknown or cannot."""
    name = name or "h100"
    card = CARDS.get(name)
    if card is None:
        hint = did_you_mean(name, CARDS) or f"cards are {', '.join(CARDS)}"
        raise click.UsageError(f"there is no card '{name}': {hint}; --compute, --memory and --link describe any other")
    rates = card.rates(precision)
    if rates is None and compute is None:
        raise click.UsageError(
            f"a {name} does not compute in {precision.name.lower()}: name another --card, or --compute"
        )
    return Rates(compute or (rates.compute if rates else 0.0), memory or card.bandwidth, link or card.link)


class PlanReport:
    """A plan, to be printed."""

    def __init__(self, checked: Checked, plan: Plan, rates: Rates) -> None:
        self.checked, self.plan, self.rates = checked, plan, rates

    def text(self) -> str:
        parts = [self._head(), self._memory(), self._work()]
        if len(self.plan.shares) > 1:
            parts.append(self._crossings())
        parts.append(self._time())
        if self.plan.largest_batch is not None:
            parts.append(self._verdict())
        return "\n".join(parts)

    def as_data(self) -> dict[str, object]:
        """For `--format json`; docs/json.md describes it."""
        plan, width = self.plan, self.plan.precision.value
        return {
            "spec": self.checked.document.file.name,
            "target": plan.target.value,
            "batch": plan.batch,
            "precision": plan.precision.name.lower(),
            "gpus": [self._share_as_data(share) for share in plan.shares],
            "crossings": [_crossing_as_data(each, plan.batch, width) for each in plan.crossings],
            "reductions": [
                {
                    "parameter": each.parameter,
                    "gpus": list(each.gpus),
                    "bytes": each.size,
                    "bytes_a_gpu": each.bytes_a_gpu,
                }
                for each in plan.reduced
            ],
            "rates": {"compute": self.rates.compute, "memory": self.rates.memory, "link": self.rates.link},
            "time": {"seconds": plan.time.seconds, "bound": plan.time.bound},
            "fits": plan.fits,
            "largest_batch": plan.largest_batch,
        }

    def _share_as_data(self, share: Share) -> dict[str, object]:
        memory, busy = share.memory, self.plan.time.gpus[self._clock_of(share)]
        return {
            "gpu": share.gpu,
            "parameters": share.parameters,
            "macs": share.macs,
            "weight_bytes": memory.weights,
            "momentum_bytes": memory.momentum,
            "input_bytes": memory.inputs,
            "gradient_bytes": memory.gradients,
            "activation_bytes": memory.saved,
            "peak": {
                "bytes": memory.peak.size,
                "gradient_bytes": memory.peak.gradients,
                "activation_bytes": memory.peak.saved,
                "transient_bytes": memory.peak.transient,
                "operator": memory.peak.operator,
                "pass": "backward" if memory.peak.is_backward else "forward",
            },
            "total_bytes": memory.total,
            "device_bytes": share.room,
            "fits": share.fits,
            "seconds": {
                "arithmetic": busy.compute,
                "memory": busy.memory,
                "waiting": busy.waiting,
                "link": busy.sending,
            },
        }

    def _clock_of(self, share: Share) -> int:
        """A folded program keeps the indices that its operators had, or none."""
        return share.gpu if share.gpu in self.plan.time.gpus else min(self.plan.time.gpus)

    def _head(self) -> str:
        plan = self.plan
        name = visible(self.checked.document.file.name)
        return f"{name}, target {plan.target.value}, batch {plan.batch}, {plan.precision.name.lower()}\n"

    def _memory(self) -> str:
        rows = [("memory of a step", *(f"GPU {share.gpu}" for share in self.plan.shares))]
        for name, field in (("weights", "weights"), ("momentum", "momentum"), ("pictures and labels", "inputs")):
            rows.append((name, *(mebibytes(getattr(share.memory, field)) for share in self.plan.shares)))
        rows.append(("gradients, at the peak", *(mebibytes(s.memory.peak.gradients) for s in self.plan.shares)))
        rows.append(("activations kept, at the peak", *(mebibytes(s.memory.peak.saved) for s in self.plan.shares)))
        rows.append(("in use for the moment", *(mebibytes(s.memory.peak.transient) for s in self.plan.shares)))
        rows.append(("all", *(mebibytes(share.memory.total) for share in self.plan.shares)))
        peaks = [
            f"GPU {share.gpu} has its peak in the {'backward' if share.memory.peak.is_backward else 'forward'} pass of "
            f"{visible(' | '.join(share.peak_layers[-1:]))}; activations kept when the backward pass begins: "
            f"{mebibytes(share.memory.saved)}"
            for share in self.plan.shares
        ]
        return _table(rows) + "\n".join(peaks) + "\n"

    def _work(self) -> str:
        rows = [("work of a step", *(f"GPU {share.gpu}" for share in self.plan.shares))]
        rows.append(("parameters", *(f"{share.parameters:,}" for share in self.plan.shares)))
        rows.append(("multiply-adds forward", *(f"{share.macs:,}" for share in self.plan.shares)))
        busy = [self.plan.time.gpus[self._clock_of(share)] for share in self.plan.shares]
        rows.append(("bound by arithmetic", *(duration(each.compute) for each in busy)))
        rows.append(("bound by memory", *(duration(each.memory) for each in busy)))
        if len(busy) > 1:
            rows.append(("waiting", *(duration(each.waiting) for each in busy)))
            rows.append(("link in use", *(duration(each.sending) for each in busy)))
        return _table(rows)

    def _crossings(self) -> str:
        plan, width = self.plan, self.plan.precision.value
        rows = [("crossing", "size", "from", "to", "forward", "backward", "read by")]
        for each in plan.crossings:
            there, back = each.bytes_forward(width) * plan.batch, each.bytes_backward(width) * plan.batch
            rows.append(
                (
                    visible(" | ".join(each.layers[-1:])),
                    f"{each.shape}" + (f" of 1/{1 / each.share:g}" if each.share < 1 else ""),
                    str(each.source),
                    str(each.target),
                    mebibytes(there),
                    mebibytes(back),
                    visible(", ".join(each.readers)),
                )
            )
        lines = _table(rows, left=(0, 6)) if plan.crossings else "no value crosses\n"
        forward = sum(each.bytes_forward(width) for each in plan.crossings) * plan.batch
        backward = sum(each.bytes_backward(width) for each in plan.crossings) * plan.batch
        lines += f"values that cross: {mebibytes(forward)} forward, {mebibytes(backward)} backward\n"
        return lines + _reductions(plan.reduced)

    def _time(self) -> str:
        rates, time = self.rates, self.plan.time
        if not time.seconds:
            return "nothing is computed\n"
        speed = f"{self.plan.batch / time.seconds:,.0f} images/s"
        return (
            f"ideal step: {duration(time.seconds)}, {speed}, bound by {time.bound}\n"
            f"at {decimal(rates.compute, 'FLOP/s')}, memory of {decimal(rates.memory, 'B/s')}"
            + (f", links of {decimal(rates.link, 'B/s')} each way" if len(self.plan.shares) > 1 else "")
            + "; nothing runs faster\n"
        )

    def _verdict(self) -> str:
        lines = []
        for share in self.plan.shares:
            room = share.room or 0
            name = f"GPU {share.gpu}"
            if share.fits:
                lines.append(f"{name} fits: {mebibytes(share.memory.total)} of {mebibytes(room)}")
            else:
                more = mebibytes(share.memory.total - room)
                lines.append(
                    f"{name} does not fit: {mebibytes(share.memory.total)}, {more} more than {mebibytes(room)}"
                )
        most = self.plan.largest_batch
        lines.append(f"largest batch that fits: {most}" if most else "not even a batch of 1 fits")
        return "\n".join(lines) + "\n"


def _crossing_as_data(each: Crossing, batch: int, width: int) -> dict[str, object]:
    return {
        "value": each.value,
        "layers": list(each.layers),
        "shape": list(each.shape.dims),
        "share": each.share,
        "source": each.source,
        "target": each.target,
        "readers": list(each.readers),
        "forward_bytes": each.bytes_forward(width) * batch,
        "backward_bytes": each.bytes_backward(width) * batch,
    }


def _reductions(reduced: Sequence[Reduced]) -> str:
    if not reduced:
        return ""
    size, sent = sum(each.size for each in reduced), sum(each.bytes_a_gpu for each in reduced)
    return f"gradients that GPUs add up: {mebibytes(size)}, for which each sends and gets {mebibytes(sent)}\n"


def _table(rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    return "".join(f"{line}\n" for line in aligned(rows, left=left))
