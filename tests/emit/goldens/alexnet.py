"""AlexNet, compiled by convspec from alexnet.cfg.

inputs      data (N, 3, 227, 227), labels (N,)
outputs     probs (N, 1000), logprob ()
parameters  60,965,224
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convspec_kernels import Noise, bias_act_lrn_max_pool2d, dropout


class AlexNet(nn.Module):
    """`forward` takes values by the names of data layers, and gives values by the names of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, kernel_size=11, stride=4)  # conv1a | conv1b
        self.conv2 = nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=2)  # conv2a | conv2b
        self.conv3 = nn.Conv2d(256, 384, kernel_size=3, padding=1)  # conv3a | conv3b
        self.conv4 = nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=2)  # conv4a | conv4b
        self.conv5 = nn.Conv2d(384, 256, kernel_size=3, padding=1, groups=2)  # conv5a | conv5b
        self.fc6 = nn.Linear(9216, 4096)  # fc6a | fc6b
        self.fc7 = nn.Linear(4096, 4096)  # fc7a | fc7b
        self.fc8 = nn.Linear(4096, 1000)
        self.register_state_dict_post_hook(split_blocks)
        self.register_load_state_dict_pre_hook(join_blocks)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights."""
        for name, parameter in self.named_parameters():
            if name.endswith(".weight"):
                nn.init.normal_(parameter, std=0.01)
        for name in ("conv1.bias", "conv3.bias", "fc8.bias"):
            nn.init.zeros_(self.get_parameter(name))
        for name in ("conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias"):
            nn.init.ones_(self.get_parameter(name))

    def forward(self, inputs: dict[str, Tensor], noise: Noise | None = None) -> dict[str, Tensor]:
        noise = noise or Noise.draw(self.training)  # one number a step: masks are functions of it, layer and case
        data = inputs["data"]  # 3x227x227
        conv1 = F.conv2d(data, self.conv1.weight, stride=4)  # 96x55x55
        pool1 = bias_act_lrn_max_pool2d(
            conv1, self.conv1.bias, "relu", size=5, alpha=0.0005, beta=0.75, k=2.0, groups=2, kernel_size=3, stride=2
        )  # 96x27x27
        conv2 = F.conv2d(pool1, self.conv2.weight, padding=2, groups=2)  # 256x27x27
        pool2 = bias_act_lrn_max_pool2d(
            conv2, self.conv2.bias, "relu", size=5, alpha=0.0005, beta=0.75, k=2.0, groups=2, kernel_size=3, stride=2
        )  # 256x13x13
        conv3 = F.relu(self.conv3(pool2))  # 384x13x13
        conv4 = F.relu(self.conv4(conv3))  # 384x13x13
        conv5 = F.conv2d(conv4, self.conv5.weight, padding=1, groups=2)  # 256x13x13
        pool5 = bias_act_lrn_max_pool2d(conv5, self.conv5.bias, "relu", kernel_size=3, stride=2)  # 256x6x6
        fc6 = F.relu(self.fc6(pool5.flatten(1)))  # 4096
        # dropout divides by the share that it keeps; times that share, units are whole in training and scaled at test
        drop6 = 0.5 * dropout(fc6, 0.5, self.training, noise, "drop6a", "drop6b")  # 4096
        fc7 = F.relu(self.fc7(drop6))  # 4096
        drop7 = 0.5 * dropout(fc7, 0.5, self.training, noise, "drop7a", "drop7b")  # 4096
        fc8 = self.fc8(drop7)  # 1000
        probs = F.softmax(fc8, dim=1)  # 1000
        outputs = {"probs": probs}
        if "labels" in inputs:
            outputs["logprob"] = F.cross_entropy(fc8, inputs["labels"])
        return outputs

    def objective(self, outputs: dict[str, Tensor]) -> Tensor:
        """What training makes small, from what `forward` gave."""
        return outputs["logprob"]


# Which rows and columns of a tensor belong to which layer of the spec.
BLOCKS: dict[str, dict[str, slice | tuple[slice, ...]]] = {
    "conv1.weight": {"conv1a.weight": slice(0, 48), "conv1b.weight": slice(48, 96)},
    "conv1.bias": {"conv1a.bias": slice(0, 48), "conv1b.bias": slice(48, 96)},
    "conv2.weight": {"conv2a.weight": slice(0, 128), "conv2b.weight": slice(128, 256)},
    "conv2.bias": {"conv2a.bias": slice(0, 128), "conv2b.bias": slice(128, 256)},
    "conv3.weight": {
        "conv3a.weights.0": (slice(0, 192), slice(0, 128)),
        "conv3a.weights.1": (slice(0, 192), slice(128, 256)),
        "conv3b.weights.0": (slice(192, 384), slice(0, 128)),
        "conv3b.weights.1": (slice(192, 384), slice(128, 256)),
    },
    "conv3.bias": {"conv3a.bias": slice(0, 192), "conv3b.bias": slice(192, 384)},
    "conv4.weight": {"conv4a.weight": slice(0, 192), "conv4b.weight": slice(192, 384)},
    "conv4.bias": {"conv4a.bias": slice(0, 192), "conv4b.bias": slice(192, 384)},
    "conv5.weight": {"conv5a.weight": slice(0, 128), "conv5b.weight": slice(128, 256)},
    "conv5.bias": {"conv5a.bias": slice(0, 128), "conv5b.bias": slice(128, 256)},
    "fc6.weight": {
        "fc6a.weights.0": (slice(0, 2048), slice(0, 4608)),
        "fc6a.weights.1": (slice(0, 2048), slice(4608, 9216)),
        "fc6b.weights.0": (slice(2048, 4096), slice(0, 4608)),
        "fc6b.weights.1": (slice(2048, 4096), slice(4608, 9216)),
    },
    "fc6.bias": {"fc6a.bias": slice(0, 2048), "fc6b.bias": slice(2048, 4096)},
    "fc7.weight": {
        "fc7a.weights.0": (slice(0, 2048), slice(0, 2048)),
        "fc7a.weights.1": (slice(0, 2048), slice(2048, 4096)),
        "fc7b.weights.0": (slice(2048, 4096), slice(0, 2048)),
        "fc7b.weights.1": (slice(2048, 4096), slice(2048, 4096)),
    },
    "fc7.bias": {"fc7a.bias": slice(0, 2048), "fc7b.bias": slice(2048, 4096)},
    "fc8.weight": {
        "fc8.weights.0": (slice(0, 1000), slice(0, 2048)),
        "fc8.weights.1": (slice(0, 1000), slice(2048, 4096)),
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
