"""The network as a table for people. Plain text: `check` loads no library for it."""

from __future__ import annotations

from convspec.checker import Checked
from convspec.cli.columns import aligned
from convspec.diagnostics.style import Style, painted
from convspec.graph.summary import LayerSummary, Load

_HEADINGS = ("layer", "type", "reads", "window", "output", "parameters", "multiply-adds", "gpu")
_WORDS = (0, 1, 2, 3, 4, 7)
_MEBIBYTE = 2**20
# Of networks deeper than this, the line of neurons has so many numbers at either end.
_DEEP, _ENDS = 20, 3


def network_table(checked: Checked, *, color: bool) -> str:
    """A row a layer, then the totals of each GPU, the neurons of the layers that learn, and the spec's own note."""
    headings, rows = layer_rows(checked)
    head, *lines = aligned([headings, *rows], left=_WORDS)
    return "\n".join([painted(head, Style.STRONG, color=color), *lines, "", _totals(checked)])


def layer_rows(checked: Checked) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings, and a row a layer in the order of the file."""
    return _HEADINGS, [_row(row) for row in checked.layers]


def _row(row: LayerSummary) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.type} {row.neuron}".rstrip(),
        ", ".join(row.inputs),
        row.window,
        "x".join(map(str, row.shape or ())),
        f"{row.weights + row.biases:,}" if row.weights or row.shares else "",
        f"{row.macs:,}" if row.macs else "",
        ",".join(map(str, row.gpus)),
    )


def _totals(checked: Checked) -> str:
    totals = checked.totals
    loads = {f"GPU {gpu}": load for gpu, load in totals.gpus.items()} if len(totals.gpus) > 1 else {}
    loads["network"] = totals.network
    lines = [_load(name, load, totals.batch) for name, load in loads.items()]
    counts = [f"{count:,}" for count in neurons(checked)]
    if len(counts) > _DEEP:
        counts[_ENDS:-_ENDS] = ["..."]
    if counts:
        lines.append(f"neurons  {'-'.join(counts)}, in the layers that learn")
    shared = [pair for row in checked.layers for pair in row.shares]
    if shared:
        lines.append(f"shared   weights {', '.join(shared)}, counted once")
    if not checked.graph.dialect.is_ours:
        lines.append(f"dialect  {checked.graph.dialect.name}, the language of {checked.graph.dialect.program}")
    if checked.graph.net.note:
        lines.append(f"note     {' '.join(checked.graph.net.note.split())}")
    return "\n".join(lines) + "\n"


def _load(name: str, load: Load, batch: int) -> str:
    return (
        f"{name:<7}  {load.parameters:,} parameters, {load.macs:,} multiply-adds an image; "
        f"weights {_mebibytes(load.parameter_bytes)}, momentum {_mebibytes(load.optimizer_bytes)}, "
        f"activations of {batch} images {_mebibytes(load.activation_bytes)}"
    )


def _mebibytes(count: int) -> str:
    return f"{count / _MEBIBYTE:,.1f} MiB"


def neurons(checked: Checked) -> list[int]:
    """Outputs of the layers that learn, summed over layers of equal depth: the numbers under figure 2 of the paper."""
    depths: dict[str, int] = {}
    sums: dict[int, int] = {}
    rows = {row.name: row for row in checked.layers}
    for layer in checked.graph.order:
        row = rows[layer.name]
        below = max((depths[name] for name in layer.input_names if name in depths), default=0)
        makes_neurons = bool(row.weights or row.shares) and not layer.only_rescales
        depths[layer.name] = below + makes_neurons
        if makes_neurons:
            sums[depths[layer.name]] = sums.get(depths[layer.name], 0) + (row.outputs or 0)
    return [sums[depth] for depth in sorted(sums)]
