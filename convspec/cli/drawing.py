"""What `convspec filters` does once torch and Pillow are known to be there."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from convspec.checker import Checked
from convspec.cli.guard import refuse_what_is_read
from convspec.cli.messages import STARTS_ANEW, interrupted_saying, print_diagnostics
from convspec.cli.write import replace_file
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.layers.conv import Conv
from convspec.layers.data import Data
from convspec.report.filters import draw_filters, first_banks
from convspec.train.saved import SPEC, SavedRun, read_run


@interrupted_saying(STARTS_ANEW)
def draw_run_filters(run: str, target: Path, *, scale: int | None, checkpoint: str | None = None) -> None:
    """Write the picture of a checkpoint, else of the newest good one. Raises DiagnosticError CS101, CS708 or CS719."""
    refuse_what_is_read(str(target))
    saved = read_run(run, checkpoint=checkpoint, notify=lambda diagnostic: print_diagnostics([diagnostic]))
    picture = filters_picture(saved, scale)
    if picture is None:
        message = f"no convolution of {run} reads the images, so there are no kernels to draw"
        raise DiagnosticError(Diagnostic("CS708", message))
    replace_file(str(target), picture, help="name a file with -o")


def filters_picture(saved: SavedRun, scale: int | None = None) -> bytes | None:
    """The kernels as PNG; None where no convolution reads the images. Raises DiagnosticError CS709 where the spec was edited
    so that the weights are not those of its convolutions."""
    layers = image_layers(saved.checked)
    if not layers:
        return None
    held = saved.checkpoint.weights
    weights = {name: held[name].float().numpy() for layer in layers if (name := f"{layer}.weight") in held}
    for layer in layers:
        if f"{layer}.weight" not in weights or weights[f"{layer}.weight"].ndim != 4:
            message = f"the weights of {saved.path} are not those of the network in its {SPEC}: {layer} has no kernels"
            help = f"undo what was changed in {saved.path / SPEC} since the run began"
            raise DiagnosticError(Diagnostic("CS709", message, help=help))
    picture = BytesIO()
    draw_filters(first_banks(weights, layers), scale).save(picture, format="PNG")
    return picture.getvalue()


def image_layers(checked: Checked) -> dict[str, int]:
    """Convolutions that read images alone, by name, with their first GPU."""
    found = {}
    for layer in checked.graph.layers.values():
        sources = [checked.graph.layers[name] for name in layer.input_names]
        if (
            isinstance(layer, Conv)
            and [s.data_index for s in sources if isinstance(s, Data)] == [0]
            and len(sources) == 1
        ):
            found[layer.name] = checked.placement[layer.name][0]
    return found
