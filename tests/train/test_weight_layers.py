"""A run of all layers with weights: stopped and gone on with, to the same bits, and without the file of its tree."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from convspec.compiler import compile_spec
from convspec.train.checkpoint import list_checkpoints, load_checkpoint
from convspec.train.trainer import train
from tests.emit.small_specs import layer

TREE = {"children": [[] for _ in range(10)] + [[0, 6, 8], [1, 4, 7, 9], [2, 3, 5], [10, 11, 12]], "root": 13}
TEXT = (
    "[@net]\ninput=data:1x8x8\nclasses=10\n[@train]\nbatch=32\nepochs=1\n[@data]\nprovider=digits\nmirror=0\n"
    "[@params]\ninitW=0.1\nepsW=0.01\nepsB=0.02\nmomW=0.9\nmomB=0.9\n"
    + layer("data", type="data", dataIdx=0)
    + layer("labels", type="data", dataIdx=1)
    + layer("conv1", type="conv", inputs="data", filters=4, filterSize="3x2", sharedBiases=0, neuron="relu")
    + layer("conv2", type="conv", inputs="conv1", filters=2, groups=2, randSparse=1, filterChannels=4, filterSize=3)
    + layer("local3", type="local", inputs="conv2", filters=2, filterSize=3, neuron="relu")
    + layer("local4", type="local", inputs="conv2", filters=2, filterSize=3, weightSource="local3")
    + layer("both", type="concat", inputs="local3,local4")
    + layer("split5", type="sfc", inputs="both", parts=2, outputs=8, neuron="relu")
    + layer("tree6", type="treefc", inputs="split5", tree="tree.json")
    + layer("probs", type="softmax", inputs="tree6")
    + layer("cost", type="cost.logreg", inputs="labels,probs", coeff=1)
)


def newest(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(list_checkpoints(run / "checkpoints")[-1]).weights)


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    spec, tree = tmp_path / "net.cfg", tmp_path / "tree.json"
    spec.write_text(TEXT)
    tree.write_text(json.dumps(TREE))
    compiled = compile_spec(spec)
    train(compiled, run_dir=tmp_path / "whole", max_steps=6)
    train(compiled, run_dir=tmp_path / "parts", max_steps=3)
    tree.unlink()
    again = compile_spec((tmp_path / "parts" / "resolved.cfg").read_text())
    first = newest(tmp_path / "parts")
    train(again, resume=tmp_path / "parts", max_steps=6)
    whole, parts = newest(tmp_path / "whole"), newest(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    moved = {name for name in first if not torch.equal(first[name], parts[name])}
    assert moved == set(first) - {"conv2.connections"}
    assert "local4.weight" not in first
    assert sorted(first["conv2.connections"].tolist()) == [0, 0, 1, 1, 2, 2, 3, 3]
