"""What a launcher such as `torchrun` tells the processes that it started, in their environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from convspec.diagnostics import Diagnostic, DiagnosticError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Launch:
    """rank: of this process among `world_size`, over all machines. local_rank: among the `local_world_size` of this one.

    restarts: how many times all of them were started anew after one had ended.
    """

    rank: int
    world_size: int
    local_rank: int = 0
    local_world_size: int = 1
    restarts: int = 0

    @classmethod
    def find(cls) -> Launch | None:
        """None in a process that nobody launched."""
        if not all(os.environ.get(name) for name in _NEEDED):
            return None
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
        defaults = ("", "", "0", "1", "0")
        try:
            numbers = [int(os.environ.get(name, default)) for name, default in zip(names, defaults, strict=True)]
        except ValueError:
            values = ", ".join(f"{name}={os.environ.get(name, '')}" for name in names)
            message = f"the environment says which process this is by what are no numbers: {values}"
            raise DiagnosticError(Diagnostic("CS753", message, help="start the processes with torchrun")) from None
        return cls(*numbers)

    def interrupted_run(self, run_dir: str | None) -> str | None:
        """The run to go on with, where the launcher starts all processes anew; None where they start for the first time.

        Raises DiagnosticError CS753 where nobody said which run that is.
        """
        if self.restarts == 0:
            return None
        if run_dir is None:
            message = "the launcher started all processes anew, and nobody said which run they go on with"
            raise DiagnosticError(Diagnostic("CS753", message, help="name the run: --run runs/NAME, or --resume DIR"))
        return run_dir if (Path(run_dir) / "settings.json").is_file() else None
