"""Your own training loop: every loss of the paper in about twenty lines of PyTorch, no Lightning.

python examples/training_loop.py            # makes images with tiny objects, trains for a few seconds
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from zoomin import ZoomIn, ZoomInConfig, open_image
from zoomin.annotations.reader import RoiReader
from zoomin.data.find import open_dataset
from zoomin.data.manifest import Manifest
from zoomin.datasets.synthetic.needles import NeedleConfig, make_needles
from zoomin.images.batch import as_batch
from zoomin.model.losses import classification_loss, contrastive_loss, entropy_loss, roi_loss


def train(net: ZoomIn, manifest: Manifest, epochs: int, batch_size: int = 4) -> list[float]:
    """Train a network on labelled, annotated images; the mean loss of each epoch."""
    images = [open_image(record.image) for record in manifest]
    labels, roi = torch.as_tensor(manifest.targets()), RoiReader(manifest.records)
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=1e-3), []
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        total = 0.0
        for index in torch.randperm(len(images), generator=generator).split(batch_size):
            batch, y, n = as_batch([images[i] for i in index]), labels[index], len(index)
            out = net(batch, generator=generator, contrast=y > 0)
            log_alpha, grid, tiles = out.attention.log_alpha, out.attention.grid, out.tiles
            share = roi.read(batch, index, grid.image, grid.regions)[:, 0, 0]
            in_tiles = torch.zeros_like(log_alpha).index_put((grid.image, grid.index), share)
            in_positions = roi.read(batch, index, tiles.image, tiles.regions, tiles.map_size).flatten(1)
            loss = (
                classification_loss(out.logits, y)
                + contrastive_loss(out.contrast_logits, n)
                + entropy_loss(log_alpha, tiles.log_beta, tiles.image, strength=1e-5)
                + 0.1 * roi_loss(log_alpha, in_tiles, torch.arange(n), n)
                + 0.1 * roi_loss(tiles.log_beta, in_positions, tiles.image, n)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * n
        losses.append(total / len(images))
    return losses


def main(folder: Path) -> None:
    """Make images, train, save and load the model."""
    sizes = dict(min_size=128, max_size=160, min_needles=2, max_needles=4)
    make_needles(folder / "images", NeedleConfig(n_train=16, n_val=0, n_test=0, **sizes))
    torch.manual_seed(0)
    config = ZoomInConfig(
        tile_size=64, sub_tile_size=27, tile_scale=0.25, sub_tile_scale=0.5, features="lenet_released"
    )
    net = ZoomIn(config)
    losses = train(net, open_dataset(folder / "images"), epochs=4)
    print("loss by epoch:", ", ".join(f"{loss:.3f}" for loss in losses))
    model = net.save_pretrained(folder / "model")  # what `zoomin predict --run` takes
    print("saved:", ", ".join(sorted(path.name for path in model.iterdir())))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
