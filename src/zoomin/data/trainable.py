"""Whether something can be learned from some images, before anything is read."""

from __future__ import annotations

from torch import Tensor

from ..errors import DataError
from .manifest import Manifest

__all__ = ["check_trainable"]

_EVENTS = 3  # least that tells anything


def check_trainable(manifest: Manifest) -> None:
    """Check that something can be learned from these images.

    Raises:
        DataError: if a label is missing, or what is to be learned hardly differs between the images: fewer
            than two classes, a class or label with fewer than two images, equal values, too few events.
    """
    truth = manifest.targets()
    if manifest.target in ("value", "survival"):
        _check_numbers(manifest, truth)
        return
    counts = manifest.counts()
    present = [name for name, count in counts.items() if count]
    least = 1 if manifest.target == "labels" else 2
    if len(present) < least:
        found = f"only the class {present[0]!r}" if present else "no class"
        raise DataError(
            f"{found} in {len(manifest)} images",
            where=manifest.source,
            remedy="Training needs at least two classes." if least > 1 else "Training needs a label.",
        )
    few = [f"{name!r} has {count}" for name, count in counts.items() if count < 2]
    if few:
        raise DataError(
            f"too few images of a class: {', '.join(few)}",
            where=manifest.source,
            remedy="Give at least two images of each class, or leave the class out.",
        )


def _check_numbers(manifest: Manifest, truth: Tensor) -> None:
    if manifest.target == "survival":
        events = int(truth[:, 1].sum())
        if events < _EVENTS or len(truth) <= _EVENTS:
            raise DataError(
                f"{events} events among {len(truth)} images",
                where=manifest.source,
                remedy=f"Training needs at least {_EVENTS} events, and images that lasted longer.",
            )
    elif len(truth) < _EVENTS or float(truth.max()) == float(truth.min()):
        raise DataError(
            f"{len(truth)} images with {len(truth.unique())} different values",
            where=manifest.source,
            remedy=f"Training needs at least {_EVENTS} images, whose values differ.",
        )
