"""The passes of a training step recorded once and replayed: on a GPU as CUDA graphs, two calls of the host's in place of a
hundred.

A recording has the operators of a pass with all in them that is no tensor, and reads and writes the memory that it read and
wrote when it was made. So what changes from step to step comes in memory that stays where it is: the minibatch, the
weights, the seed of the random numbers. The update is not recorded. It is a few calls, made while the device is still in
the backward pass, and so rates, momenta, periods and bounds change as they do without recordings.

A recording is used once it has been seen to give what the passes give without it, for another minibatch and another seed
than those that it was made with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from convspec.program.images import Resize
from convspec.program.operators import Drawing, drawing_of
from convspec.program.program import Program
from convspec.train.team import Losses, Team
from convspec_kernels import Noise

T = TypeVar("T")
Say = Callable[[str], None]

VARIABLE = "CONVSPEC_GRAPHS"
WARM_UP = 2
"""Passes before a recording, in which kernels are compiled and libraries choose theirs."""
SAME = 1e-2
"""Of the size of a gradient, by which one of a recording may differ: sums are added in another order, in bfloat16 too."""


class Recorder(Protocol):
    def prepare(self, work: Callable[[], object]) -> None:
        """Call `work` as it will be recorded."""

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        """What `work` gives, in memory that has no values yet, and what computes them, as often as it is called.

        All that is recorded by one recorder is replayed in the order in which it was recorded.
        """


class CudaGraphs:
    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def prepare(self, work: Callable[[], object]) -> None:
        computing = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(computing)
        with torch.cuda.stream(self._stream):
            work()
        computing.wait_stream(self._stream)

    def record(self, work: Callable[[], T]) -> tuple[T, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            result = work()
        return result, graph.replay


def recorder_for(program: Program, devices: Sequence[torch.device], team: Team, say: Say) -> Recorder | None:
    """For a run on one GPU; None where steps are called operator by operator, of which `say` is told if there is a GPU."""
    if devices[0].type != "cuda":
        return None
    reason = None
    if os.environ.get(VARIABLE) == "0":
        reason = f"{VARIABLE}=0"
    elif len(devices) > 1 or team.here is not None:
        reason = "it runs on several GPUs"
    elif any(isinstance(op, Resize) and op.is_random for op in program.operators):
        reason = "the sizes of its maps are drawn anew at each step"
    if reason is None:
        return CudaGraphs(devices[0])
    say(f"no CUDA graphs, since {reason}: each operator of a step is launched by itself")
    return None


class RecordingFailedError(Exception):
    """The passes cannot be recorded, or a recording does not give what they give."""


@dataclass(frozen=True, slots=True)
class _Recording:
    """inputs, seed: where it reads the minibatch and the seed. objective, outputs, gradients: where it leaves them."""

    inputs: Mapping[str, Tensor]
    seed: Tensor | None
    objective: Tensor
    outputs: dict[str, Tensor]
    gradients: Sequence[tuple[nn.Parameter, Tensor]]
    forward: Callable[[], None]
    backward: Callable[[], None]

    def takes(self, tensors: Mapping[str, Tensor]) -> bool:
        return all(_form(tensor) == _form(tensors[name]) for name, tensor in self.inputs.items())

    def replay(self, tensors: Mapping[str, Tensor], seed: int) -> tuple[dict[str, Tensor], Losses]:
        for name, tensor in self.inputs.items():
            if tensor.data_ptr() != tensors[name].data_ptr():
                tensor.copy_(tensors[name])
        if self.seed is not None:
            self.seed.fill_(seed)
        self.forward()
        losses = Losses(self.objective, self.outputs)
        self.backward()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return self.outputs, losses


def _form(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype


class Replay:
    """Steps of a network in training, of minibatches of `cases`."""

    def __init__(
        self,
        program: Program,
        net: nn.Module,
        autocast: torch.autocast,
        recorder: Recorder,
        *,
        cases: int,
        say: Say = lambda text: None,
    ) -> None:
        """say: is told why there are no recordings, if there are none."""
        self._net, self._autocast, self._recorder, self._cases, self._say = net, autocast, recorder, cases, say
        self._draws = any(drawing_of(op) is not Drawing.NEVER for op in program.operators)
        self._recording: _Recording | None = None
        self._is_trusted = self._is_over = False

    def __call__(self, tensors: Mapping[str, Tensor], cases: int) -> tuple[dict[str, Tensor], Losses] | None:
        """The outputs for a minibatch, valid until the next, and its losses; the gradients are in their places.

        None where the passes have to be called: for the first minibatch, by which they are recorded, for one of another
        size, and where they cannot be recorded. Then nothing has changed, random generators neither.
        """
        if self._is_over or cases != self._cases or not (self._recording is None or self._recording.takes(tensors)):
            return None
        generator = torch.get_rng_state()
        try:
            if self._recording is None:
                self._recording = self._record(tensors)
                return None
            seed = self._seed()
            if not self._is_trusted:
                self._compare(self._recording, tensors, seed)
                self._is_trusted = True
            return self._recording.replay(tensors, seed)
        except (RuntimeError, RecordingFailedError) as error:
            torch.set_rng_state(generator)
            self._give_up(str(error).partition("\n")[0])
            return None

    def _seed(self) -> int:
        """As `Noise.draw` draws it."""
        return int(torch.ops.convspec_kernels.draw_seed()) if self._draws else 0

    def _record(self, tensors: Mapping[str, Tensor]) -> _Recording:
        inputs = dict(tensors)
        device = next(iter(inputs.values())).device
        seed = torch.zeros((), dtype=torch.int64, device=device) if self._draws else None
        buffers = self._buffers()

        def passes() -> None:
            self._forward(inputs, seed)[0].backward()  # type: ignore[no-untyped-call]

        for _ in range(WARM_UP):
            self._recorder.prepare(passes)
            self._put_back(buffers)
        (objective, outputs), forward = self._recorder.record(lambda: self._forward(inputs, seed))
        _, backward = self._recorder.record(objective.backward)
        gradients = [(tensor, tensor.grad) for tensor in self._net.parameters() if tensor.grad is not None]
        self._net.zero_grad(set_to_none=True)
        kept = {name: output.detach() for name, output in outputs.items()}
        return _Recording(inputs, seed, objective.detach(), kept, gradients, forward, backward)

    def _forward(self, tensors: Mapping[str, Tensor], seed: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        noise = {} if seed is None else {"noise": Noise(seed)}
        with self._autocast:
            outputs: dict[str, Tensor] = self._net(tensors, **noise)
        return self._net.objective(outputs), outputs  # type: ignore[operator]  # emitted modules have one

    def _compare(self, recording: _Recording, tensors: Mapping[str, Tensor], seed: int) -> None:
        """Raises RecordingFailedError where a replay is not what the passes give. Leaves everything as it was."""
        buffers = self._buffers()
        recording.replay(tensors, seed)
        replayed = [recording.objective.clone(), *(gradient.clone() for _, gradient in recording.gradients)]
        self._put_back(buffers)
        objective, _ = self._forward(tensors, torch.tensor(seed) if self._draws else None)
        objective.backward()  # type: ignore[no-untyped-call]
        expected = [objective.detach(), *(parameter.grad for parameter, _ in recording.gradients)]
        self._put_back(buffers)
        for one, other in zip(replayed, expected, strict=True):
            if other is None or not (one - other).norm() <= SAME * other.norm():
                raise RecordingFailedError("a recorded step is not what it is without a recording")

    def _buffers(self) -> list[tuple[Tensor, Tensor]]:
        """What the passes change of the network, and copies."""
        return [(buffer, buffer.clone()) for buffer in self._net.buffers()]

    def _put_back(self, buffers: Sequence[tuple[Tensor, Tensor]]) -> None:
        for buffer, before in buffers:
            buffer.copy_(before)
        self._net.zero_grad(set_to_none=True)

    def _give_up(self, reason: str) -> None:
        self._is_over, self._recording = True, None
        self._net.zero_grad(set_to_none=True)
        self._say(f"no CUDA graphs, since {reason}: each operator of a step is launched by itself")
