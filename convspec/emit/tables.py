"""What stands beside the class in an emitted module: tables of what was merged, and the hooks of its state_dict."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from convspec.emit.expressions import literal
from convspec.emit.lines import WIDTH
from convspec.program.program import Block, Buffer, Parameter


def parents_table(trees: Mapping[str, Sequence[int]]) -> str:
    lines = ["# The node above each node of the trees of classes; -1 above the root. The classes are the first nodes."]
    lines += ["# fmt: off", "PARENTS: dict[str, list[int]] = {"]
    for path, parents in trees.items():
        numbers = textwrap.wrap(f"{', '.join(map(str, parents))},", WIDTH - 8)
        lines += [f'    "{path}": [', *(f"        {line}" for line in numbers), "    ],"]
    return "\n".join([*lines, "}", "# fmt: on"])


def blocks_table(merged: Sequence[Parameter | Buffer]) -> str:
    lines = [
        "# Which rows and columns of a merged tensor belong to which layer of the spec"
        + ("; () is the whole of a count." if any(not tensor.shape for tensor in merged) else "."),
        "BLOCKS: dict[str, dict[str, tuple[slice, ...]]] = {",
    ]
    for parameter in merged:
        lines.append(f'    "{parameter.name}": {{')
        lines += [f"        {literal(block.name)}: {_index(block)}," for block in parameter.blocks]
        lines.append("    },")
    lines.append("}")
    return "\n".join(lines)


def _index(block: Block) -> str:
    ranges = [pair for pair in (block.rows, block.columns) if pair is not None]
    return f"({', '.join(f'slice({start}, {stop})' for start, stop in ranges)}{',' if len(ranges) == 1 else ''})"


HOOKS = '''
def split_blocks(module: nn.Module, state: dict[str, Tensor], prefix: str, local_metadata: dict[str, object]) -> None:
    """Give each layer of the spec an entry of its own in a state_dict."""
    wholes = {name: state.pop(prefix + name) for name in BLOCKS}
    for name, blocks in BLOCKS.items():
        for block, index in blocks.items():
            state[prefix + block] = wholes[name][index] if index else wholes[name].clone()


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

PARTIAL_HOOKS = HOOKS.replace("for name in BLOCKS}", "for name in BLOCKS if prefix + name in state}").replace(
    """    for name, blocks in BLOCKS.items():
        for block, index in blocks.items():
            state[prefix + block] = wholes[name][index] if index else wholes[name].clone()
""",
    """    for name, whole in wholes.items():
        for block, index in BLOCKS[name].items():
            state[prefix + block] = whole[index] if index else whole.clone()
""",
)
"""Those of a module that has only some of the tensors."""
