"""A run on several processes, which `torchrun` starts: one for each GPU of the spec, times replicas of them all.

Process r G + g has the part of the g-th GPU, in replica r; that is its place in a DeviceMesh with the axes `replica` and
`gpu`. Processes of one replica read the same cases and talk along `gpu` (`convspec_kernels.Peers`). The replicas share
out the cases of each minibatch, and their gradients add up; so do those of parameters that several GPUs have.

All processes go through the same steps. Whatever one of them alone may know, a signal, a loss, an error of the disk, is
told to all before anybody acts on it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # listed for no type checker
from torch.distributed.device_mesh import init_device_mesh

import convspec
from convspec.data import Dataset
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.emit.load import instantiate_part
from convspec.launch import Launch
from convspec.program.operators import Drawing, drawing_of
from convspec.program.program import Block, Program
from convspec.train.checkpoint import Checkpoint, load_checkpoint, newest_whole
from convspec.train.contract import CompiledSpec
from convspec.train.display import as_line
from convspec.train.reduction import GradientReduction
from convspec.train.run import RunFolder
from convspec.train.shards import parameter_of, save_shards
from convspec.train.signals import Interrupted
from convspec.train.team import Losses, T, Team
from convspec.train.vigil import Vigil
from convspec_kernels import Noise, Peers

PATIENCE = timedelta(minutes=5)
"""How long a process waits for another before it gives up."""


SECONDS_TO_FIND = 10.0
"""How long to look for the process that was lost, after what another one did with it has failed."""


class ElsewhereError(Exception):
    """Another process cannot go on, and says why."""


class Ranks(Team):
    """The team of a run on several processes, in one of them."""

    def __init__(self, compiled: CompiledSpec, launch: Launch, device: torch.device) -> None:
        """Joins the other processes. compiled: for target spmd. device: of this process."""
        self.launch, self.device = launch, device
        self._program, self._parts = compiled.program, compiled.parts
        self._gpus = tuple(compiled.parts)
        replica, self._place = divmod(launch.rank, len(self._gpus))
        self.share = (replica, launch.world_size // len(self._gpus))
        self.is_chief, self.counts_cases = launch.rank == 0, self._place == 0
        _meet(launch, "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        shape = (self.share[1], len(self._gpus))
        self.mesh = init_device_mesh(device.type, shape, mesh_dim_names=("replica", "gpu"))
        self.peers = Peers(self.mesh.get_group("gpu"), self._gpus, device)
        self.reduction: GradientReduction | None = None
        self.run_path: Path | None = None
        self.vigil = Vigil(launch, self._say_and_end)
        self._homes = _homes(compiled.parts)
        self._groups = self._groups_of_parameters()
        self._draws = any(drawing_of(op) is not Drawing.NEVER for op in self._program.operators)

    def _groups_of_parameters(self) -> dict[str, dist.ProcessGroup]:
        """The processes that have each parameter of this part, where there are several."""
        replicas, count = self.share[1], len(self._gpus)
        holders: dict[str, tuple[int, ...]] = {}
        for place, part in enumerate(self._parts.values()):
            for parameter in part.parameters:
                holders[parameter.name] = (*holders.get(parameter.name, ()), place)
        groups: dict[tuple[int, ...], dist.ProcessGroup] = {}
        for places in sorted(set(holders.values())):
            ranks = [replica * count + place for replica in range(replicas) for place in places]
            if len(ranks) > 1:
                groups[places] = dist.new_group(ranks, timeout=PATIENCE)
        own = (parameter.name for parameter in self.part(self._program).parameters)
        return {name: groups[holders[name]] for name in own if holders[name] in groups}

    def described(self, rank: int) -> str:
        """A process, as a message names it."""
        replica, place = divmod(rank, len(self._gpus))
        of_replica = f" of replica {replica}" if self.share[1] > 1 else ""
        return f"process {rank} (GPU {self._gpus[place]}{of_replica})"

    def loss_of(self, rank: int, problem: str) -> Diagnostic:
        """CS755: another process is lost."""
        go_on = f"--resume {self.run_path}" if self.run_path is not None else "the same command"
        return Diagnostic(
            "CS755",
            f"{self.described(rank)} {problem}, so that process {self.launch.rank} stops as well",
            notes=("what was trained since the last checkpoint is lost",) if self.run_path is not None else (),
            help=f"see what that process said last, and go on with {go_on}",
        )

    def _say_and_end(self, rank: int, problem: str) -> None:
        """In the thread that watches: the main thread may wait for the lost process for ever."""
        _say(self.loss_of(rank, problem))
        os._exit(1)

    def go(self, work: Callable[[], T]) -> T:
        """Talk with a process that was lost fails at once, or waits until the thread that watches ends this one."""
        try:
            return work()
        except RuntimeError:
            found = self.vigil.lost(SECONDS_TO_FIND)
            if found is None:
                raise
            self.vigil.leave(failed=False)
            _say(self.loss_of(*found))
            raise ElsewhereError from None

    # the network

    def part(self, program: Program) -> Program:
        return self._parts[self._gpus[self._place]]

    def network(self, compiled: CompiledSpec) -> nn.Module:
        return instantiate_part(compiled.source, self._gpus[self._place], self.peers)

    def watch(self, net: nn.Module) -> None:
        tensors = dict(net.named_parameters())
        learning = {tensors[name]: group for name, group in self._groups.items() if tensors[name].requires_grad}
        self.reduction = GradientReduction(learning)

    def forward(self, net: nn.Module, tensors: dict[str, Tensor], own: int, cases: int) -> dict[str, Tensor]:
        replica, replicas = self.share
        noise = Noise.draw(self._draws)
        if own == 0:
            return {}
        drawn = {} if noise is None else {"noise": noise.from_case(replica * -(-cases // replicas))}
        outputs: dict[str, Tensor] = net(tensors, **drawn)
        return outputs

    def backward(self, net: nn.Module, outputs: dict[str, Tensor], own: int, cases: int) -> Losses:
        assert self.reduction is not None
        losses = SharedLosses(self._program, outputs, own / cases, self.device)
        if own:
            objective: Tensor = net.objective(outputs)  # type: ignore[operator]  # emitted modules have one
            (objective if own == cases else objective * (own / cases)).backward()  # type: ignore[no-untyped-call]
        self.reduction.finish()
        return losses

    # agreement

    def agree(self, wish: bool) -> bool:
        flag = torch.tensor(float(wish))
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def alone(self, wish: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: False

    def first(self, found: str | None) -> str | None:
        return next((each for each in self.all_do(lambda: found) if each is not None), None)

    def total(self, sums: Tensor) -> Tensor:
        whole = sums.clone()
        dist.all_reduce(whole)
        return whole

    def merged(self, sums: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        own = {name: {key: value.cpu() for key, value in values.items()} for name, values in sums.items()}
        found: list[Any] = [None] * len(self._gpus)
        dist.all_gather_object(found, own, group=self.mesh.get_group("gpu"))
        return {name: values for each in found for name, values in each.items()}

    def union(self, own: dict[str, T]) -> dict[str, T]:
        return {name: value for each in reversed(self.all_do(lambda: own)) for name, value in each.items()}

    def chief_does(self, work: Callable[[], T]) -> T:
        given = self.all_do(lambda: work() if self.is_chief else None)[0]
        result: T = given  # type: ignore[assignment]  # the first is the chief's
        return result

    def all_do(self, work: Callable[[], T]) -> list[T]:
        """Where it raises a DiagnosticError in one, it raises that there and ElsewhereError in the others."""
        given, problem = None, None
        try:
            given = work()
        except DiagnosticError as error:
            problem = error
        found: list[Any] = [None] * self.launch.world_size
        dist.all_gather_object(found, (given, problem is not None))
        blamed = next((rank for rank, (_, has_problem) in enumerate(found) if has_problem), None)
        if blamed is None:
            return [each for each, _ in found]
        self.vigil.leave(failed=False)
        if problem is not None and blamed == self.launch.rank:
            raise problem
        raise ElsewhereError

    def each_opens(self, work: Callable[[], T]) -> T:
        own: list[T] = []
        self.all_do(lambda: own.append(work()))
        return own[0]

    def check_alike(self, compiled: CompiledSpec, dataset: Dataset) -> None:
        here = {
            "spec": hashlib.sha256(compiled.resolved_text.encode()).hexdigest()[:12],
            "data": f"{dataset.name} ({dataset.fingerprint[:12]})",
            "convspec": convspec.__version__,
            "torch": torch.__version__,
            "device": self.device.type,
        }
        found = self.all_do(lambda: here)
        for rank, there in enumerate(found):
            for what, value in there.items():
                if value != found[0][what]:
                    message = f"process {rank} has another {what} than process 0: {value}, not {found[0][what]}"
                    help = "start all processes with the same command, versions and files"
                    self.chief_does(partial(_raise, Diagnostic("CS754", message, help=help)))

    # what is written

    def open_run(self, make: Callable[[], RunFolder]) -> RunFolder:
        made: list[RunFolder] = []

        def path_of_made() -> Path:
            made.append(make())
            return made[0].path

        path = self.run_path = self.chief_does(path_of_made)
        return made[0] if made else RunFolder(path, is_locked=False)

    @property
    def file_number(self) -> tuple[int, int] | None:
        return (self._place, len(self._gpus)) if self.share[0] == 0 else None

    def owns(self, tensor: str) -> bool:
        return self._homes[tensor] == self._gpus[self._place]

    def save(self, folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
        return save_shards(self, folder, checkpoint, keep=keep)

    def load_newest(self, folder: Path, notify: Notify) -> Checkpoint | None:
        path = self.chief_does(lambda: newest_whole(folder, notify))
        if path is None:
            return None
        part = self.part(self._program)
        own = {block.name for blocks in _blocks(part) for block in blocks}
        others = self._homes.keys() - own
        return load_checkpoint(path, wanted=lambda name: (parameter_of(name) or name) not in others)

    def close(self) -> None:
        error = sys.exc_info()[1]
        self.vigil.leave(failed=not (error is None or isinstance(error, ElsewhereError | Interrupted)))
        if self.reduction is not None:
            self.reduction.close()
        if dist.is_initialized() and error is None:
            dist.destroy_process_group()


class SharedLosses(Losses):
    """The losses of a step over the whole minibatch, wherever they were computed."""

    def __init__(self, program: Program, outputs: Mapping[str, Tensor], share: float, device: torch.device) -> None:
        """share: of the minibatch, that this process has."""
        self._costs = program.costs
        sums = torch.zeros(len(self._costs), dtype=torch.float64, device=device)
        for i, cost in enumerate(self._costs):
            if cost.name in outputs:
                sums[i] = outputs[cost.name].detach() * share
        self._sums, self._values = sums, list[float]()
        self._work = dist.all_reduce(sums, async_op=True)

    def objective(self) -> float:
        return sum(cost.coefficient * self.of_cost(cost.name) for cost in self._costs if cost.coefficient)

    def of_cost(self, name: str) -> float:
        if not self._values:
            self._work.wait()
            self._values = self._sums.tolist()
        return next(value for cost, value in zip(self._costs, self._values, strict=True) if cost.name == name)


def _say(diagnostic: Diagnostic) -> None:
    """Past Python's streams, which another thread may be in the middle of using."""
    os.write(2, f"{as_line(diagnostic)}\n".encode())


def _raise(diagnostic: Diagnostic) -> None:
    raise DiagnosticError(diagnostic)


def _meet(launch: Launch, backend: str) -> None:
    """Make the group of all processes. A store that outlives a restart has addresses of processes that ended: each start
    has a part of the store for itself."""
    store, rank, world_size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]  # listed for no type checker
    own = PrefixStore(f"start {launch.restarts}", store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=world_size, timeout=PATIENCE)


def _homes(parts: Mapping[int, Program]) -> dict[str, int]:
    """The GPU whose process writes each tensor, by canonical name."""
    homes: dict[str, int] = {}
    for gpu, part in parts.items():
        for blocks in _blocks(part):
            for block in blocks:
                homes.setdefault(block.name, gpu)
    return homes


def _blocks(part: Program) -> Iterator[tuple[Block, ...]]:
    """The canonical pieces of each tensor."""
    yield from (parameter.blocks for parameter in part.parameters)
    yield from (buffer.blocks for buffer in part.buffers)
