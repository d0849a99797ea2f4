"""The classifiers in plain PyTorch, layer by layer the same networks, and a plain training loop."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def build(name: str, dropout: float) -> nn.Sequential:
    """The PyTorch twin of a classifier: images float32 (N, C, H, W) -> logits (N, K).

    Args:
        name: fashion_cnn, kmnist_cnn, intel_cnn or intel_cnn_bn.
        dropout: rate of every dropout layer.
    """
    return {
        "fashion_cnn": lambda: _two_block_cnn((16, 32), 3, dropout),
        "kmnist_cnn": lambda: _two_block_cnn((8, 16), 5, dropout),
        "intel_cnn": lambda: _intel_cnn(dropout),
        "intel_cnn_bn": lambda: _intel_cnn_bn(dropout),
    }[name]()


def _two_block_cnn(filters: tuple[int, int], first_kernel: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, filters[0], first_kernel, padding=first_kernel // 2),  # 28x28
        nn.ReLU(),
        nn.MaxPool2d(2),  # 14x14
        nn.Conv2d(filters[0], filters[1], 3),  # 12x12
        nn.ReLU(),
        nn.MaxPool2d(2),  # 6x6
        nn.Flatten(),
        nn.Linear(36 * filters[1], 600),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(600, 120),
        nn.ReLU(),
        nn.Linear(120, 10),
    )


def _intel_cnn(dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *_intel_blocks(dropout, batch_norm=False),  # 128x6x6
        nn.Flatten(),
        nn.Linear(4608, 1024),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(1024, 512),
        nn.ReLU(),
        nn.Linear(512, 6),
    )


def _intel_cnn_bn(dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *_intel_blocks(dropout, batch_norm=True),  # 128x6x6
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 1024),
        nn.BatchNorm1d(1024),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(1024, 512),
        nn.BatchNorm1d(512),
        nn.ReLU(),
        nn.Linear(512, 6),
    )


def _intel_blocks(dropout: float, batch_norm: bool) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    for channels, filters in ((3, 32), (32, 64), (64, 128)):  # 24x24, 12x12, 6x6
        blocks.append(nn.Conv2d(channels, filters, 3, padding=1))
        if batch_norm:
            blocks.append(nn.BatchNorm2d(filters))
        blocks += [nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(dropout)]
    return blocks


@torch.no_grad()
def load_keras_weights(network: nn.Sequential, weights: Sequence[np.ndarray]) -> None:
    """Copies ``keras_model.get_weights()`` into the twin.

    Keras keeps convolution kernels as (H, W, in, out), dense ones as (in, out), and flattens
    images row by row with the channels last; PyTorch has the channels first everywhere.
    """
    remaining = iter(weights)
    channels = None  # of the last convolution, until the first dense layer has read it
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            new = [next(remaining).transpose(3, 2, 0, 1), next(remaining)]
            targets, channels = [layer.weight, layer.bias], layer.out_channels
        elif isinstance(layer, nn.Linear):
            kernel = next(remaining)
            if channels:
                side = math.isqrt(layer.in_features // channels)
                kernel = kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3)
                kernel, channels = kernel.reshape(layer.in_features, -1), None
            new, targets = [kernel.T, next(remaining)], [layer.weight, layer.bias]
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            new = [next(remaining) for _ in range(4)]
            targets = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
        else:
            continue
        for target, value in zip(targets, new, strict=True):
            target.copy_(torch.from_numpy(np.ascontiguousarray(value)))


class Trainer:
    """A network, its optimizer and a shuffling DataLoader.

    Args:
        name, dropout: see ``build``.
        optimizer: "sgd" or "adam".
        learning_rate: of the optimizer.
        image: uint8 (N, H, W, C); divided by 256 here, once and for all.
        label: int (N,).
        batch_size: images per step.
    """

    def __init__(
        self,
        name: str,
        dropout: float,
        optimizer: str,
        learning_rate: float,
        image: np.ndarray,
        label: np.ndarray,
        batch_size: int,
    ) -> None:
        self.network = build(name, dropout).train()
        self.optimizer = OPTIMIZERS[optimizer](self.network.parameters(), lr=learning_rate)
        pixels = torch.from_numpy(image).permute(0, 3, 1, 2).contiguous().float() / 256.0
        dataset = TensorDataset(pixels, torch.from_numpy(label).long())
        self.loader = DataLoader(dataset, batch_size=batch_size, shuffle=True)
        self.loss = nn.CrossEntropyLoss()

    def epoch(self) -> float:
        """Trains one epoch and returns its mean loss."""
        total = 0.0
        for image, label in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss(self.network(image), label)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(label)
        return total / len(self.loader.dataset)
