"""A run on several processes, which `torchrun` starts: one for each GPU of the spec, times replicas of them all.

Process r G + g has the part of the g-th GPU, in replica r; that is its place in a DeviceMesh with the axes `replica` and
`gpu`. Processes of one replica read the same cases and talk along `gpu` (`convspec_kernels.Peers`). The replicas share
out the cases of each minibatch, and their gradients add up; so do those of parameters that several GPUs have.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # listed for no type checker
from torch.distributed.device_mesh import init_device_mesh

from convspec.data import Dataset
from convspec.data.dataset import Notify
from convspec.diagnostics import Diagnostic, DiagnosticError
from convspec.emit.load import Undrawn, instantiate_part
from convspec.program.operators import Drawing, drawing_of
from convspec.program.program import Program
from convspec.program.weighted import BatchNorm
from convspec.train.agreement import STUCK, Agreement
from convspec.train.checkpoint import Checkpoint, list_checkpoints, load_verified, newest_of, verify_files
from convspec.train.contract import CompiledSpec
from convspec.train.meeting import Meeting
from convspec.train.ownership import homes, ranks_of_parameters, tensor_names
from convspec.train.reduction import GradientReduction, SharedLosses
from convspec.train.run import RunFolder
from convspec.train.shards import parameter_of, save_shards
from convspec.train.team import Losses
from convspec_kernels import Noise, Peers, Replicas


class Ranks(Agreement):
    """The team of a run on several processes, in one of them."""

    def __init__(self, compiled: CompiledSpec, meeting: Meeting, device: torch.device) -> None:
        """compiled: for target spmd, the same in all that came to the meeting. device: of this process."""
        self.device = device
        self._program, self._parts, self._gpus = compiled.program, compiled.parts, tuple(compiled.parts)
        self._homes = homes(compiled.parts)
        self._draws = any(drawing_of(op) is not Drawing.NEVER for op in self._program.operators)
        replica, self._place = divmod(meeting.launch.rank, len(self._gpus))
        self.share = (replica, meeting.launch.world_size // len(self._gpus))
        self.counts_cases = self._place == 0
        super().__init__(meeting)
        self.reduction: GradientReduction | None = None
        with self.talk():
            self._form_groups()

    def _form_groups(self) -> None:
        """That of all processes, those of a replica and of a GPU, and those that have a parameter together."""
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo",
            store=PrefixStore("group", self.meeting.store),
            rank=self.launch.rank,
            world_size=self.launch.world_size,
            timeout=STUCK,
        )
        shape = (self.share[1], len(self._gpus))
        self.mesh = init_device_mesh(self.device.type, shape, mesh_dim_names=("replica", "gpu"))
        self.replicas = Replicas(self.mesh.get_group("replica"))
        self.peers = Peers(self.mesh.get_group("gpu"), self._gpus, self.device, self.replicas)
        ranks = ranks_of_parameters(self._parts, self.share[1])
        groups = {each: dist.new_group(each, timeout=STUCK) for each in sorted({tuple(own) for own in ranks.values()})}
        own_part = (parameter.name for parameter in self.part(self._program).parameters)
        self._groups = {name: groups[tuple(ranks[name])] for name in own_part if name in ranks}

    def described(self, rank: int) -> str:
        """A process, as a message names it."""
        replica, place = divmod(rank, len(self._gpus))
        of_replica = f" of replica {replica}" if self.share[1] > 1 else ""
        return f"process {rank} (GPU {self._gpus[place]}{of_replica})"

    # the network

    def part(self, program: Program) -> Program:
        return self._parts[self._gpus[self._place]]

    def network(self, compiled: CompiledSpec) -> nn.Module:
        with Undrawn():
            return instantiate_part(compiled.source, self._gpus[self._place], self.peers)

    def watch(self, net: nn.Module) -> None:
        tensors = dict(net.named_parameters())
        learning = {tensors[name]: group for name, group in self._groups.items() if tensors[name].requires_grad}
        self.reduction = GradientReduction(learning)

    def forward(self, net: nn.Module, tensors: dict[str, Tensor], own: int, cases: int) -> dict[str, Tensor]:
        replica, replicas = self.share
        each = -(-cases // replicas)
        self.replicas.active = -(-cases // each)
        noise = Noise.draw(self._draws)
        if own == 0:
            return {}
        drawn = {} if noise is None else {"noise": noise.from_case(replica * each)}
        outputs: dict[str, Tensor] = net(tensors, **drawn)
        return outputs

    def backward(self, net: nn.Module, outputs: dict[str, Tensor], own: int, cases: int) -> Losses:
        assert self.reduction is not None
        losses = SharedLosses(self._program, outputs, own / cases, self.device)
        if own:
            objective: Tensor = net.objective(outputs)  # type: ignore[operator]  # emitted modules have one
            (objective if own == cases else objective * (own / cases)).backward()  # type: ignore[no-untyped-call]
        self.reduction.finish()
        if self.replicas.active < self.replicas.count:
            self._share_statistics(net)
        return losses

    def _share_statistics(self, net: nn.Module) -> None:
        """What normalisation keeps of minibatches, for a replica that had no case of this one."""
        group = self.mesh.get_group("replica")
        for op in self.part(self._program).operators:
            for name in op.statistics if isinstance(op, BatchNorm) else ():
                dist.broadcast(net.get_buffer(name), group=group, group_src=0)

    def merged(self, sums: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        own = {name: {key: value.cpu() for key, value in values.items()} for name, values in sums.items()}
        found: list[Any] = [None] * len(self._gpus)
        dist.all_gather_object(found, own, group=self.mesh.get_group("gpu"))
        return {name: values for each in found for name, values in each.items()}

    # what is read and written

    def check_alike(self, dataset: Dataset) -> None:
        found = self.all_do(lambda: f"{dataset.name} ({dataset.fingerprint[:12]})")
        other = next((rank for rank, data in enumerate(found) if data != found[0]), None)
        if other is not None:
            message = f"process {other} has other data than process 0: {found[other]}, not {found[0]}"
            help = "give all processes the same --data, and all machines the same files"
            raise self.known_to_all(Diagnostic("CS754", message, help=help))

    def interrupted_run(self, run_dir: str | None) -> str | None:
        """The run to go on with, where the launcher starts all processes anew after one has ended; None where it has not
        begun. A machine that joins starts them anew as well, and nobody counts that: so what is there is gone on with.

        Raises DiagnosticError CS753 where nobody said which run that is.
        """
        if self.meeting.is_restart and run_dir is None:
            message = "the launcher started all processes anew, and nobody said which run they go on with"
            help = "name the run: --run-dir runs/NAME, or --resume DIR"
            raise self.known_to_all(Diagnostic("CS753", message, help=help))
        if run_dir is None or not self.launch.most_restarts:
            return None
        return self.chief_does(lambda: run_dir if (Path(run_dir) / "settings.json").is_file() else None)

    def open_run(self, make: Callable[[], RunFolder]) -> RunFolder:
        made: list[RunFolder] = []

        def path_of_made() -> Path:
            made.append(make())
            return made[0].path

        path = self.run_path = self.chief_does(path_of_made)
        self._check_shared(path)
        return made[0] if made else RunFolder(path, is_locked=False)

    def _check_shared(self, path: Path) -> None:
        """Before the first step rather than at the first checkpoint, to which all of them write."""
        found = self.all_do(lambda: _fingerprint(path / "settings.json"))
        other = next((rank for rank, seen in enumerate(found) if seen != found[0]), None)
        if other is not None:
            message = f"process {other} does not see the run {path} that process 0 has, but a folder of its own or none"
            help = "name a folder that all machines share: --run-dir DIR"
            raise self.known_to_all(Diagnostic("CS754", message, help=help))

    @property
    def file_number(self) -> tuple[int, int] | None:
        return (self._place, len(self._gpus)) if self.share[0] == 0 else None

    def owns(self, tensor: str) -> bool:
        return self._homes[tensor] == self._gpus[self._place]

    def save(self, folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
        return save_shards(self, folder, checkpoint, keep=keep)

    def load_newest(self, folder: Path, notify: Notify) -> Checkpoint | None:
        """Processes share out the files to verify, and each reads what is its own."""
        others = self._homes.keys() - set(tensor_names(self.part(self._program)))

        def read(path: Path) -> Checkpoint:
            self.all_find_whole(partial(verify_files, path, (self.launch.rank, self.launch.world_size)))
            return self.all_find_whole(
                lambda: load_verified(path, lambda name: (parameter_of(name) or name) not in others)
            )

        paths = self.chief_does(lambda: list_checkpoints(folder))
        try:
            return newest_of(paths, read, notify)
        except DiagnosticError as error:
            raise self.known_to_all(error.diagnostics[0]) from error

    def close(self) -> None:
        if self.reduction is not None:
            self.reduction.close()
        super().close()


def _fingerprint(file: Path) -> str | None:
    """Of what is in a file; None where there is none, also after a moment, which disks that machines share may need."""
    for _ in range(10):
        with suppress(OSError):
            return hashlib.sha256(file.read_bytes()).hexdigest()
        time.sleep(0.2)
    return None
