"""A layer type of someone else's package: one class and an entry point, and no word of it in convspec."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PACKAGE = '''
"""Every second pixel."""

from convspec.layers.base import Inference, Layer
from convspec.layers.keys import integer
from convspec.program.shape import Shape


class EverySecond(Layer):
    """Keeps one pixel of `step` on each axis."""

    type = "everysecond"

    step = integer("step", default=2, minimum=1, doc="pixels from one to the next")

    def infer(self, inputs, context):
        channels, height, width = inputs[0].dims
        return Inference(Shape.of_maps(channels, -(-height // self.step), -(-width // self.step)))

    def lower(self, builder, inputs, output):
        raise NotImplementedError
'''

PROGRAM = """
import json, sys
from convspec.checker import check
from convspec.layers import layer_types

checked = check(sys.argv[1])
json.dump(
    {
        "types": layer_types(),
        "codes": [d.code for d in checked.diagnostics],
        "shapes": [row.shape for row in checked.layers],
    },
    sys.stdout,
)
"""

SPEC = """
[@net]
input=data:3x9x9
outputs=small

[data]
type=data
dataIdx=0

[small]
type=everysecond
inputs=data
step={}
"""


def install(folder: Path, entry: str) -> None:
    """A distribution as pip leaves it: the module, and its metadata beside it."""
    (folder / "someones_layers.py").write_text(PACKAGE)
    metadata = folder / "someones_layers-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-layers\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[convspec.layers]\neverysecond = {entry}\n")


def run(folder: Path, spec: str) -> subprocess.CompletedProcess[str]:
    paths = [str(folder), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", PROGRAM, spec]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=folder)


def test_layer_type_of_another_package(tmp_path: Path) -> None:
    install(tmp_path, "someones_layers:EverySecond")

    result = run(tmp_path, SPEC.format(2))

    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert "everysecond" in found["types"]
    assert found["codes"] == []
    assert found["shapes"] == [[3, 9, 9], [3, 5, 5]]


def test_its_keys_are_checked_as_those_of_ours(tmp_path: Path) -> None:
    install(tmp_path, "someones_layers:EverySecond")
    assert json.loads(run(tmp_path, SPEC.format(0)).stdout)["codes"] == ["CS205"]


def test_without_the_package_the_type_is_unknown(tmp_path: Path) -> None:
    found = json.loads(run(tmp_path, SPEC.format(2)).stdout)
    assert found["codes"] == ["CS202"]
    assert "everysecond" not in found["types"]


def test_entry_point_that_is_no_layer_is_an_error_of_its_package(tmp_path: Path) -> None:
    install(tmp_path, "someones_layers:Shape")
    assert (
        "entry point everysecond of group convspec.layers is not a subclass of Layer"
        in run(tmp_path, SPEC.format(2)).stderr
    )
