"""TwoTowers, compiled by convspec from <string>.

inputs      data (N, 3, 16, 16), labels (N,)
outputs     probs (N, 4), cost ()
parameters  3,370
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convspec_kernels import Noise, bias_act_lrn_max_pool2d, dropout


class TwoTowers(nn.Module):
    """`forward` takes values by the names of data layers, and gives values by the names of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, kernel_size=3, stride=2)  # conv1a | conv1b
        self.conv2 = nn.Conv2d(8, 8, kernel_size=3, padding=1, groups=2)  # conv2a | conv2b
        self.conv3 = nn.Conv2d(8, 12, kernel_size=3, padding=1)  # conv3a | conv3b
        self.fc4 = nn.Linear(192, 10)  # fc4a | fc4b
        self.scores = nn.Linear(10, 4)
        self.register_state_dict_post_hook(split_blocks)
        self.register_load_state_dict_pre_hook(join_blocks)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights."""
        for name in ("conv1.weight", "conv2.weight", "conv3.weight", "fc4.weight", "scores.weight"):
            nn.init.normal_(self.get_parameter(name), std=0.1)
        for name in ("conv1.bias", "conv2.bias", "conv3.bias", "fc4.bias", "scores.bias"):
            nn.init.zeros_(self.get_parameter(name))

    def forward(self, inputs: dict[str, Tensor], noise: Noise | None = None) -> dict[str, Tensor]:
        noise = noise or Noise.draw(self.training)  # one number a step: masks are functions of it, layer and case
        data = inputs["data"]  # 3x16x16
        conv1 = F.conv2d(F.pad(data, (0, 1, 0, 1)), self.conv1.weight, stride=2)  # 8x8x8
        pool1 = bias_act_lrn_max_pool2d(
            conv1, self.conv1.bias, "relu", size=3, alpha=5.0, beta=0.75, k=2.0, groups=2, kernel_size=3, stride=2
        )  # 8x4x4
        conv2 = F.relu(self.conv2(pool1))  # 8x4x4
        conv3 = F.relu(self.conv3(conv2))  # 12x4x4
        fc4 = F.relu(self.fc4(conv3.flatten(1)))  # 10
        # dropout divides by the share that it keeps; times that share, units are whole in training and scaled at test
        drop4 = 0.5 * dropout(fc4, 0.5, self.training, noise, "drop4a", "drop4b")  # 10
        scores = self.scores(drop4)  # 4
        probs = F.softmax(scores, dim=1)  # 4
        outputs = {"probs": probs}
        if "labels" in inputs:
            outputs["cost"] = F.cross_entropy(scores, inputs["labels"])
        return outputs

    def objective(self, outputs: dict[str, Tensor]) -> Tensor:
        """What training makes small, from what `forward` gave."""
        return 0.7 * outputs["cost"]


# Which rows and columns of a tensor belong to which layer of the spec.
BLOCKS: dict[str, dict[str, slice | tuple[slice, ...]]] = {
    "conv1.weight": {"conv1a.weight": slice(0, 4), "conv1b.weight": slice(4, 8)},
    "conv1.bias": {"conv1a.bias": slice(0, 4), "conv1b.bias": slice(4, 8)},
    "conv2.weight": {"conv2a.weight": slice(0, 4), "conv2b.weight": slice(4, 8)},
    "conv2.bias": {"conv2a.bias": slice(0, 4), "conv2b.bias": slice(4, 8)},
    "conv3.weight": {
        "conv3a.weights.0": (slice(0, 6), slice(0, 4)),
        "conv3a.weights.1": (slice(0, 6), slice(4, 8)),
        "conv3b.weights.0": (slice(6, 12), slice(4, 8)),
        "conv3b.weights.1": (slice(6, 12), slice(0, 4)),
    },
    "conv3.bias": {"conv3a.bias": slice(0, 6), "conv3b.bias": slice(6, 12)},
    "fc4.weight": {
        "fc4a.weights.0": (slice(0, 5), slice(0, 96)),
        "fc4a.weights.1": (slice(0, 5), slice(96, 192)),
        "fc4b.weights.0": (slice(5, 10), slice(96, 192)),
        "fc4b.weights.1": (slice(5, 10), slice(0, 96)),
    },
    "fc4.bias": {"fc4a.bias": slice(0, 5), "fc4b.bias": slice(5, 10)},
    "scores.weight": {
        "scores.weights.0": (slice(0, 4), slice(0, 5)),
        "scores.weights.1": (slice(0, 4), slice(5, 10)),
    },
}


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
