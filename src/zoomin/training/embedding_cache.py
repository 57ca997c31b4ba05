"""What a frozen trunk sees never changes: embeddings of tiles, made once an image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..data.batch import Batch
from ..geometry import TileGrid
from ..model.networks import TimmAttention
from ..model.zoom_in import ZoomIn

__all__ = ["EmbeddingCache", "freeze_trunks", "has_trunk", "trunks"]


class EmbeddingCache:
    """Embeddings of the tiles of images seen so far, by row of the manifest; a few hundred bytes per tile."""

    def __init__(self) -> None:
        """Start empty."""
        self._known: dict[int, Float[Tensor, "tiles channels"]] = {}

    @torch.no_grad()
    def of(self, net: ZoomIn, batch: Batch) -> Float[Tensor, "tiles channels"]:
        """The embeddings of a batch, image by image; those not known are made, all others are not read.

        Raises:
            ImageError: if pixels cannot be read.
        """
        rows = batch.index.tolist()
        new = {row: place for place, row in enumerate(rows) if row not in self._known}
        if new:
            images = batch.select(torch.tensor(list(new.values()))).images
            count = TileGrid.of(images.sizes, net.config.tile_size).count.tolist()
            self._known.update(zip(new, net.embed_tiles(images).split(count), strict=True))
        return torch.cat([self._known[row] for row in rows])

    def on_cpu(self) -> dict[int, Float[Tensor, "tiles channels"]]:
        """All that is known, for other processes."""
        return {row: embeddings.cpu() for row, embeddings in self._known.items()}

    def take(self, known: dict[int, Float[Tensor, "tiles channels"]], device: torch.device) -> None:
        """Know what another process knows."""
        self._known.update({row: e.to(device) for row, e in known.items() if row not in self._known})


def has_trunk(net: ZoomIn, *, positions: bool = False) -> bool:
    """Whether the tile attention has a trunk whose embeddings can be kept; asked for, the other too."""
    attention = (net.tile_attention, net.position_attention) if positions else (net.tile_attention,)
    return all(isinstance(network, TimmAttention) for network in attention)


def trunks(net: ZoomIn, *, features: bool = True) -> list[torch.nn.Module]:
    """The `timm` parts of a network: the trunks of its attention and, if asked for, its feature network."""
    attention = (net.tile_attention, net.position_attention)
    found: list[torch.nn.Module] = [a.trunk for a in attention if isinstance(a, TimmAttention)]
    if features and net.config.features.startswith("timm:"):
        found.append(net.features)
    return found


def freeze_trunks(net: ZoomIn, *, features: bool = True) -> None:
    """Switch the gradients of the pretrained parts off."""
    for trunk in trunks(net, features=features):
        trunk.requires_grad_(False)
