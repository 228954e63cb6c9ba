"""What a launcher such as `torchrun` tells the processes that it started, in their environment."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass

from convspec.diagnostics import Diagnostic, DiagnosticError, joined

SECONDS_TO_SPEAK = 0.5
"""That a process leaves to another to say what is wrong: launchers end all of a machine as soon as one has ended."""

_NUMBERS = {
    "RANK": "",
    "WORLD_SIZE": "",
    "MASTER_PORT": "",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "TORCHELASTIC_MAX_RESTARTS": "0",
}
"""With what they are where a launcher does not say."""

_TORCHRUN = "start the processes with torchrun"
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Launch:
    """rank: of this process among `world_size`, over all machines. local_rank: among the `local_world_size` of this one.

    restarts: how many times those of this machine were started anew after one had ended. most_restarts: how often they are.
    address, port: of the store through which the processes find one another. keeps_store: whether the launcher keeps it;
    else the process of rank 0 does.
    """

    rank: int
    world_size: int
    local_rank: int = 0
    local_world_size: int = 1
    restarts: int = 0
    most_restarts: int = 0
    address: str = "localhost"
    port: int = 0
    keeps_store: bool = False

    @classmethod
    def find(cls) -> Launch | None:
        """None in a process that nobody launched. Raises DiagnosticError CS753 for an environment that makes no sense."""
        if not all(os.environ.get(name) for name in _NEEDED):
            return None
        try:
            numbers = {name: int(os.environ.get(name, default)) for name, default in _NUMBERS.items()}
        except ValueError:
            values = ", ".join(f"{name}={os.environ.get(name, '')}" for name in _NUMBERS)
            message = f"the environment says which process this is by what are no numbers: {values}"
            raise DiagnosticError(Diagnostic("CS753", message, help=_TORCHRUN)) from None
        launch = cls(
            rank=numbers["RANK"],
            world_size=numbers["WORLD_SIZE"],
            local_rank=numbers["LOCAL_RANK"],
            local_world_size=numbers["LOCAL_WORLD_SIZE"],
            restarts=numbers["TORCHELASTIC_RESTART_COUNT"],
            most_restarts=numbers["TORCHELASTIC_MAX_RESTARTS"],
            address=os.environ["MASTER_ADDR"],
            port=numbers["MASTER_PORT"],
            keeps_store=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )
        if not 0 <= launch.rank < launch.world_size or launch.local_rank < 0:
            message = f"the environment says that this is process {launch.rank} of {launch.world_size}, and "
            message += f"{launch.local_rank} of those of this machine, both counted from 0"
            raise DiagnosticError(Diagnostic("CS753", message, help=_TORCHRUN))
        if not 0 <= launch.port < 1 << 16:
            message = f"the environment says MASTER_PORT={launch.port}, and ports end at 65535"
            raise DiagnosticError(Diagnostic("CS753", message, help=_TORCHRUN))
        return launch

    @property
    def speaks(self) -> bool:
        """Whether this process says what all processes know: one on each machine does, for its log."""
        return self.local_rank == 0


def not_one_for_each(name: str, gpus: Collection[int], processes: int) -> str:
    """The message that a network is on other GPUs than there are processes. processes: that are joined, 0 for none."""
    named = f"GPU {next(iter(gpus))}" if len(gpus) == 1 else f"GPUs {joined([str(gpu) for gpu in gpus])}"
    match processes:
        case 0:
            there = "this process has joined no other"
        case 1:
            there = "there is 1 process"
        case _:
            there = f"there are {processes} processes"
    return f"{name} is on {named}, one for each process, and {there}"
