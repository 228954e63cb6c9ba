"""How a layer reads its inputs as maps."""

from __future__ import annotations

from convspec.diagnostics import joined
from convspec.layers.base import Context, Layer
from convspec.layers.origins import parting_labels, unlike_maps
from convspec.program.shape import Shape


def read_maps(
    layer: Layer, index: int, shape: Shape, channels: int | None, context: Context, *, channels_key: str = "channels"
) -> Shape | None:
    """Input `index` of a layer as maps: as it is, or a vector read as `channels` square maps.

    Reports CS402 where `channels` is given and differs, CS404 where the features do not divide so.
    """
    source = layer.input_names[index]
    if shape.is_map and channels in (None, shape.channels):
        return shape
    report = context.report
    if channels is None:
        unlike = unlike_maps(context, source)
        help = f"add channels= to {layer.name}, so that the vector is read as that many square maps"
        if unlike:
            help = f"{source} joins maps of one size to maps: make those of {joined(unlike)} alike"
        report.add(
            "CS404",
            layer.span("inputs"),
            f"{layer.name} needs maps, and {source} gives a vector of {shape.features}",
            labels=parting_labels(context, *unlike) if unlike else (),
            help=help,
        )
        return None
    maps = shape.as_square_maps(channels)
    if not shape.is_map and maps is not None:
        return maps
    if shape.is_map:
        report.add(
            "CS402",
            layer.span(channels_key),
            f"{layer.name} expects {channels} channels but {source} gives {shape}",
            help=f"write channels={shape.channels}, or leave channels out: it is inferred",
        )
    else:
        report.add(
            "CS404",
            layer.span(channels_key),
            f"{layer.name} reads {source} as {channels} maps, but {shape.features} features "
            f"are not {channels} squares: {shape.features} / {channels} = {shape.features / channels:g}",
            help=f"correct channels= of {layer.name}, or the size of {source}",
        )
    return None
