"""Whatever stands in the files of a run, going on with it ends in diagnostics or in a run, never in a traceback.

Files that a hand has changed and given the right digests are worse than those that rotted: digests find the latter, and a run
that goes on in spite of them goes on to the bits of an undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from torch import Tensor

from convspec.cli.reporting import page_of
from convspec.compiler import compile_spec
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.diagnostics.render import Format, render
from convspec.report.page import draw_page
from convspec.train.checkpoint import list_checkpoints
from convspec.train.display import SilentDisplay
from convspec.train.trained import open_trained
from convspec.train.trainer import train
from convspec.train.trainings import Trainings
from tests.train.runs import assert_same_run, metrics, weights
from tests.train.small_runs import write_folder

CASES = int(os.environ.get("CONVSPEC_SPOILT_RUNS", "12"))

SPEC = """[@net]
name=Tiny
input=data:3x8x8
classes=6
[@params]
epsW=0.001
epsB=0.001
momW=0.9
momB=0.9
[@train]
epochs=3
batch=5
schedule=plateau
plateauPatience=1
checkpointEvery=2
[@data]
provider=folder
path={path}
size=11
colorNoise=0.1
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
filters=4
filterSize=3
neuron=relu
initW=0.02
updatePeriod=2
[fc2]
type=fc
inputs=conv1
outputs=6
initW=0.02
dropout=0.5
[probs]
type=softmax
inputs=fc2
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""
MOST_STEPS, STOPPED_AT = 13, 7
"""In the second epoch of four steps, with checkpoints of steps 6 and 7. All three epochs take 12, which is not known of a
spec that was spoilt."""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 7, 100, 2**31, 2**53, 2**63, 10**40, -0.5, 0.0, 0.5, 1e300, -1e300, 1e-320]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.sampled_from(["", "7", "step", "\ud800", "\x1b[2J", "../../x", "a" * 300, "\0"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "best", "epoch"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(compile_spec(SPEC.format(path=data)), run_dir=folder, display=SilentDisplay())
    return folder


@pytest.fixture(scope="module")
def part(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that was stopped on the way."""
    folder = tmp_path_factory.mktemp("runs") / "part"
    train(compile_spec(SPEC.format(path=data)), run_dir=folder, max_steps=STOPPED_AT, display=SilentDisplay())
    return folder


class Told(list[Diagnostic]):
    """What was said of a run, and that it can be shown. refused: the last of it was an error that ended the reading."""

    refused = False

    def show(self) -> None:
        for form in Format:
            render(self, form, color=False).encode("utf-8")


def resume(run: Path, notify: Notify) -> None:
    train(compile_spec(run / "resolved.cfg"), resume=run, max_steps=MOST_STEPS, display=SilentDisplay(), notify=notify)


def look(run: Path, notify: Notify) -> None:
    open_trained(run, device="cpu", notify=notify).inputs(4)


def report(run: Path, notify: Notify) -> None:
    draw_page(page_of(run, samples=2, notify=notify))


def go_on_among_others(run: Path, notify: Notify) -> None:
    """As compare and ablate do."""
    trainings = Trainings(run.parent, None, "cpu", notify, lambda name: SilentDisplay(), max_steps=MOST_STEPS)
    trainings.carry_out(run.name, compile_spec(run / "resolved.cfg"))


READERS = (resume, look, report, go_on_among_others)


def told_by(reader: Callable[[Path, Notify], None], run: Path) -> Told:
    told = Told()
    try:
        reader(run, told.append)
    except DiagnosticError as error:
        told += error.diagnostics
        told.refused = True
    told.show()
    return told


@pytest.fixture
def run(part: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(part, tmp_path / "run"))


def newest(run: Path) -> Path:
    return list_checkpoints(run / "checkpoints")[-1]


def sign(checkpoint: Path, document: Any) -> None:
    """Write a state.json whose digests are right, as far as it has any."""
    if isinstance(document, dict) and isinstance(document.get("sha256"), dict):
        state = json.dumps(document.get("state"), sort_keys=True, separators=(",", ":")).encode()
        document["sha256"]["state"] = hashlib.sha256(state).hexdigest()
        for file in checkpoint.glob("*.safetensors"):
            document["sha256"][file.stem] = hashlib.sha256(file.read_bytes()).hexdigest()
    (checkpoint / "state.json").write_text(json.dumps(document))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of everything in a JSON value, as keys and indices from the outside in."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


@st.composite
def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which something is another, or is gone, or is there besides."""
    value = json.loads(json.dumps(value))
    *outer, last = draw(st.sampled_from(places(value)[1:]))
    holder = value
    for key in outer:
        holder = holder[key]
    match draw(st.sampled_from(["replace", "replace", "replace", "remove", "empty", "add"])):
        case "remove":
            del holder[last]
        case "empty":
            holder[last] = type(holder[last])()
        case "add" if isinstance(holder, list):
            holder.append(draw(VALUES))
        case _:
            holder[last] = draw(VALUES)
    return value


def forge_state(draw: st.DataObject, run: Path) -> None:
    document = json.loads((newest(run) / "state.json").read_bytes())
    document["state"] = draw.draw(spoilt(document["state"]))
    sign(newest(run), document)


def forge_checkpoint(draw: st.DataObject, run: Path) -> None:
    document = json.loads((newest(run) / "state.json").read_bytes())
    (newest(run) / "state.json").write_text(json.dumps(draw.draw(spoilt(document))))


def forge_tensors(draw: st.DataObject, run: Path) -> None:
    """The header of a safetensors file: its length in eight bytes, then names, types, shapes and places as JSON."""
    file = newest(run) / draw.draw(st.sampled_from(["weights.safetensors", "training.safetensors"]))
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(draw.draw(spoilt(json.loads(content[8:end])))).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
    sign(newest(run), json.loads((newest(run) / "state.json").read_bytes()))


def forge_settings(draw: st.DataObject, run: Path) -> None:
    file = run / "settings.json"
    file.write_text(json.dumps(draw.draw(spoilt(json.loads(file.read_bytes())))))


def forge_metrics(draw: st.DataObject, run: Path) -> None:
    file = run / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    at = draw.draw(st.integers(0, len(lines) - 1))
    match draw.draw(st.sampled_from(["record", "cut", "garbage", "lost"])):
        case "record":
            lines[at] = json.dumps(draw.draw(spoilt(json.loads(lines[at])))).encode() + b"\n"
        case "cut":
            lines[at:] = [lines[at][: draw.draw(st.integers(0, len(lines[at]) - 1))]]
        case "garbage":
            lines.insert(at, draw.draw(st.binary(max_size=20)) + b"\n")
        case _:
            del lines[at:]
    file.write_bytes(b"".join(lines))


def forge_spec(draw: st.DataObject, run: Path) -> None:
    file = run / "resolved.cfg"
    lines = file.read_text().splitlines(keepends=True)
    at, other = draw.draw(st.integers(0, len(lines) - 1)), draw.draw(st.integers(0, len(lines) - 1))
    match draw.draw(st.sampled_from(["remove", "swap", "double", "cut", "value"])):
        case "remove":
            del lines[at]
        case "swap":
            lines[at], lines[other] = lines[other], lines[at]
        case "double":
            lines.insert(other, lines[at])
        case "cut":
            lines[at:] = [lines[at][: draw.draw(st.integers(0, len(lines[at]) - 1))]]
        case _:
            key, _, _ = lines[at].partition("=")
            lines[at] = f"{key}={draw.draw(st.sampled_from(['', '0', '1', '2', '-1', 'x', '1e9', 'nan']))}\n"
    file.write_text("".join(lines))


FORGERIES = (forge_state, forge_checkpoint, forge_tensors, forge_settings, forge_metrics, forge_spec)


@pytest.mark.parametrize("forge", FORGERIES)
@settings(max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_no_file_of_a_run_brings_about_a_traceback(
    forge: Callable[[st.DataObject, Path], None],
    draw: st.DataObject,
    part: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    run = Path(shutil.copytree(part, tmp_path_factory.mktemp("spoilt") / "run"))
    forge(draw, run)
    told = told_by(draw.draw(st.sampled_from(READERS)), run)
    event(", ".join(diagnostic.code for diagnostic in told) or "nothing said")


@settings(max_examples=CASES, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_a_checkpoint_that_is_passed_over_costs_the_work_since_the_one_before(
    draw: st.DataObject, part: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Path(shutil.copytree(part, tmp_path_factory.mktemp("spoilt") / "run"))
    draw.draw(st.sampled_from([forge_state, forge_checkpoint, forge_tensors]))(draw, run)
    told = told_by(resume, run)
    if not told.refused and any(diagnostic.code == "CS708" for diagnostic in told):
        event("passed over")
        assert_same_run(whole, run)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("momentum/conv1.weight", lambda tensor: tensor[:1], r"conv1\.weight is 1x3x3x3 .* and not 4x3x3x3"),
        (
            "momentum/fc2.bias",
            lambda tensor: tensor.int(),
            r"fc2\.bias is 6 of torch\.int32, and not 6 of torch\.float32",
        ),
        ("learning/sum/conv1.weight", lambda tensor: tensor[:2], r"conv1\.weight is 2x3x3x3 .* and not 4x3x3x3"),
        ("rng/cpu", lambda tensor: tensor[:9], "of the random generators"),
        ("rng/cpu", lambda tensor: tensor.float(), "random generators"),
        ("mean", lambda tensor: tensor[:4], "its mean is 4x8x3 .* and not 8x8x3"),
        ("mean", lambda tensor: tensor.double(), r"its mean is .* of torch\.float64"),
        ("color_pca/deviations", lambda tensor: tensor[:2], "color_pca/deviations is 2 .* and not 3"),
    ],
)
def test_tensors_of_another_network_are_named(
    run: Path, name: str, change: Callable[[Tensor], Tensor], says: str
) -> None:
    file = newest(run) / "training.safetensors"
    tensors = safetensors.torch.load(file.read_bytes())
    safetensors.torch.save_file({**tensors, name: change(tensors[name]).contiguous()}, file)
    sign(newest(run), json.loads((newest(run) / "state.json").read_bytes()))
    told = told_by(resume, run)
    assert [diagnostic.code for diagnostic in told] == ["CS709"]
    assert re.search(says, told[0].message)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("epoch", 4, "it stands at step 3 of epoch 5, of 4 and 3"),
        ("epoch", 3, "of epoch 4"),
        ("step_in_epoch", 5, "it stands at step 5"),
        ("epoch_sums", [1.0, 2.0], "2 sums of the epoch, and this network 3"),
        ("epoch_sums", [0.0, 0.0, 0.0], "counts no picture"),
        ("plateau", {"best": None, "stalled": 0, "dropped": 4, "is_finished": False}, "divided 4 times"),
    ],
)
def test_a_state_of_another_run_is_named(run: Path, key: str, value: Any, says: str) -> None:
    document = json.loads((newest(run) / "state.json").read_bytes())
    document["state"][key] = value
    sign(newest(run), document)
    told = told_by(resume, run)
    assert [diagnostic.code for diagnostic in told] == ["CS709"]
    assert says in told[0].message


def test_what_another_version_lacks_is_named_wherever_it_is_needed(run: Path) -> None:
    document = json.loads((newest(run) / "state.json").read_bytes())
    del document["state"]["finished"]
    sign(newest(run), document)
    for reader in (resume, go_on_among_others):
        told = told_by(reader, run)
        assert [diagnostic.code for diagnostic in told] == ["CS708"]
        assert "does not tell its finished" in told[0].message
    assert not told_by(report, run).refused


def test_records_that_were_lost_are_said_and_the_weights_are_the_same(run: Path, whole: Path) -> None:
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:9])
    told = told_by(resume, run)
    assert [(diagnostic.code, diagnostic.severity) for diagnostic in told] == [("CS708", Severity.WARNING)]
    assert f"has 3 whole lines, and the checkpoint counts {len(lines)}" in told[0].message
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(run).items())
    assert metrics(run) == [*metrics(whole)[:3], *metrics(whole)[len(lines) :]]
