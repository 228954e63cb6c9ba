"""Kills a preparation at each of its moments in turn, ends it, and compares: run by test_prepare in a process of its own.

A child is forked for each moment, while no thread runs beside. A moment is a picture written, or a call that syncs,
renames or removes a file.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from convspec.data.shard_writer import OpenShard
from tests.data.preparing import digests, prepared


def fork(work: Callable[[], object]) -> int:
    """Status of a child that does this."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_at(moment: int, source: Path, target: Path) -> None:
    left = iter(range(moment, -1, -1))

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return wrapped

    for owner, name in ((os, "fsync"), (os, "replace"), (os, "unlink"), (os, "rmdir"), (OpenShard, "add")):
        setattr(owner, name, dying(getattr(owner, name)))
    prepared(source, target, shard_pictures=3)


def main(source: Path, undisturbed: Path, scratch: Path) -> int:
    # a process that is killed leaves behind what it wrote, synced or not; syncing would only take time
    os.fsync = lambda descriptor: None  # type: ignore[assignment]
    expected = digests(undisturbed)
    again, moment = scratch / "again", 0
    while True:
        target = scratch / f"killed-{moment}"
        status = fork(partial(killed_at, moment, source, target))
        # the same folder is also killed over and over, a little later each time
        fork(partial(killed_at, moment, source, again))
        if status == 0:
            break
        if (
            not os.WIFSIGNALED(status)
            or fork(partial(prepared, source, target, shard_pictures=3)) != 0
            or digests(target) != expected
        ):
            print(f"killed at moment {moment}: status {status}")
            return 1
        shutil.rmtree(target)
        moment += 1
    print(f"{moment} kills")
    return 0 if digests(again) == expected else 1


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
