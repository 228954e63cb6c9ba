"""`--init RUN`: which layers start from another run, which do not and why; and that nothing else of it comes along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convspec.cli import main
from convspec.compiler import Compiled, compile_spec
from convspec.diagnostics import Diagnostic, DiagnosticError, Severity
from convspec.train.checkpoint import list_checkpoints
from convspec.train.display import SilentDisplay
from convspec.train.inherited import Inherited, inherit
from convspec.train.trainer import train
from tests.train.runs import weights

SPEC = """[@net]
name=Tiny
input=data:1x8x8
classes={classes}
[@params]
epsW=0.001
epsB=0.001
momW=0.9
momB=0.9
initW=0.01
[@train]
epochs=1
batch=500
seed={seed}
{train}
[@data]
provider=digits
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1a]
type=conv
inputs=data
filters=4
filterSize=3
gpu=0
{conv1a}
[conv1b]
type=conv
inputs=data
filters=4
filterSize=3
gpu=1
{more}
[fc2]
type=fc
inputs={inputs}
outputs=16
gpu=0
[norm2]
type=batchnorm
inputs=fc2
[fc3]
type=fc
inputs=norm2
outputs={classes}
{fc3}
[probs]
type=softmax
inputs=fc3
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""


def compiled(**given: object) -> Compiled:
    values = {
        "classes": 10,
        "seed": 0,
        "train": "",
        "conv1a": "",
        "more": "",
        "inputs": "conv1a,conv1b",
        "fc3": "",
    }
    return compile_spec(SPEC.format(**(values | given)))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "old"
    train(compiled(), run_dir=path, display=SilentDisplay())
    return path


def begin(folder: Path, run: Path, told: list[Diagnostic] | None = None, **given: object) -> dict[str, Tensor]:
    """The weights at the first step of a run that starts from another, with rates of 0 but for one layer."""
    network = compiled(**{"seed": 1, "train": f"init={run}"} | given)
    seen: dict[str, Tensor] = {}

    from convspec.train import loop

    real = loop.Training.restore

    def look(self: loop.Training, *arguments: object) -> None:
        real(self, *arguments)  # type: ignore[arg-type]
        seen.update({name: tensor.clone() for name, tensor in self.net.state_dict().items()})
        assert not any(buffer.any() for buffer in self.optimizer.momentum()[0].values())

    loop.Training.restore = look  # type: ignore[method-assign]
    try:
        train(
            network,
            run_dir=folder,
            display=SilentDisplay(),
            max_steps=1,
            notify=(told if told is not None else []).append,
        )
    finally:
        loop.Training.restore = real  # type: ignore[method-assign]
    return seen


def test_every_layer_that_is_the_same(run: Path, tmp_path: Path) -> None:
    told: list[Diagnostic] = []
    found, old = begin(tmp_path / "new", run, told), weights(run)
    assert set(found) == set(old)
    for name, tensor in old.items():
        assert torch.equal(found[name], tensor), name
    assert "norm2.running_mean" in old
    [note] = told
    assert (note.code, note.severity) == ("CS742", Severity.NOTE)
    assert note.message.startswith(f"5 of 5 layers start as they are in {run} (0001-00000003): conv1a, conv1b, fc2, ")
    assert "drawn" not in note.message


def test_layers_that_differ_are_drawn_as_without(run: Path, tmp_path: Path) -> None:
    told: list[Diagnostic] = []
    more = "[conv2]\ntype=conv\ninputs=conv1a\nfilters=4\nfilterSize=3\npadding=1\ngpu=0\n"
    given = {"classes": 12, "more": more, "inputs": "conv2,conv1b"}
    found, old = begin(tmp_path / "new", run, told, **given), weights(run)
    drawn = begin(tmp_path / "plain", run, train="", **given)
    for name, tensor in found.items():
        if name.startswith(("fc3.", "conv2.")):
            assert torch.equal(tensor, drawn[name]), name
        else:
            assert torch.equal(tensor, old[name]), name
    reasons = f"drawn: conv2 (not in {run}); fc3 (weight is 12x16 here, 10x16 there)"
    assert reasons in told[-1].message
    record = json.loads((tmp_path / "new" / "settings.json").read_bytes())["init"]
    assert record == {
        "run": str(run),
        "checkpoint": "0001-00000003",
        "taken": ["conv1a", "conv1b", "fc2", "norm2"],
        "drawn": {"conv2": f"not in {run}", "fc3": "weight is 12x16 here, 10x16 there"},
    }


def taken(network: Compiled) -> Inherited:
    found = inherit(network, lambda diagnostic: None)
    assert found is not None
    return found


def test_a_layer_is_taken_whole_or_not(run: Path) -> None:
    one = taken(compiled(train=f"init={run}", inputs="conv1a", more="[@net]\noutputs=conv1b\n"))
    assert one.drawn["fc2"] == "inputs are 1 here, 2 there"
    assert not [name for name in one.tensors if name.startswith("fc2")]
    more = taken(compiled(train=f"init={run}", conv1a="sharedBiases=0"))
    assert more.drawn == {"conv1a": "bias is 4x6x6 here, 4 there"}
    assert not [name for name in more.tensors if name.startswith("conv1a")]


def test_functions_of_the_spec_come_before(run: Path, tmp_path: Path) -> None:
    found = begin(tmp_path / "new", run, fc3="initBFunc=initw.makeb_vec(" + ",".join(map(str, range(10))) + ")")
    old = weights(run)
    assert found["fc3.bias"].tolist() == list(range(10))
    assert torch.equal(found["fc3.weight"], old["fc3.weight"])


def test_a_checkpoint_can_be_named(run: Path) -> None:
    [path] = list_checkpoints(run / "checkpoints")
    assert taken(compiled(train=f"init={path}")).checkpoint == path.name


def test_a_run_that_was_stopped_goes_on_without_the_other(run: Path, tmp_path: Path) -> None:
    """The first checkpoint is of the run itself; before it there is only the other run to begin from."""
    network = compiled(seed=1, train=f"init={run}\nepochs=2")
    whole = train(network, run_dir=tmp_path / "whole", display=SilentDisplay())
    train(network, run_dir=tmp_path / "new", display=SilentDisplay(), max_steps=1)
    hidden = run.rename(run.with_name("hidden"))
    try:
        train(network, resume=tmp_path / "new", display=SilentDisplay())
    finally:
        hidden.rename(run)
    assert whole.finished
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(tensor, weights(tmp_path / "new")[name]), name


def test_a_run_without_a_checkpoint_begins_from_the_other_again(run: Path, tmp_path: Path) -> None:
    network = compiled(seed=1, train=f"init={run}")
    train(network, run_dir=tmp_path / "new", display=SilentDisplay())
    after = weights(tmp_path / "new")
    for path in list_checkpoints(tmp_path / "new" / "checkpoints"):
        path.rename(tmp_path / path.name)
    train(network, resume=tmp_path / "new", display=SilentDisplay())
    for name, tensor in weights(tmp_path / "new").items():
        assert torch.equal(tensor, after[name]), name


@pytest.mark.parametrize(("name", "code"), [("nowhere", "CS719"), ("empty", "CS719"), ("other", "CS716")])
def test_what_cannot_be_started_from_leaves_no_run(
    name: str, code: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    spec = tmp_path / "new.cfg"
    spec.write_text(SPEC.format(classes=10, seed=0, train="", conv1a="", more="", inputs="conv1a,conv1b", fc3=""))
    if name == "other":
        text = spec.read_text()
        for layer in ("conv1a", "conv1b", "fc2", "norm2", "fc3"):
            text = text.replace(layer, f"{layer}x")
        train(compile_spec(text), run_dir=tmp_path / "other", display=SilentDisplay(), max_steps=1)
    arguments = ["train", str(spec), "--init", str(tmp_path / name), "--run", str(tmp_path / "new"), "--device", "cpu"]
    assert main(arguments) == (2 if code == "CS719" else 1)
    assert code in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_option(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "new.cfg"
    spec.write_text(SPEC.format(classes=10, seed=0, train="", conv1a="", more="", inputs="conv1a,conv1b", fc3=""))
    new = tmp_path / "new"
    assert main(["train", str(spec), "--init", str(run), "--run", str(new), "--steps", "1", "--device", "cpu"]) == 0
    assert f"note[CS742]: 5 of 5 layers start as they are in {run}" in capsys.readouterr().err
    assert f"init={run}\n" in (new / "resolved.cfg").read_text()
    with pytest.raises(DiagnosticError):
        inherit(compiled(train=f"init={tmp_path / 'none'}"), lambda diagnostic: None)
    assert main(["train", "--resume", str(new), "--init", str(run)]) == 2
    assert "--init begins a run" in capsys.readouterr().err
