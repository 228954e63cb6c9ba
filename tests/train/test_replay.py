"""A recorded step is the step: whole runs, with graphs that are pretended, against runs without; and recordings that are
wrong, or cannot be made, are not used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from inspect import signature as signature_of
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convspec.compiler import Compiled, compile_checked, compile_spec
from convspec.diagnostics import DiagnosticError
from convspec.emit.load import instantiate
from convspec.program.images import Resize
from convspec.program.program import Program
from convspec.program.shape import Shape
from convspec.resources import spec_path
from convspec.train import replay, trainer
from convspec.train.bench import random_inputs
from convspec.train.display import SilentDisplay
from convspec.train.replay import Replay, _Recording, recorder_for
from convspec.train.team import ALONE, Team
from convspec.train.trainer import train
from convspec_kernels import Noise
from tests.emit.shrinking import shrunk
from tests.train.recorded import Call, PretendedGraphs, Recording
from tests.train.runs import assert_same_run

SPEC = """
[@net]
name=Dropping
input=data:1x13x13
classes=10
[@train]
batch=64
epochs=2
schedule=spec
precision={precision}
[@data]
provider=digits
mirror=1
[@params]
initW=0.05
epsW=dexp[base=0.01;tgtFactor=10;numSteps=4]
epsB=0.02
momW=0.9
momB=0.9
wc=0.001
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
filters=6
filterSize=3
neuron=relu
[pool1]
type=pool
pool=max
inputs=conv1
sizeX=3
stride=2
channels=6
[norm1]
type={norm}
inputs=pool1
{more}
[fc2]
type=fc
inputs=norm1
outputs=16
neuron=relu
[drop2]
type=dropout2
inputs=fc2
keep=0.5
[fc3]
type=fc
inputs=drop2
outputs=10
[probs]
type=softmax
inputs=fc3
[logprob]
type=cost.logreg
inputs=labels,probs
coeff=1
"""
SINGLY = "each operator of a step is launched by itself"
STEPS = 23
"""Of an epoch; the last has fewer cases."""


def spec(norm: str = "cmrnorm", more: str = "size=5\nscale=0.5\npow=0.75", precision: str = "fp32") -> Compiled:
    return compile_spec(SPEC.format(norm=norm, more=more, precision=precision))


class Lines(SilentDisplay):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def go(compiled: Compiled, folder: Path | None, graphs: PretendedGraphs | None = None, **options: Any) -> list[str]:
    """A run, with pretended graphs if there are some. What is said of them."""
    display = Lines()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "recorder_for", lambda *_: graphs)
        train(compiled, run_dir=folder, display=display, **options)
    return [line for line in display.lines if "graphs" in line]


@pytest.mark.parametrize(
    "compiled",
    [spec(), spec(precision="bf16"), spec("batchnorm", "")],
    ids=["fp32", "bf16", "with statistics"],
)
def test_a_run_of_recorded_steps_is_the_run(compiled: Compiled, tmp_path: Path) -> None:
    """Dropout, rates that fall within an epoch, a minibatch that is short, and what normalisation keeps."""
    graphs = PretendedGraphs()
    assert go(compiled, tmp_path / "recorded", graphs) == []
    go(compiled, tmp_path / "called")
    assert_same_run(tmp_path / "called", tmp_path / "recorded")
    assert graphs.recordings == 2, "forward and backward"
    replayed = 2 * (STEPS - 1) - 1
    assert graphs.replays == 2 * (replayed + 1), "and once to compare"


def test_a_recorded_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Stopped and recorded anew, whatever recorded it, or nothing."""
    compiled = spec()
    go(compiled, tmp_path / "called")
    go(compiled, tmp_path / "run", PretendedGraphs(), max_steps=11)
    go(compiled, None, resume=tmp_path / "run", max_steps=15)
    go(compiled, None, PretendedGraphs(), resume=tmp_path / "run")
    assert_same_run(tmp_path / "called", tmp_path / "run")


def test_a_loss_that_is_not_finite_is_found_as_without(tmp_path: Path) -> None:
    """At a step that is replayed; its layer by the passes as they are called, on the same masks."""
    text = SPEC.format(norm="cmrnorm", more="size=5\nscale=0.5\npow=0.75", precision="fp32")
    compiled = compile_spec(text.replace("base=0.01;tgtFactor=10", "base=1e6;tgtFactor=10"))
    found = []
    for folder, graphs in (("recorded", PretendedGraphs()), ("called", None)):
        with pytest.raises(DiagnosticError, match="CS707: the loss is") as caught:
            go(compiled, tmp_path / folder, graphs)
        found.append(caught.value.diagnostics[0].message)
        assert graphs is None or graphs.replays > 2 * 3
    assert found[0] == found[1]


def without(name: str) -> Callable[[list[Call]], list[Call]]:
    return lambda calls: [call for call in calls if call.name != name]


def with_masks_of_the_recording(calls: list[Call]) -> list[Call]:
    """As if the seed were a number, and not memory."""
    names = [call.name for call in calls]
    if "lt" not in names:
        return calls
    masks = slice(names.index("bitwise_xor"), names.index("lt") + 1)
    for call in calls[masks]:
        call.replay()
    return calls[: masks.start] + calls[masks.stop :]


BROKEN = {
    "forward": without("relu"),
    "backward": without("convolution_backward"),
    "seed": with_masks_of_the_recording,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_recording_that_is_wrong_is_not_used(name: str, tmp_path: Path) -> None:
    graphs = PretendedGraphs(BROKEN[name])
    said = go(spec(), tmp_path / "recorded", graphs)
    assert said == [f"no CUDA graphs, since a recorded step is not what it is without a recording: {SINGLY}"]
    go(spec(), tmp_path / "called")
    assert_same_run(tmp_path / "called", tmp_path / "recorded")
    assert graphs.replays == 2, "to compare"


CPU = torch.device("cpu")
CASES = 4
FP32 = torch.autocast("cpu", torch.bfloat16, enabled=False)


def minibatches(program: Program) -> Iterator[dict[str, Tensor]]:
    """Pictures that come in the same memory each time, labels that do not."""
    first = random_inputs(program, CASES, CPU)
    for number in count():
        first["data"].copy_(first["data"].roll(number, -1))
        yield first | {"labels": (first["labels"] + number) % 10}


def replays(compiled: Compiled, graphs: PretendedGraphs, net: nn.Module | None = None) -> tuple[list[bool], list[str]]:
    """Whether each of some first minibatches was replayed, and what was said. Else no random number was drawn."""
    said: list[str] = []
    net = net or instantiate(compiled.source, compiled.name)
    step = Replay(compiled.program, net.train(), FP32, graphs, cases=CASES, say=said.append)
    found = []
    for minibatch in islice(minibatches(compiled.program), 4):
        generator = torch.get_rng_state()
        found.append(step(minibatch, CASES) is not None)
        assert torch.equal(torch.get_rng_state(), generator) != found[-1]
    return found, said


def test_steps_are_replayed_once_they_are_recorded() -> None:
    assert replays(spec(), PretendedGraphs()) == ([False, True, True, True], [])


def test_a_short_minibatch_is_not_recorded() -> None:
    """It may be the first, in a run that goes on."""
    compiled, graphs = spec(), PretendedGraphs()
    net = instantiate(compiled.source, compiled.name).train()
    step, [whole] = Replay(compiled.program, net, FP32, graphs, cases=CASES), islice(minibatches(compiled.program), 1)
    short = {name: tensor[:3] for name, tensor in whole.items()}
    assert step(short, 3) is None
    assert graphs.recordings == 0
    assert step(whole, CASES) is None
    assert step(short, 3) is None
    assert step(whole, CASES) is not None


def test_the_loss_is_on_its_way_before_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, seen = PretendedGraphs(), list[int]()
    monkeypatch.setattr(replay, "Losses", lambda *_: seen.append(graphs.replays))
    replays(spec(), graphs)
    assert seen == [1, 3, 5, 7], "of one that is compared, and of three steps"


def test_a_minibatch_that_is_left_where_it_came_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _Recording.replay
    monkeypatch.setattr(_Recording, "replay", lambda recording, tensors, seed: whole(recording, recording.inputs, seed))
    replayed, said = replays(spec(), PretendedGraphs())
    assert not any(replayed)
    assert said == [f"no CUDA graphs, since a recorded step is not what it is without a recording: {SINGLY}"]


class Asking(nn.Module):
    """Looks at a number on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(169, 10)

    def forward(self, inputs: dict[str, Tensor], noise: Noise | None = None) -> dict[str, Tensor]:
        scores = self.fc(inputs["data"].flatten(1))
        scale = 2.0 if scores.max() > 1 else 1.0
        return {"logprob": nn.functional.cross_entropy(scale * scores, inputs["labels"])}

    def objective(self, outputs: dict[str, Tensor]) -> Tensor:
        return outputs["logprob"]


def test_what_asks_for_a_value_cannot_be_recorded() -> None:
    """As torch says of it."""
    replayed, said = replays(spec(), PretendedGraphs(), Asking())
    assert not any(replayed)
    assert said == [
        f"no CUDA graphs, since operation not permitted when stream is capturing: _local_scalar_dense: {SINGLY}"
    ]


def signature(calls: Sequence[Call]) -> list[object]:
    """Operators with all that they were given: numbers as they are, a tensor by who gave it, or else by where it lies."""
    givers: dict[int, int] = {}
    kept = [tensor for call in calls for tensor in call.results]  # so that no two are at one place in Python's memory

    def described(value: Any) -> object:
        match value:
            case Tensor():
                place = givers.get(id(value), value.data_ptr())
                return place, tuple(value.shape), value.stride(), value.dtype
            case list() | tuple():
                return [described(each) for each in value]
            case dict():
                return {key: described(each) for key, each in value.items()}
            case _:
                return value

    found: list[object] = []
    for number, call in enumerate(calls):
        found.append((str(call.function), described(call.args), described(call.kwargs)))
        givers |= {id(tensor): number for tensor in call.results}
    assert kept
    return found


@pytest.mark.parametrize("name", ["alexnet", "alexnet-2012", "cifar-relu", "resnet20"])
def test_each_step_is_the_same_operators_on_the_same_memory(name: str) -> None:
    """Forward and backward: only what lies in the memory of inputs, weights and seed differs from step to step."""
    compiled = compile_checked(shrunk(spec_path(f"{name}.cfg")), allow_init_imports=True)
    net = instantiate(compiled.source, compiled.name).train()
    inputs, seed = random_inputs(compiled.program, CASES, CPU), torch.tensor(5)
    noise = {"noise": Noise(seed)} if "noise" in signature_of(net.forward).parameters else {}
    found = []
    for step in range(3):
        inputs["data"].copy_(inputs["data"].flip(-1))
        inputs["labels"].copy_((inputs["labels"] + step) % 3)
        seed.fill_(2**40 + step)
        with Recording() as recording:
            net.objective(net(inputs, **noise)).backward()  # type: ignore[operator]
        net.zero_grad()
        found.append(signature(recording.calls))
    assert found[0] == found[1] == found[2]


def test_another_operator_or_other_memory_is_another_step() -> None:
    x, found = torch.ones(3), []
    for function in (lambda x: x * 2 + x, lambda x: x * 3 + x, lambda x: x * 2 + x.clone(), lambda x: x * 2 - x):
        with Recording() as recording:
            function(x)
        found.append(str(signature(recording.calls)))
    assert len(set(found)) == 4
    with Recording() as recording:
        moved = x.clone()
    with Recording() as recording:
        moved * 2 + moved
    assert str(signature(recording.calls)) not in found


def test_graphs_are_for_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """And for what draws no sizes, if nobody forbids them."""
    monkeypatch.setattr(replay, "CudaGraphs", lambda device: device)
    said: list[str] = []
    gpu, program = torch.device("cuda", 0), spec().program
    assert recorder_for(program, [CPU], ALONE, said.append) is None
    assert recorder_for(program, [gpu], ALONE, said.append) is gpu
    assert said == []
    team = Team()
    team.here = "process 0"
    resize = Resize(name="r", inputs=("data",), shape=Shape.of_maps(1, 9, 9), layers=("r",), scale=1.2, is_random=True)
    resized = replace(program, operators=(*program.operators, resize))
    for arguments in ((program, [gpu, gpu], ALONE), (program, [gpu], team), (resized, [gpu], ALONE)):
        assert recorder_for(*arguments, said.append) is None
    monkeypatch.setenv("CONVSPEC_GRAPHS", "0")
    assert recorder_for(program, [gpu], ALONE, said.append) is None
    reasons = ["it runs on several GPUs"] * 2 + [
        "the sizes of its maps are drawn anew at each step",
        "CONVSPEC_GRAPHS=0",
    ]
    assert said == [f"no CUDA graphs, since {reason}: {SINGLY}" for reason in reasons]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gpu_replays_the_run(precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, where libraries add in one order: dropout, rates that fall, a minibatch that is short."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    replayed: list[bool] = []
    call = Replay.__call__

    def counted(step: Replay, tensors: dict[str, Tensor], cases: int) -> Any:
        result = call(step, tensors, cases)
        replayed.append(result is not None)
        return result

    monkeypatch.setattr(Replay, "__call__", counted)
    display = Lines()
    train(spec(precision=precision), run_dir=tmp_path / "recorded", device="cuda", display=display)
    assert not [line for line in display.lines if "graphs" in line]
    assert sum(replayed) == 2 * (STEPS - 1) - 1
    monkeypatch.setenv("CONVSPEC_GRAPHS", "0")
    train(spec(precision=precision), run_dir=tmp_path / "called", device="cuda", display=Lines())
    assert_same_run(tmp_path / "called", tmp_path / "recorded")
