"""What stands beside the class in an emitted module: tables of what was merged, and the hooks of its state_dict."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence

from convspec.emit.holders import leaf_of, path_of
from convspec.emit.lines import WIDTH, dictionary, literal
from convspec.program.program import Block, Buffer, Parameter


def tables(trees: Mapping[str, Sequence[int]], merged: Sequence[Parameter | Buffer]) -> list[str]:
    """What a module with these needs beside its class. trees: parents of their nodes, by attribute."""
    found = [_parents_table(trees)] if trees else []
    return found + ([_blocks_table(merged), HOOKS.strip("\n")] if merged else [])


def _parents_table(trees: Mapping[str, Sequence[int]]) -> str:
    lines = ["# The node above each node of the trees of classes; -1 above the root. The classes are the first nodes."]
    lines += ["# fmt: off", "PARENTS: dict[str, list[int]] = {"]
    for path, parents in trees.items():
        numbers = textwrap.wrap(f"{', '.join(map(str, parents))},", WIDTH - 8)
        lines += [f'    "{path}": [', *(f"        {line}" for line in numbers), "    ],"]
    return "\n".join([*lines, "}", "# fmt: on"])


def _blocks_table(merged: Sequence[Parameter | Buffer]) -> str:
    """The pieces of tensors that have several, or another name than the spec's; where all that an attribute holds has but
    another layer's name, that name alone."""
    layers = _renamed(merged)
    several = [tensor for tensor in merged if path_of(tensor.name) not in layers]
    pieces = {tensor.name: {block.name: _index(block, tensor.shape) for block in tensor.blocks} for tensor in several}
    has_wholes = bool(layers) or any(index == "()" for blocks in pieces.values() for index in blocks.values())
    lines: list[str] = []
    for name, blocks in pieces.items():
        entries = [f"{literal(block)}: {index}" for block, index in blocks.items()]
        *others, last = dictionary(f"{literal(name)}: {{", entries)
        lines += [*others, f"{last},"]
    if layers:
        leaves = dict.fromkeys(leaf_of(tensor.name) for tensor in merged if path_of(tensor.name) in layers)
        lines += _renaming(list(leaves), is_alone=not pieces)
    wholes = "; () is all of it" if has_wholes else ""
    return "\n".join(
        [
            *_layers_table(layers),
            f"# Which rows and columns of a tensor belong to which layer of the spec{wholes}.",
            "BLOCKS: dict[str, dict[str, slice | tuple[slice, ...]]] = {",
            *(f"    {line}" for line in lines),
            "}",
        ]
    )


def _renaming(leaves: Sequence[str], *, is_alone: bool) -> list[str]:
    """What makes entries of `LAYERS`, whose attributes hold these; by itself, or as one entry of several."""
    names = f"({', '.join(map(literal, leaves))}{',' if len(leaves) == 1 else ''})"
    parts = [
        'f"{attribute}.{leaf}": {f"{layer}.{leaf}": ()}',
        "for attribute, layer in LAYERS.items()",
        f"for leaf in {names}",
    ]
    opening, closing = ("", "") if is_alone else ("**{", "},")
    line = f"{opening}{' '.join(parts)}{closing}"
    if len(line) + 4 <= WIDTH:
        return [line]
    return parts if is_alone else [opening, *(f"    {part}" for part in parts), closing]


def _renamed(merged: Sequence[Parameter | Buffer]) -> dict[str, str]:
    """The layer of each attribute that holds all that this layer has, under another name."""
    owners: dict[str, set[str]] = defaultdict(set)
    for tensor in merged:
        for block in tensor.blocks:
            is_alone = len(tensor.blocks) == 1 and leaf_of(block.name) == leaf_of(tensor.name)
            owners[path_of(tensor.name)].add(path_of(block.name) if is_alone else "")
    return {path: owner for path, (owner, *others) in owners.items() if owner and not others}


def _layers_table(layers: Mapping[str, str]) -> list[str]:
    if not layers:
        return []
    entries = [f"{literal(path)}: {literal(layer)}" for path, layer in layers.items()]
    return [
        "# Layers of the spec whose names no attribute can have, by the attributes that stand for them.",
        *dictionary("LAYERS: dict[str, str] = {", entries),
        "",
    ]


def parts_table(parts: Mapping[int, str]) -> str:
    """The class of each GPU's part, by their names."""
    entries = [f"{gpu}: {name}" for gpu, name in parts.items()]
    return "\n".join(["# The class of each GPU's part.", *dictionary("PARTS: dict[int, type[nn.Module]] = {", entries)])


def _index(block: Block, shape: Sequence[int]) -> str:
    """What cuts the piece off the tensor: a slice of rows, or of rows and columns; `()` for all of it."""
    ranges = [pair for pair in (block.rows, block.columns) if pair is not None]
    while ranges and ranges[-1] == (0, shape[len(ranges) - 1]):
        ranges.pop()
    slices = [f"slice({start}, {stop})" for start, stop in ranges]
    return slices[0] if len(slices) == 1 else f"({', '.join(slices)})"


HOOKS = '''
def split_blocks(module: nn.Module, state: dict[str, Tensor], prefix: str, local_metadata: dict[str, object]) -> None:
    """Give each layer of the spec an entry of its own in a state_dict."""
    wholes = {name: state.pop(prefix + name) for name in BLOCKS if prefix + name in state}
    for name, whole in wholes.items():
        for block, index in BLOCKS[name].items():
            is_shared = not index and len(BLOCKS[name]) > 1  # a count of several layers
            state[prefix + block] = whole.clone() if is_shared else whole[index]


def join_blocks(module: nn.Module, state: dict[str, Tensor], prefix: str, *unused: object) -> None:
    """Put the entries of a state_dict together as the module holds them."""
    wholes = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    joined: dict[str, Tensor] = {}
    for name, blocks in BLOCKS.items():
        if all(prefix + block in state for block in blocks):
            whole = torch.empty_like(wholes[name], requires_grad=False)
            for block, index in blocks.items():
                whole[index] = state.pop(prefix + block)
            joined[prefix + name] = whole
    state.update(joined)
'''
