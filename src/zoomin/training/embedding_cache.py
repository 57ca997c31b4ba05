"""What a frozen trunk makes of an image never changes: embeddings, computed once per image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.batch import Batch
from ..model.networks import TimmAttention
from ..model.zoom_in import ZoomIn

__all__ = ["EmbeddingCache", "has_trunk", "trunks"]


class EmbeddingCache:
    """Embeddings of the tiles or crops of images seen so far, by row of the manifest."""

    def __init__(self) -> None:
        """Start empty."""
        self._embeddings: dict[int, Float[Tensor, "views dims"]] = {}

    @torch.no_grad()
    def of(
        self, batch: Batch, embed: Callable[[Batch], Sequence[Tensor]]
    ) -> list[Float[Tensor, "views dims"]]:
        """The embeddings of each image of a batch.

        Args:
            batch: images.
            embed: computes those of each image of a batch; called with the images not seen before.

        Raises:
            ImageError: if pixels cannot be read.
        """
        rows = batch.index.tolist()
        new = {row: place for place, row in enumerate(rows) if row not in self._embeddings}
        if new:
            part = batch.select(torch.tensor(list(new.values())))
            self._embeddings.update(zip(new, embed(part), strict=True))
        return [self._embeddings[row] for row in rows]

    def on_cpu(self) -> dict[int, Float[Tensor, "views dims"]]:
        """All that is known, for other processes."""
        return {row: embeddings.cpu() for row, embeddings in self._embeddings.items()}

    def take(self, known: dict[int, Float[Tensor, "views dims"]], device: torch.device) -> None:
        """Know what another process knows."""
        self._embeddings.update(
            {row: e.to(device) for row, e in known.items() if row not in self._embeddings}
        )


def has_trunk(network: nn.Module) -> bool:
    """Whether an attention network has a trunk, whose embeddings can be kept."""
    return isinstance(network, TimmAttention)


def trunks(net: ZoomIn, *, features: bool = True) -> list[nn.Module]:
    """The `timm` parts of a network: the trunks of its attention and, if asked for, its feature network."""
    attention = (*net.block_attention, net.tile_attention, net.position_attention)
    found: list[nn.Module] = [a.trunk for a in attention if isinstance(a, TimmAttention)]
    if features and net.config.features.startswith("timm:"):
        found.append(net.features)
    return found
