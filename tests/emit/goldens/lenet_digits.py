"""LeNet, compiled by convspec from lenet-digits.cfg.

inputs      data (N, 1, 32, 32), labels (N,)
outputs     probs (N, 10), logprob ()
parameters  61,706
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LeNet(nn.Module):
    """`forward` takes values by the names of data layers, and gives values by the names of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.fc3 = nn.Linear(400, 120)
        self.fc4 = nn.Linear(120, 84)
        self.fc5 = nn.Linear(84, 10)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the initial weights."""
        nn.init.normal_(self.get_parameter("conv1.weight"), std=0.002)
        for name in ("conv1.bias", "conv2.bias", "fc3.bias", "fc4.bias", "fc5.bias"):
            nn.init.zeros_(self.get_parameter(name))
        nn.init.normal_(self.get_parameter("conv2.weight"), std=0.08)
        nn.init.normal_(self.get_parameter("fc3.weight"), std=0.05)
        nn.init.normal_(self.get_parameter("fc4.weight"), std=0.09)
        nn.init.normal_(self.get_parameter("fc5.weight"), std=0.1)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        data = inputs["data"]  # 1x32x32
        conv1 = 1.7159 * torch.tanh(0.6667 * self.conv1(data))  # 6x28x28
        pool1 = F.avg_pool2d(conv1, 2)  # 6x14x14
        conv2 = 1.7159 * torch.tanh(0.6667 * self.conv2(pool1))  # 16x10x10
        pool2 = F.avg_pool2d(conv2, 2)  # 16x5x5
        fc3 = 1.7159 * torch.tanh(0.6667 * self.fc3(pool2.flatten(1)))  # 120
        fc4 = 1.7159 * torch.tanh(0.6667 * self.fc4(fc3))  # 84
        fc5 = self.fc5(fc4)  # 10
        probs = F.softmax(fc5, dim=1)  # 10
        outputs = {"probs": probs}
        if "labels" in inputs:
            outputs["logprob"] = F.cross_entropy(fc5, inputs["labels"])
        return outputs

    def objective(self, outputs: dict[str, Tensor]) -> Tensor:
        """What training makes small, from what `forward` gave."""
        return outputs["logprob"]
