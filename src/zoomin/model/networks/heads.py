"""Classification heads g: from the expected feature to logits."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .reference import Reference

__all__ = ["LinearHead"]


class LinearHead(nn.Linear):
    """One linear layer (supplement, table 5), so that logits are sums of the sub-tiles' contributions.

    Input: features (n, dims). Output: logits (n, classes).

    Attributes:
        mean_feature: mean feature of the training images, from which explanations start; None where it is not
            known, as before the end of a training.
        reference: what the features of new images are compared with; None likewise.
    """

    mean_feature: Float[Tensor, " dims"] | None
    reference: Reference | None

    def __init__(self, in_features: int, out_features: int) -> None:
        """A layer with a bias."""
        super().__init__(in_features, out_features)
        self.register_buffer("mean_feature", None)
        self.reference = None

    def forward(self, features: Float[Tensor, "*n dims"]) -> Float[Tensor, "*n classes"]:
        """Logits, in single precision wherever the networks compute in another."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(self.seen(features))

    @torch.no_grad()
    def rescale(self, scale: float, shift: Float[Tensor, " classes"] | None = None) -> None:
        """Multiply all logits, and the contributions to them, by a number; then add to the bias."""
        self.weight.mul_(scale)
        self.bias.mul_(scale)
        if shift is not None:
            self.bias.add_(shift.to(self.bias))

    def seen(self, features: Float[Tensor, "*n dims"]) -> Float[Tensor, "*n inputs"]:
        """What the linear layer sees of features."""
        return features.to(self.weight.dtype)

    @torch.no_grad()
    def ood_p_values(self, features: Float[Tensor, "n dims"]) -> list[float | None]:
        """How like the training images each image is, by its feature: see `Reference`; None without one."""
        if self.reference is None:
            return [None] * len(features)
        return [*self.reference.p_value(self.seen(features)).tolist()]

    @torch.no_grad()
    def keep_mean(self, seen: Float[Tensor, "n inputs"]) -> None:
        """Keep the mean of what the layer sees of training images, from which explanations start."""
        self.mean_feature = seen.to(self.weight).mean(0)

    def mean_parts(self, dims: int) -> Float[Tensor, "copies classes"] | None:
        """What the mean feature of the sub-tiles adds to the logits, by each copy; None where it is unknown.

        Args:
            dims: of the features of sub-tiles; what follows them is of a view of the whole image.
        """
        return (
            None if self.mean_feature is None else (self.mean_feature[:dims] @ self.weight[:, :dims].T)[None]
        )

    def shares(
        self, features: Float[Tensor, "n dims"], weight: Float[Tensor, " n"], whole: Float[Tensor, "n all"]
    ) -> Float[Tensor, "n copies"]:
        """The weight of sub-tiles in the feature of their image, in each copy; see `contributions`."""
        return weight[:, None]

    def contributions(
        self, features: Float[Tensor, "n dims"], weight: Float[Tensor, " n"], whole: Float[Tensor, "n all"]
    ) -> tuple[Float[Tensor, "n classes"], Float[Tensor, " n"]]:
        """What sub-tiles add to the logits of their image, and their weight in it.

        Args:
            features: of the sub-tiles.
            weight: of each in the expected feature.
            whole: the feature of the image of each, that of a view of the whole image behind the expected
                one.
        """
        return weight[:, None] * (features @ self.weight[:, : features.shape[1]].T), weight

    def context(self, features: Float[Tensor, "n context"]) -> Float[Tensor, "n classes"]:
        """What the features of views of whole images add to the logits."""
        return features.float() @ self.weight[:, self.weight.shape[1] - features.shape[1] :].T

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:  # noqa: ANN401
        """Models are saved with a mean feature and a reference, or without."""
        mean = state_dict.get(f"{prefix}mean_feature")
        self.mean_feature = None if mean is None else self.weight.new_empty(mean.shape)
        known = (state_dict.get(f"{prefix}reference.{name}") for name in Reference.KEPT)
        empty = [self.weight.new_empty(each.shape) for each in known if each is not None]
        self.reference = Reference(*empty) if len(empty) == len(Reference.KEPT) else None
        super()._load_from_state_dict(state_dict, prefix, *args)
