"""Old batches as the trainer meets them: a run on them goes on to the same bits, an old net meets its own mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from convspec.cli import main
from convspec.compiler import compile_spec
from convspec.data import Batch
from convspec.program.moves import Input
from convspec.program.program import Program
from convspec.program.shape import Shape
from convspec.train.checkpoint import list_checkpoints, load_checkpoint
from convspec.train.imported import import_checkpoint
from convspec.train.inputs import InputTensors
from convspec.train.trainer import train
from tests.data import hostile
from tests.data.batch_files import BIG, NAMES, SIDE, cases, write_jpegs, write_matrices
from tests.data.python2 import dumps
from tests.train.old_nets import Net

NET = """
[@net]
input=data:3x6x6
classes=4
[@train]
batch=4
epochs=3
[@data]
provider=cifar
path={path}
train=1-2
test=3
[@params]
epsW=0.001
epsB=0.001
momW=0.9
momB=0.9
initW=0.001
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[fc4]
type=fc
inputs=data
outputs=4
[probs]
type=softmax
inputs=fc4
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(list_checkpoints(run / "checkpoints")[-1]).weights)


def test_a_run_on_batches_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    compiled = compile_spec(NET.format(path=write_matrices(tmp_path / "set", "column")))
    train(compiled, run_dir=tmp_path / "whole")
    train(compiled, run_dir=tmp_path / "parts", max_steps=4)
    result = train(compiled, resume=tmp_path / "parts")
    assert (result.steps, result.finished) == (9, True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_run_on_jpeg_batches_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    text = NET.format(path=write_jpegs(tmp_path / "set")).replace("provider=cifar", "provider=jpeg")
    compiled = compile_spec(text.replace("train=1-2\ntest=3\n", ""))
    train(compiled, run_dir=tmp_path / "whole")
    train(compiled, run_dir=tmp_path / "parts", max_steps=3)
    train(compiled, resume=tmp_path / "parts")
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_both_layouts_train_to_the_same_bits(tmp_path: Path) -> None:
    found = []
    for layout in ("python", "column"):
        root = write_matrices(tmp_path / layout, layout)
        (root / "batches.meta").write_bytes(dumps({"label_names": NAMES}))
        text = NET.format(path=root).replace("test=3\n", "" if layout == "python" else "test=3\n")
        train(compile_spec(text), run_dir=tmp_path / f"run-{layout}")
        found.append(weights(tmp_path / f"run-{layout}"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("layout", ["python", "column"])
def test_the_command_recognises_a_folder_of_batches(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, spec = write_matrices(tmp_path / "set", layout), tmp_path / "net.cfg"
    text = NET.format(path="nowhere").replace("provider=cifar\npath=nowhere\ntrain=1-2\ntest=3\n", "")
    spec.write_text(text)
    run = tmp_path / "run"
    assert main(["train", str(spec), "--data", str(root), "--run", str(run)]) == 0
    assert "9 steps, 3 epochs" in capsys.readouterr().out
    settings = json.loads((run / "settings.json").read_text())
    assert (settings["data"], settings["classes"], settings["train_pictures"]) == (str(root), NAMES, 12)


@pytest.mark.parametrize(
    ("spoil", "code", "exit_code"),
    [("data_batch_1", "CS720", 1), ("batches.meta", "CS720", 1), ("", "CS701", 2)],
)
def test_mistakes_at_the_command_line(
    spoil: str, code: str, exit_code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, spec = write_matrices(tmp_path / "set", "column"), tmp_path / "net.cfg"
    spec.write_text(NET.format(path=root if spoil else tmp_path / "nowhere"))
    if spoil:
        (root / spoil).write_bytes((root / spoil).read_bytes()[:-20])
    assert main(["train", str(spec), "--run", str(tmp_path / "run")]) == exit_code
    assert code in capsys.readouterr().err


def test_nothing_that_a_batch_names_is_run(tmp_path: Path) -> None:
    root, spec, sentinel = write_matrices(tmp_path / "set", "column"), tmp_path / "net.cfg", tmp_path / "executed"
    spec.write_text(NET.format(path=root))
    for name, data in hostile.executing(str(sentinel)).items():
        for file in ("batches.meta", "data_batch_1"):
            kept = (root / file).read_bytes()
            (root / file).write_bytes(data)
            assert (name, main(["train", str(spec), "--run", str(tmp_path / "run")])) == (name, 1)
            (root / file).write_bytes(kept)
            assert not sentinel.exists()


def test_an_old_net_meets_the_mean_it_was_trained_with(tmp_path: Path) -> None:
    net = Net("ccn2")
    net.data("data", 0, 3 * 6 * 6)
    net.data("labels", 1, 1)
    net.conv("conv1", ["data"], filters=4, gpu=[0], neuron="relu")
    net.fc("fc4", ["conv1"], 4)
    net.same("probs", ["fc4"], "softmax")
    net.cost("logprob", ["labels", "probs"])
    options = {"train_batch_range": [1, 2], "test_batch_range": [3], "dp_type": "cifar", "num_epochs": 3}
    path = net.save(tmp_path / "1.2", 1, 2, **options)
    run = import_checkpoint(path, tmp_path / "run").run_dir
    text = (run / "spec.cfg").read_text()
    assert "[@data]\nprovider=cifar\ntrain=1-2\ntest=3\n" in text
    own = np.arange(3 * SIDE * SIDE, dtype=np.float32).reshape(-1, 1)
    root = write_matrices(tmp_path / "set", "column")
    (root / "batches.meta").write_bytes(dumps({"label_names": NAMES, "data_mean": own}))
    train(compile_spec(str(run / "resolved.cfg")), resume=run, data=str(root), max_steps=2)
    mean = load_checkpoint(list_checkpoints(run / "checkpoints")[-1]).training["mean"]
    wanted = own.reshape(3, SIDE, SIDE)[:, 1:7, 1:7].transpose(1, 2, 0)
    np.testing.assert_array_equal(mean.numpy(), wanted)


def test_several_labels_are_each_one(tmp_path: Path) -> None:
    """Rows of 0 and 1 for a data layer that reads as many numbers as there are classes, or more."""
    inputs = (
        Input(name="data", inputs=(), shape=Shape.of_maps(3, BIG, BIG), layers=("data",), data_index=0),
        Input(name="tags", inputs=(), shape=Shape.of_vector(6), layers=("tags",), data_index=2),
    )
    program = Program("tags", inputs, (), ())
    tensors = InputTensors(program, np.zeros((BIG, BIG, 3), np.float32), torch.device("cpu"), 2)
    images = np.zeros((2, BIG, BIG, 3), np.uint8)
    given: dict[str, Any] = {"images": images, "labels": np.array([1, 3])}
    sets = np.array([[1, 1, 0, 0], [0, 0, 0, 1]], np.uint8)
    assert tensors(Batch(**given, sets=sets))[0]["tags"].tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]]
    assert tensors(Batch(**given))[0]["tags"].tolist() == [[0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]]


def test_the_pictures_reach_the_network_in_their_channels(tmp_path: Path) -> None:
    """Planes of red, green and blue, in this order: as `data` has them, row by row."""
    root = write_matrices(tmp_path / "set", "column")
    text = NET.format(path=root).replace("3x6x6", "3x8x8")
    program = compile_spec(text).program
    tensors = InputTensors(program, np.zeros((SIDE, SIDE, 3), np.float32), torch.device("cpu"), 6)
    images, labels = cases(3)
    given = tensors(Batch(images, np.array(labels)))[0]["data"]
    np.testing.assert_array_equal(given.flatten(1).numpy(), images.transpose(0, 3, 1, 2).reshape(6, -1))
