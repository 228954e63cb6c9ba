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
    """`forward` takes values by the names of data layers, and gives values by the names of layers.

    GPU 0  conv1a rnorm1a pool1a conv2a rnorm2a pool2a conv3a conv4a conv5a pool5a fc6a drop6a fc7a drop7a fc8 probs
           logprob
    GPU 1  conv1b rnorm1b pool1b conv2b rnorm2b pool2b conv3b conv4b conv5b pool5b fc6b drop6b fc7b drop7b
    talk   before conv3a conv3b fc6a fc6b fc7a fc7b fc8
    """

    def __init__(self) -> None:
        super().__init__()
        # GPU 0
        self.conv1a = nn.Conv2d(3, 48, kernel_size=11, stride=4)
        self.conv2a = nn.Conv2d(48, 128, kernel_size=5, padding=2)
        self.conv3a = nn.Conv2d(256, 192, kernel_size=3, padding=1)
        self.conv4a = nn.Conv2d(192, 192, kernel_size=3, padding=1)
        self.conv5a = nn.Conv2d(192, 128, kernel_size=3, padding=1)
        self.fc6a = nn.Linear(9216, 2048)
        self.fc7a = nn.Linear(4096, 2048)
        self.fc8 = nn.Linear(4096, 1000)
        # GPU 1
        self.conv1b = nn.Conv2d(3, 48, kernel_size=11, stride=4)
        self.conv2b = nn.Conv2d(48, 128, kernel_size=5, padding=2)
        self.conv3b = nn.Conv2d(256, 192, kernel_size=3, padding=1)
        self.conv4b = nn.Conv2d(192, 192, kernel_size=3, padding=1)
        self.conv5b = nn.Conv2d(192, 128, kernel_size=3, padding=1)
        self.fc6b = nn.Linear(9216, 2048)
        self.fc7b = nn.Linear(4096, 2048)
        self.register_state_dict_post_hook(split_blocks)
        self.register_load_state_dict_pre_hook(join_blocks)
        self.reset_parameters()
        self.gpus: tuple[torch.device, ...] = (torch.get_default_device(),) * 2  # until `place`

    def place(self, *devices: torch.device | str) -> None:
        """Move each layer to its device. devices: of GPUs 0, 1 of the spec, in this order."""
        gpu0, gpu1 = self.gpus = tuple(map(torch.device, devices))
        for layer in (self.conv1a, self.conv2a, self.conv3a, self.conv4a, self.conv5a, self.fc6a, self.fc7a, self.fc8):
            layer.to(gpu0)
        for layer in (self.conv1b, self.conv2b, self.conv3b, self.conv4b, self.conv5b, self.fc6b, self.fc7b):
            layer.to(gpu1)

    def reset_parameters(self) -> None:
        """Draw the initial weights."""
        for name, parameter in self.named_parameters():
            if name.endswith(".weight"):
                nn.init.normal_(parameter, std=0.01)
        for name in ("conv1a.bias", "conv1b.bias", "conv3a.bias", "conv3b.bias", "fc8.bias"):
            nn.init.zeros_(self.get_parameter(name))
        for name in (
            "conv2a.bias",
            "conv2b.bias",
            "conv4a.bias",
            "conv5a.bias",
            "conv4b.bias",
            "conv5b.bias",
            "fc6a.bias",
            "fc6b.bias",
            "fc7a.bias",
            "fc7b.bias",
        ):
            nn.init.ones_(self.get_parameter(name))

    def forward(self, inputs: dict[str, Tensor], noise: Noise | None = None) -> dict[str, Tensor]:
        noise = noise or Noise.draw(self.training)  # one number a step: masks are functions of it, layer and case
        gpu0, gpu1 = self.gpus
        data = inputs["data"]  # 3x227x227
        data_on_0 = data.to(gpu0, non_blocking=True)  # 3x227x227, host to GPU 0
        data_on_1 = data.to(gpu1, non_blocking=True)  # 3x227x227, host to GPU 1
        conv1a = F.conv2d(data_on_0, self.conv1a.weight, stride=4)  # 48x55x55, GPU 0
        conv1b = F.conv2d(data_on_1, self.conv1b.weight, stride=4)  # 48x55x55, GPU 1
        pool1a = bias_act_lrn_max_pool2d(
            conv1a, self.conv1a.bias, "relu", size=5, alpha=0.0005, beta=0.75, k=2.0, kernel_size=3, stride=2
        )  # 48x27x27, GPU 0
        pool1b = bias_act_lrn_max_pool2d(
            conv1b, self.conv1b.bias, "relu", size=5, alpha=0.0005, beta=0.75, k=2.0, kernel_size=3, stride=2
        )  # 48x27x27, GPU 1
        conv2a = F.conv2d(pool1a, self.conv2a.weight, padding=2)  # 128x27x27, GPU 0
        conv2b = F.conv2d(pool1b, self.conv2b.weight, padding=2)  # 128x27x27, GPU 1
        pool2a = bias_act_lrn_max_pool2d(
            conv2a, self.conv2a.bias, "relu", size=5, alpha=0.0005, beta=0.75, k=2.0, kernel_size=3, stride=2
        )  # 128x13x13, GPU 0
        pool2b = bias_act_lrn_max_pool2d(
            conv2b, self.conv2b.bias, "relu", size=5, alpha=0.0005, beta=0.75, k=2.0, kernel_size=3, stride=2
        )  # 128x13x13, GPU 1
        pool2a_on_1 = pool2a.to(gpu1, non_blocking=True)  # 128x13x13, GPU 0 to GPU 1
        pool2b_on_0 = pool2b.to(gpu0, non_blocking=True)  # 128x13x13, GPU 1 to GPU 0
        conv3a = F.relu(self.conv3a(torch.cat([pool2a, pool2b_on_0], dim=1)))  # 192x13x13, GPU 0
        conv3b = F.relu(self.conv3b(torch.cat([pool2a_on_1, pool2b], dim=1)))  # 192x13x13, GPU 1
        conv4a = F.relu(self.conv4a(conv3a))  # 192x13x13, GPU 0
        conv4b = F.relu(self.conv4b(conv3b))  # 192x13x13, GPU 1
        conv5a = F.conv2d(conv4a, self.conv5a.weight, padding=1)  # 128x13x13, GPU 0
        conv5b = F.conv2d(conv4b, self.conv5b.weight, padding=1)  # 128x13x13, GPU 1
        pool5a = bias_act_lrn_max_pool2d(conv5a, self.conv5a.bias, "relu", kernel_size=3, stride=2)  # 128x6x6, GPU 0
        pool5b = bias_act_lrn_max_pool2d(conv5b, self.conv5b.bias, "relu", kernel_size=3, stride=2)  # 128x6x6, GPU 1
        pool5a_on_1 = pool5a.to(gpu1, non_blocking=True)  # 128x6x6, GPU 0 to GPU 1
        pool5b_on_0 = pool5b.to(gpu0, non_blocking=True)  # 128x6x6, GPU 1 to GPU 0
        fc6a = F.relu(self.fc6a(torch.cat([pool5a, pool5b_on_0], dim=1).flatten(1)))  # 2048, GPU 0
        fc6b = F.relu(self.fc6b(torch.cat([pool5a_on_1, pool5b], dim=1).flatten(1)))  # 2048, GPU 1
        # dropout divides by the share that it keeps; times that share, units are whole in training and scaled at test
        drop6a = 0.5 * dropout(fc6a, 0.5, self.training, noise, "drop6a")  # 2048, GPU 0
        drop6b = 0.5 * dropout(fc6b, 0.5, self.training, noise, "drop6b")  # 2048, GPU 1
        drop6a_on_1 = drop6a.to(gpu1, non_blocking=True)  # 2048, GPU 0 to GPU 1
        drop6b_on_0 = drop6b.to(gpu0, non_blocking=True)  # 2048, GPU 1 to GPU 0
        fc7a = F.relu(self.fc7a(torch.cat([drop6a, drop6b_on_0], dim=1)))  # 2048, GPU 0
        fc7b = F.relu(self.fc7b(torch.cat([drop6a_on_1, drop6b], dim=1)))  # 2048, GPU 1
        drop7a = 0.5 * dropout(fc7a, 0.5, self.training, noise, "drop7a")  # 2048, GPU 0
        drop7b = 0.5 * dropout(fc7b, 0.5, self.training, noise, "drop7b")  # 2048, GPU 1
        drop7b_on_0 = drop7b.to(gpu0, non_blocking=True)  # 2048, GPU 1 to GPU 0
        fc8 = self.fc8(torch.cat([drop7a, drop7b_on_0], dim=1))  # 1000, GPU 0
        probs = F.softmax(fc8, dim=1)  # 1000, GPU 0
        outputs = {"probs": probs}
        if "labels" in inputs:
            labels_on_0 = inputs["labels"].to(gpu0, non_blocking=True)  # 1, host to GPU 0
            outputs["logprob"] = F.cross_entropy(fc8, labels_on_0)
        return outputs

    def objective(self, outputs: dict[str, Tensor]) -> Tensor:
        """What training makes small, from what `forward` gave."""
        return outputs["logprob"]


# Which rows and columns of a tensor belong to which layer of the spec.
BLOCKS: dict[str, dict[str, slice | tuple[slice, ...]]] = {
    "conv3a.weight": {
        "conv3a.weights.0": (slice(0, 192), slice(0, 128)),
        "conv3a.weights.1": (slice(0, 192), slice(128, 256)),
    },
    "conv3b.weight": {
        "conv3b.weights.0": (slice(0, 192), slice(0, 128)),
        "conv3b.weights.1": (slice(0, 192), slice(128, 256)),
    },
    "fc6a.weight": {
        "fc6a.weights.0": (slice(0, 2048), slice(0, 4608)),
        "fc6a.weights.1": (slice(0, 2048), slice(4608, 9216)),
    },
    "fc6b.weight": {
        "fc6b.weights.0": (slice(0, 2048), slice(0, 4608)),
        "fc6b.weights.1": (slice(0, 2048), slice(4608, 9216)),
    },
    "fc7a.weight": {
        "fc7a.weights.0": (slice(0, 2048), slice(0, 2048)),
        "fc7a.weights.1": (slice(0, 2048), slice(2048, 4096)),
    },
    "fc7b.weight": {
        "fc7b.weights.0": (slice(0, 2048), slice(0, 2048)),
        "fc7b.weights.1": (slice(0, 2048), slice(2048, 4096)),
    },
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
