"""What stands beside the class in an emitted module: tables of what was merged, and the hooks of its state_dict."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from convspec.emit.lines import WIDTH, dictionary, literal
from convspec.program.program import Block, Buffer, Parameter


def parents_table(trees: Mapping[str, Sequence[int]]) -> str:
    lines = ["# The node above each node of the trees of classes; -1 above the root. The classes are the first nodes."]
    lines += ["# fmt: off", "PARENTS: dict[str, list[int]] = {"]
    for path, parents in trees.items():
        numbers = textwrap.wrap(f"{', '.join(map(str, parents))},", WIDTH - 8)
        lines += [f'    "{path}": [', *(f"        {line}" for line in numbers), "    ],"]
    return "\n".join([*lines, "}", "# fmt: on"])


def blocks_table(merged: Sequence[Parameter | Buffer]) -> str:
    """A line a tensor where its layers fit on one, else a line a layer."""
    tensors = {tensor.name: {block.name: _index(block, tensor.shape) for block in tensor.blocks} for tensor in merged}
    has_wholes = any(index == "()" for blocks in tensors.values() for index in blocks.values())
    lines = [
        "# Which rows and columns of a tensor belong to which layer of the spec"
        + ("; () is all of it." if has_wholes else "."),
        "BLOCKS: dict[str, dict[str, tuple[slice, ...]]] = {",
    ]
    for name, blocks in tensors.items():
        entries = [f"{literal(block)}: {index}" for block, index in blocks.items()]
        *others, last = dictionary(f"{literal(name)}: {{", entries)
        lines += [f"    {line}" for line in (*others, f"{last},")]
    return "\n".join([*lines, "}"])


def parts_table(parts: Mapping[int, str]) -> str:
    """The class of each GPU's part, by their names."""
    entries = [f"{gpu}: {name}" for gpu, name in parts.items()]
    return "\n".join(["# The class of each GPU's part.", *dictionary("PARTS: dict[int, type[nn.Module]] = {", entries)])


def _index(block: Block, shape: Sequence[int]) -> str:
    ranges = [pair for pair in (block.rows, block.columns) if pair is not None]
    if all(pair == (0, size) for pair, size in zip(ranges, shape, strict=False)):
        return "()"
    return f"({', '.join(f'slice({start}, {stop})' for start, stop in ranges)}{',' if len(ranges) == 1 else ''})"


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
