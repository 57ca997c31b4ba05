"""What the tests of all baselines do: learn a toy problem, be saved, answer alike in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from zoomin.baselines import Baseline
from zoomin.images.array import ArrayImage


def squares(n: int, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Dark noise, with a bright square somewhere in every other image; and the labels."""
    g = torch.Generator().manual_seed(seed)
    pixels = torch.randint(60, (n, 3, size, size), generator=g, dtype=torch.uint8)
    labels = torch.arange(n) % 2
    for image in labels.nonzero()[:, 0].tolist():
        y, x = torch.randint(size - 12, (2,), generator=g).tolist()
        pixels[image, :, y : y + 12, x : x + 12] = 255
    return pixels, labels


def learn(net: Baseline[Any], steps: int, learning_rate: float = 1e-2) -> float:
    """Train on squares; the accuracy on squares never seen."""
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), lr=learning_rate)
    for step in range(steps):
        images, labels = squares(8, seed=step)
        out = net(images, labels=labels, keys=torch.arange(8) + 100 * step)
        optimiser.zero_grad()
        (cross_entropy(out.logits, labels) + out.penalty).backward()
        optimiser.step()
    images, labels = squares(24, seed=10_000)
    with torch.no_grad():
        logits = net.eval()(images, keys=torch.arange(24)).logits
    return float((logits.argmax(1) == labels).float().mean())


def ragged() -> list[ArrayImage]:
    """Four images of three sizes."""
    g = torch.Generator().manual_seed(1)
    sizes = [(60, 44), (40, 90), (60, 44), (33, 35)]
    return [ArrayImage(torch.randint(256, (3, *size), generator=g, dtype=torch.uint8)) for size in sizes]


def check_contract(net: Baseline[Any], folder: Path, images: list[ArrayImage] | None = None) -> None:
    """Every parameter gets a gradient; an image's answer is its own; a saved model answers alike.

    Args:
        net: of any state.
        folder: to save it in.
        images: four; by default `ragged`.
    """
    images = images or ragged()
    net.train()
    out = net(images, keys=torch.arange(4), labels=torch.tensor([0, 1, 1, 0]))
    assert out.logits.shape == (4, net.config.n_classes)
    assert out.replicates.shape == (1, *out.features.shape)
    assert out.pixels_read.shape == out.views_read.shape == (4,)
    (out.logits.square().sum() + out.penalty).backward()
    without = [name for name, weight in net.named_parameters() if weight.grad is None]
    assert not without
    net.zero_grad()
    net.eval()
    with torch.no_grad():
        whole = net(images, keys=torch.arange(4)).logits
        alone = torch.cat([net([image], keys=torch.tensor([key])).logits for key, image in enumerate(images)])
        torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)
        net.save_pretrained(folder)
        again = type(net).from_pretrained(folder)
        assert again.config == net.config
        torch.testing.assert_close(again(images, keys=torch.arange(4)).logits, whole)
