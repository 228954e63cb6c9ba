"""Runs on several processes beside runs on one: equal parameters, momenta, losses and scores, and checkpoints that each of
them takes up from any other."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from convspec.compiler import compile_spec
from convspec.launch import Launch
from convspec.passes.pipeline import Target
from convspec.train.checkpoint import Checkpoint, list_checkpoints, load_newest
from convspec.train.display import SilentDisplay
from convspec.train.joining import join
from convspec.train.ranks import Ranks
from convspec.train.trainer import train
from tests.distributed.processes import outcomes, together
from tests.emit.small_specs import layer

NET = """[@net]
name=Talking
input=data:1x16x16
classes=10
[@train]
batch=50
epochs=2
schedule=spec
keepCheckpoints=9
[@data]
provider=digits
mirror=1
[@params]
initW=0.1
epsW=0.02
epsB=0.04
momW=0.9
momB=0.5
wc=0.001
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
"""
COST = """[probs]
type=softmax
inputs=scores
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
topk=2
gpu=0
"""
TOWERS = (
    NET
    + "".join(
        layer(f"conv{t}", type="conv", inputs="data", filters=4, filterSize=5, stride=2, neuron="relu", gpu=g)
        + layer(f"drop{t}", type="dropout2", inputs=f"conv{t}", keep=0.7)
        + layer(f"fc{t}", type="fc", inputs="dropa,dropb", outputs=12, neuron="nrelu", gpu=g, updatePeriod=2)
        for g, t in enumerate("ab")
    )
    + layer("scores", type="fc", inputs="fca,fcb", outputs=10, gpu=0)
    + COST
)
HYBRID = (
    NET
    + layer("conv", type="conv", inputs="data", filters=4, filterSize=5, stride=2, neuron="relu", gpu="0,1,2,3")
    + layer("drop", type="dropout2", inputs="conv", keep=0.7)
    + layer("fca", type="fc", inputs="drop", outputs=12, neuron="relu", gpu="0,1", updatePeriod=2)
    + layer("fcb", type="fc", inputs="drop", outputs=12, neuron="relu", gpu="2,3")
    + layer("join", type="concat", inputs="fca,fcb", gpu="0,1")
    + layer("scores", type="fc", inputs="join", outputs=10, gpu=1)
    + COST.replace("gpu=0", "gpu=1")
)
NORMED = (
    NET
    + "".join(
        layer(f"conv{t}", type="conv", inputs="data", filters=4, filterSize=5, stride=2, gpu=g)
        + layer(f"norm{t}", type="batchnorm", inputs=f"conv{t}", momentum=0.3)
        + layer(f"act{t}", type="neuron", inputs=f"norm{t}", neuron="relu")
        + layer(f"fc{t}", type="fc", inputs="acta,actb", outputs=12, gpu=g)
        for g, t in enumerate("ab")
    )
    + layer("scores", type="fc", inputs="fca,fcb", outputs=10, gpu=0)
    + COST
)
NORMED_VECTORS = NORMED.replace(
    "[scores]\ntype=fc\ninputs=fca,fcb", "[normed]\ntype=batchnorm\ninputs=fcb\n[scores]\ntype=fc\ninputs=fca,normed"
)


def train_in_process(spec: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run in float64, so that what differs is more than rounding. On several processes where a launcher started this."""
    launch = Launch.find()
    compiled = compile_spec(spec, target=Target.FOLDED if launch is None else Target.SPMD)
    torch.set_default_dtype(torch.float64)
    try:
        if launch is None:
            result = train(compiled, display=SilentDisplay(), log_every=1, **options)
            return {"steps": result.steps}
        team = join(compiled, launch, torch.device("cpu"))
        result = train(compiled, display=SilentDisplay(), log_every=1, team=team, **options)
        return {"steps": result.steps, "held": held(team)}
    finally:
        torch.set_default_dtype(torch.float32)


def held(team: Ranks) -> list[str]:
    return [parameter.name for parameter in team.part(team._program).parameters]


def run(processes: int, spec: Path, **options: Any) -> list[Mapping[str, Any]]:
    """processes: 1 for a run without any other."""
    return [train_in_process(spec, options)] if processes == 1 else together(processes, train_in_process, spec, options)


def newest(folder: Path) -> Checkpoint:
    found = load_newest(folder / "checkpoints", lambda diagnostic: pytest.fail(str(diagnostic)))
    assert found is not None
    return found


def records(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "wall"} for line in lines]


def assert_equal_runs(one: Path, other: Path) -> None:
    """Weights, momenta, sums and generators to 1e-10, and every number that was recorded."""
    first, second = newest(one), newest(other)
    for kind in ("weights", "training"):
        assert_equal_tensors(getattr(first, kind), getattr(second, kind))
    for key in ("epoch", "step", "plateau", "momentum_rates"):
        assert first.state[key] == second.state[key]
    assert first.state["epoch_sums"] == pytest.approx(second.state["epoch_sums"], rel=1e-9)
    assert len(records(one)) == len(records(other))
    for left, right in zip(records(one), records(other), strict=True):
        assert_equal_numbers(left, right)


def assert_equal_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-10, atol=1e-10, msg=name)


def assert_equal_numbers(one: Any, other: Any) -> None:
    match one:
        case dict():
            assert one.keys() == other.keys()
            for key in one:
                assert_equal_numbers(one[key], other[key])
        case float():
            assert other == pytest.approx(one, rel=1e-8)
        case _:
            assert one == other


@pytest.fixture
def towers(tmp_path: Path) -> Path:
    (tmp_path / "towers.cfg").write_text(TOWERS)
    return tmp_path / "towers.cfg"


@pytest.fixture
def hybrid(tmp_path: Path) -> Path:
    (tmp_path / "hybrid.cfg").write_text(HYBRID)
    return tmp_path / "hybrid.cfg"


@pytest.fixture(autouse=True)
def _nobody_launched_this(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_ten_steps(towers: Path, tmp_path: Path) -> None:
    """With momentum, decay, dropout, noise, periods of two minibatches, mirrors: on 1, 2, and 2 times 2 processes."""
    for processes in (1, 2, 4):
        found = run(processes, towers, run_dir=tmp_path / str(processes), max_steps=10)
        assert [each["steps"] for each in found] == [10] * processes
    assert found[0]["held"] == found[2]["held"] != found[1]["held"]
    for processes in (2, 4):
        assert_equal_runs(tmp_path / "1", tmp_path / str(processes))


def test_a_hybrid_network(hybrid: Path, tmp_path: Path) -> None:
    """Data parallelism over four GPUs below two of two: parameters that two or four processes have."""
    for processes in (1, 4):
        run(processes, hybrid, run_dir=tmp_path / str(processes), max_steps=10)
    assert_equal_runs(tmp_path / "1", tmp_path / "4")


def test_batch_normalisation_over_replicas(tmp_path: Path) -> None:
    """Of maps and of vectors: means and variances of the whole minibatch, and running ones, as on one device."""
    spec = tmp_path / "normed.cfg"
    spec.write_text(NORMED_VECTORS)
    assert "[normed]" in NORMED_VECTORS
    for processes in (1, 2, 4):
        run(processes, spec, run_dir=tmp_path / str(processes), max_steps=10)
    for processes in (2, 4):
        assert_equal_runs(tmp_path / "1", tmp_path / str(processes))
    weights = newest(tmp_path / "4").weights
    assert weights["norma.num_batches_tracked"] == 10
    assert weights["norma.running_mean"].abs().min() > 0


def running_statistics(spec: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """What this process has of them after a run."""
    launch, nets = Launch.find(), list[nn.Module]()
    assert launch is not None
    compiled = compile_spec(spec, target=Target.SPMD)
    team = join(compiled, launch, torch.device("cpu"))
    watch = team.watch

    def watched(net: nn.Module) -> None:
        nets.append(net)
        watch(net)

    team.watch = watched  # type: ignore[method-assign]
    train(compiled, display=SilentDisplay(), team=team, **options)
    return dict(nets[0].named_buffers())


def test_batch_normalisation_with_an_idle_replica(tmp_path: Path) -> None:
    """The last minibatch of each epoch has one image, so that the second replica has none: it is told what the first one's
    statistics are then, with which it validates as well."""
    spec = tmp_path / "normed.cfg"
    spec.write_text(NORMED.replace("batch=50", "batch=479"))
    for processes in (1, 4):
        run(processes, spec, run_dir=tmp_path / str(processes))
    assert_equal_runs(tmp_path / "1", tmp_path / "4")
    first, second, *others = together(4, running_statistics, spec, {"run_dir": tmp_path / "again", "max_steps": 4})
    assert {*first} == {f"norma.{leaf}" for leaf in ("running_mean", "running_var", "num_batches_tracked")}
    for own, other in zip((first, second), others, strict=True):
        assert all(torch.equal(other[name], value) for name, value in own.items())


def test_whole_epochs_with_validation(towers: Path, tmp_path: Path) -> None:
    """The last minibatch is short, and two replicas share it."""
    for processes in (1, 4):
        run(processes, towers, run_dir=tmp_path / str(processes))
    assert any(record["event"] == "validation" for record in records(tmp_path / "1"))
    assert_equal_runs(tmp_path / "1", tmp_path / "4")


@pytest.mark.parametrize("first", [1, 2, 4])
def test_goes_on_under_any_other(towers: Path, tmp_path: Path, first: int) -> None:
    """Saved after ten steps on some processes, ten more on others."""
    run(1, towers, run_dir=tmp_path / "whole", max_steps=20)
    for second in (1, 2, 4):
        folder = tmp_path / f"{first} then {second}"
        run(first, towers, run_dir=folder, max_steps=10)
        run(second, towers, resume=folder, max_steps=20)
        assert_equal_runs(tmp_path / "whole", folder)


def test_a_hybrid_goes_on_under_any_other(hybrid: Path, tmp_path: Path) -> None:
    run(1, hybrid, run_dir=tmp_path / "whole", max_steps=20)
    for first, second in ((1, 4), (4, 1), (4, 4)):
        folder = tmp_path / f"{first} then {second}"
        run(first, hybrid, run_dir=folder, max_steps=10)
        run(second, hybrid, resume=folder, max_steps=20)
        assert_equal_runs(tmp_path / "whole", folder)


def test_each_process_writes_its_own(towers: Path, tmp_path: Path) -> None:
    """Two files, no tensor in both; an index; plain safetensors under the names that one device has."""
    run(4, towers, run_dir=tmp_path / "run", max_steps=1)
    [folder] = list_checkpoints(tmp_path / "run" / "checkpoints")
    files = [folder / f"weights-0000{i}-of-00002.safetensors" for i in (1, 2)]
    mine, other = (safetensors.torch.load_file(file) for file in files)
    assert "conva.weight" in mine
    assert "convb.weight" in other
    assert not mine.keys() & other.keys()
    whole = newest(tmp_path / "run").weights
    assert_equal_tensors({**mine, **other}, whole)
    index = json.loads((folder / "weights.safetensors.index.json").read_bytes())
    assert index["weight_map"] == {name: file.name for file in files for name in safetensors.torch.load_file(file)}
    assert index["metadata"]["total_size"] == sum(t.numel() * t.element_size() for t in whole.values())
    run(1, towers, run_dir=tmp_path / "one", max_steps=1)
    assert_equal_tensors(whole, newest(tmp_path / "one").weights)


class Reads:
    """Files and tensors of checkpoints that this process reads from now on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.verified: list[str] = []
        self.tensors: list[str] = []
        digest, tensor = hashlib.file_digest, safetensors.safe_open
        reads = self

        def file_digest(file: BinaryIO, kind: str) -> Any:
            reads.verified.append(Path(file.name).stem)
            return digest(file, kind)

        class Opened:
            def __init__(self, path: Path, framework: str) -> None:
                self._file = tensor(path, framework)

            def __enter__(self) -> Opened:
                return self

            def __exit__(self, *_: object) -> None: ...

            def keys(self) -> list[str]:
                return list(self._file.keys())

            def get_tensor(self, name: str) -> Tensor:
                reads.tensors.append(name)
                return self._file.get_tensor(name)

        patch.setattr(hashlib, "file_digest", file_digest)
        patch.setattr(safetensors, "safe_open", Opened)


def resume_reading(spec: Path, options: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    with pytest.MonkeyPatch.context() as patch:
        reads = Reads(patch)
        train_in_process(spec, options)
    return reads.verified, reads.tensors


@pytest.mark.parametrize("first", [1, 2])
def test_each_process_reads_its_own(towers: Path, tmp_path: Path, first: int) -> None:
    """Every file is verified by one process, and every tensor is read by the one that has it; what all have by all."""
    run(first, towers, run_dir=tmp_path / "run", max_steps=3)
    [folder] = list_checkpoints(tmp_path / "run" / "checkpoints")
    files = {file.stem: set(safetensors.torch.load_file(file)) for file in folder.glob("*.safetensors")}
    found = together(2, resume_reading, towers, {"resume": tmp_path / "run", "max_steps": 4})
    assert sorted(stem for verified, _ in found for stem in verified) == sorted(files)
    (_, mine), (_, other) = found
    common = {name for name in set().union(*files.values()) if name.startswith("rng/") or name == "mean"}
    assert common <= set(mine) & set(other)
    assert len(mine) == len(set(mine))
    assert set(mine) & set(other) == common
    assert set(mine) | set(other) == set().union(*files.values())
    assert {"conva.weight", "momentum/conva.weight"} <= set(mine)
    assert {"convb.weight", "momentum/convb.weight"} <= set(other)


def test_a_file_that_rotted(towers: Path, tmp_path: Path) -> None:
    """All processes go on from the checkpoint before; where none is whole, they say so."""
    towers.write_text(TOWERS.replace("batch=50\n", "batch=50\ncheckpointEvery=3\n"))
    run(2, towers, run_dir=tmp_path / "run", max_steps=8)
    folders = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert [folder.name for folder in folders] == ["0000-00000003", "0000-00000006", "0000-00000008"]
    rot(folders[2] / "weights-00002-of-00002.safetensors")
    rot(folders[1] / "training-00001-of-00002.safetensors")
    run(2, towers, resume=tmp_path / "run", max_steps=8)
    run(1, towers, run_dir=tmp_path / "whole", max_steps=8)
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")
    for folder in folders:
        rot(folder / "weights-00002-of-00002.safetensors")
    first, second = outcomes(2, train_in_process, towers, {"resume": tmp_path / "run"})
    assert "CS708: none of the 3 checkpoints" in first.problem
    assert "ElsewhereError" in second.problem


def rot(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
