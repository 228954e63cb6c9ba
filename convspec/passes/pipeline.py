"""The whole order of the compiler after lowering, on one screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from convspec.passes.fuse_costs import fuse_costs
from convspec.passes.fuse_lrn_pool import fuse_lrn_pool
from convspec.passes.insert_transfers import insert_transfers
from convspec.passes.merge_towers import merge_towers
from convspec.passes.place_layers import place_layers
from convspec.passes.remove_identities import remove_identities
from convspec.passes.remove_unread import remove_unread
from convspec.passes.share_equal import share_equal, share_equal_on_gpus
from convspec.program.program import Program
from convspec.program.verify import verify

Pass = Callable[[Program], Program]


# Target *folded*: one device, fewer than the spec names.
FOLDED: tuple[Pass, ...] = (
    remove_identities,  # dropout that keeps all, a concat of one
    fuse_costs,  # costs of a softmax or sigmoid from its inputs: finite gradients
    share_equal,  # towers that compute the same from the same
    merge_towers,  # twin layers on several GPUs become one grouped operator
    remove_unread,  # what no output needs
    fuse_lrn_pool,  # bias, ReLU, LRN and max pool in one pass over the maps
)

# Target *devices*, and the beginning of *spmd*: the GPUs that the spec names.
PLACED: tuple[Pass, ...] = (
    remove_identities,
    fuse_costs,
    place_layers,  # an operator on each GPU for a layer that names several
    share_equal_on_gpus,  # what is computed twice on one GPU
    remove_unread,
    insert_transfers,  # what crosses between GPUs, once and at the narrowest place
    fuse_lrn_pool,
)


class Target(Enum):
    """What a program is made for.

    FOLDED: one device, whatever the spec names. DEVICES: the GPUs that the spec names, fed by one process.
    SPMD: the same, a process for each of them, as `torchrun` starts them.
    """

    FOLDED = "folded"
    DEVICES = "devices"
    SPMD = "spmd"

    @classmethod
    def named(cls, name: str) -> Target:
        """Raises ValueError for a name that is none."""
        if name not in {target.value for target in cls}:
            raise ValueError(f"target is 'folded', 'devices' or 'spmd', not {name!r}")
        return cls(name)


PASSES: Mapping[Target, tuple[Pass, ...]] = {Target.FOLDED: FOLDED, Target.DEVICES: PLACED, Target.SPMD: PLACED}


def run_passes(
    program: Program, passes: tuple[Pass, ...] = FOLDED, *, after: Callable[[str, Program], None]
) -> Program:
    """The program after all passes. `after` is called with each pass's name and result, `lower` first."""
    after("lower", verify(program))
    for rewrite in passes:
        program = verify(rewrite(program))
        after(rewrite.__name__, program)
    return program
