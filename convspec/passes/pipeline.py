"""The whole order of the compiler after lowering, on one screen."""

from __future__ import annotations

from collections.abc import Callable

from convspec.passes.fuse_costs import fuse_costs
from convspec.passes.fuse_lrn_pool import fuse_lrn_pool
from convspec.passes.merge_towers import merge_towers
from convspec.passes.remove_identities import remove_identities
from convspec.passes.remove_unread import remove_unread
from convspec.passes.share_equal import share_equal
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


def run_passes(
    program: Program, passes: tuple[Pass, ...] = FOLDED, *, after: Callable[[str, Program], None]
) -> Program:
    """The program after all passes. `after` is called with each pass's name and result, `lower` first."""
    after("lower", verify(program))
    for rewrite in passes:
        program = verify(rewrite(program))
        after(rewrite.__name__, program)
    return program
