"""Running statistics in training: a run that is resumed, moved to another placement, or cannot have a variance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convspec.compiler import Compiled, compile_spec
from convspec.data import Split
from convspec.diagnostics import DiagnosticError
from convspec.train.display import SilentDisplay
from convspec.train.preparation import open_data
from convspec.train.trainer import train
from tests.train.runs import metrics, weights
from tests.train.test_emitted import compiled_apart

SPEC = (
    """
[@net]
name=Normed
input=data:1x13x13
classes=10
[@train]
batch=64
epochs=3
schedule=spec
checkpointEvery=7
[@data]
provider=digits
mirror=0
[@params]
initW=0.1
epsW=0.05
epsB=0.05
momW=0.9
momB=0.9
wc=0.0005
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
"""
    + "".join(
        f"[conv{tower}]\ntype=conv\ninputs=data\nfilters=4\nfilterSize=3\ngpu={gpu}\n"
        f"[bn{tower}]\ntype=batchnorm\ninputs=conv{tower}\nneuron=relu\n"
        for gpu, tower in enumerate("ab")
    )
    + """
[fc]
type=fc
inputs=bna,bnb
outputs=10
gpu=0
[norm]
type=batchnorm
inputs=fc
[probs]
type=softmax
inputs=norm
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""
)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "normed.cfg").write_text(SPEC)
    return tmp_path / "normed.cfg"


def go(compiled: Compiled, **options: Any) -> None:
    train(compiled, display=SilentDisplay(), **options)


def test_goes_on_to_the_bit(spec: Path, tmp_path: Path) -> None:
    """Weights, statistics, losses and validation errors, from a stop in the middle of an epoch."""
    compiled = compile_spec(spec)
    go(compiled, run_dir=tmp_path / "whole")
    go(compiled, run_dir=tmp_path / "part", max_steps=40)
    part = weights(tmp_path / "part")
    assert part["bna.num_batches_tracked"] == 40
    assert part["bna.running_mean"].abs().max() > 0.05
    assert not torch.equal(part["bna.running_mean"], part["bnb.running_mean"])
    go(compiled, resume=tmp_path / "part")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "part")
    whole, part = weights(tmp_path / "whole"), weights(tmp_path / "part")
    assert whole.keys() == part.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, part[name]), name


def test_losing_the_statistics_is_seen(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broken twin of the test above: parameters alone come back."""
    compiled = compile_spec(spec)
    go(compiled, run_dir=tmp_path / "whole")
    go(compiled, run_dir=tmp_path / "part", max_steps=40)
    load = nn.Module.load_state_dict

    def load_parameters(module: nn.Module, state: dict[str, Tensor], **options: Any) -> Any:
        fresh = {name: value for name, value in module.state_dict().items() if ".running_" in name}
        return load(module, {**state, **fresh}, **options)

    monkeypatch.setattr(nn.Module, "load_state_dict", load_parameters)
    go(compiled, resume=tmp_path / "part")
    assert metrics(tmp_path / "whole") != metrics(tmp_path / "part")


def test_goes_on_under_another_placement(spec: Path, tmp_path: Path) -> None:
    merged, apart = compile_spec(spec), compiled_apart(spec)
    assert len(merged.program.buffers) < len(apart.program.buffers)
    go(merged, run_dir=tmp_path / "whole", max_steps=20)
    go(merged, run_dir=tmp_path / "part", max_steps=10)
    go(apart, resume=tmp_path / "part", max_steps=20)
    whole, part = weights(tmp_path / "whole"), weights(tmp_path / "part")
    assert whole.keys() == part.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(part[name], tensor, rtol=1e-3, atol=1e-4)


def test_learns(spec: Path, tmp_path: Path) -> None:
    result = train(compile_spec(spec), run_dir=tmp_path / "run", display=SilentDisplay())
    assert result.validation is not None
    assert result.validation.error < 0.2


@pytest.mark.parametrize(("batch", "code"), [(1, "CS715.*each minibatch has 1 image.*norm"), (2, None)])
def test_a_minibatch_of_one(spec: Path, tmp_path: Path, batch: int, code: str | None) -> None:
    compiled = compile_spec(spec, overrides=[f"@train.batch={batch}"])
    if code is None:
        go(compiled, run_dir=tmp_path / "run", max_steps=1)
        return
    with pytest.raises(DiagnosticError, match=code) as caught:
        go(compiled, run_dir=tmp_path / "run")
    assert caught.value.diagnostics[0].help == "write batch=2 under [@train]"
    assert not (tmp_path / "run").exists()


def test_a_last_minibatch_of_one(spec: Path, tmp_path: Path) -> None:
    """The digits have a number of training images that some minibatch divides but for one image."""
    dataset = open_data(compile_spec(spec), None, lambda diagnostic: None)
    images = dataset.count(Split.TRAIN)
    dataset.close()
    batch = next(size for size in range(2, images) if images % size == 1)
    with pytest.raises(DiagnosticError, match=f"CS715.*last minibatch of {images} images has 1 image"):
        go(compile_spec(spec, overrides=[f"@train.batch={batch}"]), run_dir=tmp_path / "run")
