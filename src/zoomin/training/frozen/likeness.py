"""What new images are compared with, from the inner folds: no image need be held out for it alone."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ...model.networks import Reference
from ...model.networks.reference import FEWEST
from .inner_folds import Folds

__all__ = ["compared_out_of_fold"]


def compared_out_of_fold(
    known: Float[Tensor, "copies n dims"], apart: Sequence[Float[Tensor, "_ n dims"]], folds: Folds
) -> Reference | None:
    """The reference of a model: its training images, and how far each lies from those of the other folds.

    Copies that have learned from an image may see it as they see no other. So each image is compared by the
    copies of the fold that holds it out, with the images these have learned from.

    Args:
        known: what the copies of the model see of the images.
        apart: the same of the copies of each inner fold, of all images.
        folds: the inner folds.

    Returns:
        None where there are too few images.
    """
    if known.shape[1] < FEWEST or min(map(len, folds.train)) < 2:
        return None
    held_out = known.new_zeros(known.shape[1])
    for own, train, held in zip(apart, folds.train, folds.held, strict=True):
        held_out[held] = Reference.between(own[:, train]).distance(own[:, held].transpose(0, 1).flatten(1))
    reference = Reference.between(known)
    reference.held_out = held_out.sort().values
    return reference
