"""The terms of the paper's objective (supplement K, equation 12). Each can be left out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from .choices import RoiTarget
from .estimators import segment_sum

__all__ = ["classification_loss", "contrastive_loss", "entropy", "entropy_loss", "roi_loss"]


def classification_loss(
    logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    class_weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the image labels, optionally weighted by class (weighted mean over the batch).

    Example:
        >>> classification_loss(torch.zeros(2, 2), torch.tensor([0, 1]))
        tensor(0.6931)
    """
    return functional.cross_entropy(logits, labels, class_weights)


def contrastive_loss(
    contrast_logits: Float[Tensor, "positives classes"], batch_size: int
) -> Float[Tensor, ""]:
    """What attention rejects in a positive image must look negative (paper, section 2.3, equation 11).

    The features estimated under the complement laws are classified to the negative class, class 0; each
    weighs 1, and the sum is averaged over the batch like the other terms. No positives: 0.
    """
    if contrast_logits.shape[0] == 0:
        return contrast_logits.new_zeros(())
    negative = torch.zeros(contrast_logits.shape[0], dtype=torch.int64, device=contrast_logits.device)
    return functional.cross_entropy(contrast_logits, negative, reduction="sum") / batch_size


def entropy(log_p: Float[Tensor, "rows cells"]) -> Float[Tensor, " rows"]:
    """Entropy of each row in nats; cells of probability 0 add nothing.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5, 0.0]]).log())
        tensor([0.6931])
    """
    finite = torch.where(log_p.isfinite(), log_p, 0.0)
    return -(log_p.exp() * finite).sum(1)


def entropy_loss(
    log_alpha: Float[Tensor, "batch tiles"],
    log_beta: Float[Tensor, "drawn positions"],
    image: Int[Tensor, " drawn"],
    strength: float,
    between: Sequence[tuple[Float[Tensor, "rows cells"], Int[Tensor, " rows"]]] = (),
) -> Float[Tensor, ""]:
    """-lambda times the entropies of the tile attention and of the drawn tiles' maps, a mean over images.

    Args:
        log_alpha: log attention over the tiles of each image, or over what its first stage attends to; -inf
            where an image has no such tile.
        log_beta: log attention over the positions of each drawn tile.
        image: the image of each drawn tile.
        strength: lambda (paper: 1e-5).
        between: log attention of each stage between these two, where there are more than two stages: a row
            per drawn box, and the image of each.
    """
    batch = log_alpha.shape[0]
    per_image = entropy(log_alpha) + segment_sum(entropy(log_beta), image, batch)
    for log_p, own in between:
        per_image = per_image + segment_sum(entropy(log_p), own, batch)
    return -strength * per_image.mean()


def roi_loss(
    log_p: Float[Tensor, "rows cells"],
    roi: Float[Tensor, "rows cells"],
    image: Int[Tensor, " rows"],
    batch_size: int,
    target: RoiTarget = "share",
) -> Float[Tensor, ""]:
    """Squared distance of attention from the annotated ROI (supplement L, equation 13), a mean over images.

    Rows of images without annotation, and rows without ROI, add nothing.

    Args:
        log_p: log attention, -inf where a cell cannot be attended to; ROI there does not count.
        roi: share of ROI in each cell, 0 to 1; NaN where the image has no annotation.
        image: the image of each row.
        batch_size: number of images.
        target: "share", each cell's part of all ROI of the row, which attention can reach; or "literal", the
            paper's binary mask, which it cannot where several cells hold ROI.

    Example:
        >>> attention = torch.tensor([[0.5, 0.5, 0.0]]).log()
        >>> float(roi_loss(attention, torch.tensor([[0.2, 0.2, 0.0]]), torch.tensor([0]), 1))
        0.0
        >>> float(roi_loss(attention, torch.tensor([[0.2, 0.2, 0.0]]), torch.tensor([0]), 1, "literal"))
        0.5
    """
    mask = torch.where(log_p.isfinite() & roi.isfinite(), roi, 0.0)
    total = mask.sum(1, keepdim=True)
    wanted = (
        mask / total.clamp(min=torch.finfo(mask.dtype).tiny) if target == "share" else (mask > 0).to(mask)
    )
    distance = (wanted - log_p.exp()).square().sum(1) * (total[:, 0] > 0)
    return segment_sum(distance, image, batch_size).mean()
