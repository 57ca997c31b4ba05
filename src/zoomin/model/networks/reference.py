"""Whether an image is like the training images: how far its feature lies from theirs."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from ..choices import UNLIKE

__all__ = ["FEWEST", "Reference"]

FEWEST = round(1 / UNLIKE) - 1  # images held out with which a p-value can be that low


class Reference(nn.Module):
    """Mean and covariance of the features of training images, and how far images held out lie from them.

    The distance of an image is Mahalanobis' (Lee et al., *A simple unified framework for detecting
    out-of-distribution samples*, NeurIPS 2018), of one normal distribution for all classes, whose covariance
    is shrunk as Ledoit and Wolf (2004) have it. It becomes a conformal p-value (Bates et al., *Testing for
    outliers with conformal p-values*, Annals of Statistics 2023): the share of images held out that lie as
    far, the image itself among them. Of images like those held out, at most a share p gets a value of p or
    less; where they are held out fold by fold, from copies of the network, nearly so (Vovk, *Cross-conformal
    predictors*, Annals of Mathematics and Artificial Intelligence 2015).

    Attributes:
        mean: of the features of training images, as the head's linear layer sees them; where it is shorter
            than these, what it sees first is compared.
        precision: inverse of their covariance.
        held_out: squared distances of images held out, in order.
    """

    KEPT: ClassVar = ("mean", "precision", "held_out")
    mean: Float[Tensor, " dims"]
    precision: Float[Tensor, "dims dims"]
    held_out: Float[Tensor, " m"]

    def __init__(self, mean: Tensor, precision: Tensor, held_out: Tensor) -> None:
        """Keep what the attributes say."""
        super().__init__()
        for name, value in zip(self.KEPT, (mean, precision, held_out), strict=True):
            self.register_buffer(name, value)

    @classmethod
    def of(cls, features: Float[Tensor, "n dims"], held_out: Float[Tensor, "m dims"]) -> Reference | None:
        """From the features of both; None where there are too few.

        Example:
            >>> near, held = torch.randn(2, 200, 4, generator=torch.Generator().manual_seed(0))
            >>> found = Reference.of(near, held)
            >>> found.p_value(torch.tensor([[0.1, 0.2, 0.0, 0.1], [9.0, 9.0, 9.0, 9.0]])) > 0.05
            tensor([ True, False])
        """
        if len(held_out) < FEWEST or len(features) < 2:
            return None
        own = cls.between(features[None])
        own.held_out = own.distance(held_out).sort().values
        return own

    @classmethod
    def between(cls, features: Float[Tensor, "copies n dims"]) -> Reference:
        """Of some images alone, at least two, none held out: a mean over copies of their squared distances.

        Args:
            features: of images by each copy of a network; compared one after the other: copies * dims.
        """
        fitted = [_mean_and_precision(own.double().cpu()) for own in features]
        mean = torch.cat([mean for mean, _ in fitted])
        precision = torch.block_diag(*(inverse for _, inverse in fitted)) / len(fitted)
        return cls(mean.to(features), precision.to(features), features.new_zeros(0))

    def distance(self, features: Float[Tensor, "n dims"]) -> Float[Tensor, " n"]:
        """Squared distance of features from those of the training images."""
        centred = features[:, : len(self.mean)].to(self.mean) - self.mean
        return ((centred @ self.precision) * centred).sum(1)

    def p_value(self, features: Float[Tensor, "n dims"]) -> Float64[Tensor, " n"]:
        """The share of images held out that lie as far from the training images."""
        m = len(self.held_out)
        nearer = torch.searchsorted(self.held_out, self.distance(features), side="left")
        return (1 + m - nearer).double() / (m + 1)


def _mean_and_precision(
    features: Float64[Tensor, "n dims"],
) -> tuple[Float64[Tensor, " dims"], Float64[Tensor, "dims dims"]]:
    """Mean and inverse covariance, shrunk towards equal variances; quick for many dims and few images."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, dims = features.shape
    mean = features.mean(0)
    centred = features - mean
    share = float(ledoit_wolf_shrinkage(centred.numpy(), assume_centered=True))
    _, singular, axes = torch.linalg.svd(centred, full_matrices=False)
    floor = share * float(centred.square().sum()) / (n * dims)
    spread = (1 - share) * singular.square() / n + floor
    tiny = torch.finfo(features.dtype).eps * float(spread.max())  # no variance, no distance
    along = torch.where(spread > tiny, 1 / spread, torch.zeros(()).double())
    across = 1 / floor if floor > tiny else 0.0
    return mean, across * torch.eye(dims).double() + (axes.T * (along - across)) @ axes
