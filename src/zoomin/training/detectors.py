"""Linear detectors on embeddings that stay, learned from image labels: several starts side by side.

While a trunk is frozen, all that its attention learns is one linear layer on embeddings that never change,
and a step costs next to nothing. Multiple-instance learning is not convex: where objects are few, a start can
end with a detector of what a few images happen to have. So many are trained at once, on standardised
channels, and the one with the lowest loss over all training images is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from .config import WarmUp

__all__ = ["LARGEST_GRADIENT", "Detectors", "pooled_loss"]

LARGEST_GRADIENT = 5.0  # norm to which gradients are clipped

Pool = Callable[[Float[Tensor, "rows cells"]], Float[Tensor, " rows"]]
Embeddings = Sequence[Float[Tensor, "_ channels"]]  # one entry per image: the embeddings of its cells


def pooled_loss(
    logits: Float[Tensor, " *images"], labels: Float[Tensor, " *images"], reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of pooled logits, positive or not."""
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction=reduction)


class Detectors:
    """Linear layers to one logit, trained side by side.

    Args:
        layer: the 1 x 1 convolution that one of them becomes; the first starts from it.
        mean: of each channel, subtracted from it.
        std: of each channel, by which it is divided.
        pool: from the logits of an image's cells to the image's.
        config: how many, and how they learn.
        seed: of the others' starts.
    """

    def __init__(
        self,
        layer: nn.Conv2d,
        mean: Float[Tensor, " channels"],
        std: Float[Tensor, " channels"],
        pool: Pool,
        config: WarmUp,
        seed: int,
    ) -> None:
        """Draw the starts."""
        assert layer.bias is not None
        self._layer, self._mean, self._std, self._pool = layer, mean, std, pool
        channels = layer.in_channels
        drawn = torch.rand(
            config.starts - 1, channels + 1, generator=torch.Generator().manual_seed(seed), dtype=mean.dtype
        )
        others = ((2 * drawn - 1) / channels**0.5).to(mean.device)  # PyTorch's own range
        self.weight = torch.cat([layer.weight.detach().flatten(1), others[:, :-1]]).requires_grad_()
        self.bias = torch.cat([layer.bias.detach(), others[:, -1]]).requires_grad_()
        self._adam = torch.optim.Adam(
            [self.weight, self.bias], config.learning_rate, weight_decay=config.weight_decay
        )
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR
        self._falls = cosine(self._adam, config.steps) if config.schedule == "cosine" else None

    def logits(self, embeddings: Embeddings) -> Float[Tensor, "images starts"]:
        """The pooled logit of each image by each detector."""
        sizes = [len(cells) for cells in embeddings]
        cells = functional.linear(
            (torch.cat(list(embeddings)) - self._mean) / self._std, self.weight, self.bias
        )
        rows = pad_sequence(list(cells.split(sizes)), batch_first=True, padding_value=-torch.inf)
        return self._pool(rows.transpose(1, 2).flatten(0, 1)).view(len(embeddings), len(self.bias))

    def step(self, embeddings: Embeddings, labels: Float[Tensor, " images"]) -> Float[Tensor, " starts"]:
        """Learn from some images; the loss of each detector before."""
        losses = self.losses(embeddings, labels).mean(0)
        self._adam.zero_grad()
        losses.sum().backward()
        assert self.weight.grad is not None and self.bias.grad is not None
        norms = (self.weight.grad.square().sum(1) + self.bias.grad.square()).sqrt()
        scale = (LARGEST_GRADIENT / norms.clamp(min=1e-6)).clamp(max=1)
        self.weight.grad *= scale[:, None]
        self.bias.grad *= scale
        self._adam.step()
        if self._falls is not None:
            self._falls.step()
        return losses.detach()

    def losses(
        self, embeddings: Embeddings, labels: Float[Tensor, " images"]
    ) -> Float[Tensor, "images starts"]:
        """The loss of each image by each detector."""
        logits = self.logits(embeddings)
        return pooled_loss(logits, labels[:, None].expand_as(logits), reduction="none")

    @torch.no_grad()
    def keep(self, which: int) -> None:
        """Write one of them into the layer, which sees channels as they are."""
        weight = self.weight[which] / self._std
        self._layer.weight.copy_(weight.view_as(self._layer.weight))
        assert self._layer.bias is not None
        self._layer.bias.fill_(float(self.bias[which] - weight @ self._mean))
