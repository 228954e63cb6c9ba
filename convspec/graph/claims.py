"""`expect=55x55x96`: what an author says of a size, held against what it is."""

from __future__ import annotations

from convspec.diagnostics import Label
from convspec.layers.base import Context, Inference, Layer
from convspec.layers.origins import parting_labels, unlike_maps, way_notes
from convspec.program.shape import Shape

OVERRIDE = "--set "


class Claims:
    """Verifies the claims of layers in graph order, and says of a wrong size only where it begins to be wrong."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._doubtful: set[str] = set()

    def _is_held(self, layer: Layer) -> bool:
        """Whether a claim is to be verified. Those of files are about the network as the files have it."""
        return self._context.is_as_written or layer.span("expect").file.name.startswith(OVERRIDE)

    def verify(self, layer: Layer, inference: Inference) -> bool:
        """Whether there is a claim, and it is right. Report CS416 for one that is wrong, unless one above was.

        A claim is height x width x channels, the order of the paper; or one number, the outputs of a case.
        """
        claim = layer.expect
        if claim is not None and not self._is_held(layer):
            claim = None
        is_below_doubt = any(name in self._doubtful for name in layer.input_names)
        if claim is not None and _agrees(claim, inference.shape):
            return True
        if claim is not None and not is_below_doubt:
            self._report(layer, claim, inference)
        if claim is not None or is_below_doubt:
            self._doubtful.add(layer.name)
        return False

    def is_of_another_kind(self, layer: Layer, inference: Inference) -> bool:
        """Whether maps were claimed and there are none: what reads them as maps is not to say so again."""
        return self._is_held(layer) and len(layer.expect or ()) > 1 and not inference.shape.is_map

    def _report(self, layer: Layer, claim: tuple[int, ...], inference: Inference) -> None:
        shape = inference.shape
        entry = "x".join(map(str, claim))
        written = _as_claimed(shape)
        labels = [Label(layer.header, f"{written} here")]
        if len(claim) not in (1, 3):
            message = f"expect of {layer.name} is {entry}; a size is height x width x channels, or one number"
            help = f"write expect={written}"
        elif claim == shape.dims:
            message = f"expect of {layer.name} is {entry}, channels first; it is height x width x channels, as papers write it"
            help = f"write expect={written}"
        else:
            unlike = unlike_maps(self._context, layer.name) if len(claim) > 1 else None
            formula = f": {inference.window}" if inference.window else ""
            help = f"correct {layer.name}, or write expect={written}"
            if unlike:
                sizes = (f"{name} {self._context.known[name].shape}" for name in unlike)
                formula = f": it joins no maps of two sizes, {' and '.join(sizes)}"
                labels += parting_labels(self._context, *unlike)
            message = f"{layer.name} gives {written}, not {entry}{formula}"
        notes = way_notes(self._context, layer.input_names[0]) if layer.input_names else []
        self._context.report.add("CS416", layer.span("expect"), message, labels=labels, notes=notes, help=help)


def _agrees(claim: tuple[int, ...], shape: Shape) -> bool:
    if len(claim) == 1:
        return claim == (shape.features,)
    return claim == ((shape.height, shape.width, shape.channels) if shape.is_map else (1, 1, shape.features))


def _as_claimed(shape: Shape) -> str:
    """`55x55x96` for 96 maps of 55x55; the number of features of a vector."""
    return f"{shape.height}x{shape.width}x{shape.channels}" if shape.is_map else f"{shape.features}"
