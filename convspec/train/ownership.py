"""Which of the processes of a run have each tensor of the network, and which of them writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from convspec.program.program import Block, Program

_Parts = Mapping[int, Program]


def homes(parts: _Parts) -> dict[str, int]:
    """The GPU whose process writes each tensor, by canonical name."""
    found: dict[str, int] = {}
    for gpu, part in parts.items():
        for name in tensor_names(part):
            found.setdefault(name, gpu)
    return found


def tensor_names(part: Program) -> Iterator[str]:
    """The canonical names of all that a part has."""
    for blocks in _blocks(part):
        yield from (block.name for block in blocks)


def ranks_of_parameters(parts: _Parts, replicas: int) -> dict[str, Sequence[int]]:
    """The ranks that have each parameter, ascending, where there are several. Rank r G + g has part g in replica r."""
    places: dict[str, tuple[int, ...]] = {}
    for place, part in enumerate(parts.values()):
        for parameter in part.parameters:
            places[parameter.name] = (*places.get(parameter.name, ()), place)
    ranks = {
        name: [replica * len(parts) + place for replica in range(replicas) for place in own]
        for name, own in places.items()
    }
    return {name: own for name, own in ranks.items() if len(own) > 1}


def _blocks(part: Program) -> Iterator[tuple[Block, ...]]:
    """The canonical pieces of each tensor."""
    yield from (parameter.blocks for parameter in part.parameters)
    yield from (buffer.blocks for buffer in part.buffers)
