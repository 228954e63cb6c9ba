"""What `convspec filters` does once torch and Pillow are known to be there."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from convspec.cli.messages import print_diagnostics
from convspec.cli.write import replace_file
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.report.filters import draw_filters, first_banks
from convspec.train.checkpoint import load_newest


def draw_run_filters(run: Path, layers: Mapping[str, int], target: Path, *, scale: int) -> None:
    """Write the picture of the newest good checkpoint. Raises DiagnosticError CS101 or CS708."""
    checkpoint = load_newest(run / "checkpoints", lambda diagnostic: print_diagnostics([diagnostic]))
    if checkpoint is None:
        raise DiagnosticError(
            Diagnostic("CS708", f"{run} has no checkpoint yet", help=f"go on with convspec train ... --resume {run}")
        )
    weights = {name: tensor.float().numpy() for name, tensor in checkpoint.weights.items()}
    picture = BytesIO()
    draw_filters(first_banks(weights, layers), scale).save(picture, format="PNG")
    replace_file(str(target), picture.getvalue(), help="name a file with -o")
