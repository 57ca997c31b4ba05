"""Predict over many images: one row per image, whatever happens to the others.

An image's answer depends on the model, the seed and the image alone: every image gets the same key, so that
neither its batch, nor its place in the list, nor the number of threads changes its draws. (Up to the rounding
of the last digits, which convolutions owe to the batch they run in.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from ..classifiers import Classifier
from ..model.sampling import design
from ..model.targets import target_of
from ..progress import progress_bar
from .abstain import why_abstained
from .config import InferenceConfig, InferenceSettings
from .pipeline import Answered, run_batches
from .predictions import ABSTAINED, NO_FOREGROUND, Prediction, Predictions
from .sources import ImagesLike, Unreadable

__all__ = [
    "answer_standard_error",
    "failed_prediction",
    "iter_predictions",
    "predict",
    "predictions_of",
]


def predict(
    images: ImagesLike,
    model: Classifier,
    config: InferenceConfig | None = None,
    *,
    device: str | torch.device | None = None,
    progress: bool = False,
    **changes: Unpack[InferenceSettings],
) -> Predictions:
    """Classify images; one that cannot be read becomes a row with status "error", the others continue.

    The features of the replicates are averaged before the head; the standard error is that of
    `answer_standard_error`. Every image has the same key, derived from the seed: same seed, same answer,
    whatever the batch, the order and the number of threads.

    Args:
        images: paths, images or records (a manifest), or a (B, 3, H, W) tensor (uint8, or float in [0, 1]).
        model: what `load_model` gave.
        config: how to sample and run; by default `InferenceConfig()`.
        device: move the model there first; by default it computes where it is.
        progress: show a progress bar on stderr.
        changes: settings of `InferenceConfig` instead of those in `config`.

    Returns:
        A prediction per image, in their order; a list that a notebook shows as a table.

    Raises:
        ConfigError: if a setting does not exist, or a value is out of range.

    Example:
        >>> from zoomin.model import ZoomIn, ZoomInConfig
        >>> net = ZoomIn(ZoomInConfig(tile_size=32, sub_tile_size=9, class_names=("cat", "dog")))
        >>> [row] = predict(torch.zeros(1, 3, 40, 50, dtype=torch.uint8), net, exact_budget=512)
        >>> row.label in ("cat", "dog"), row.sampling, row.standard_error
        (True, 'exact', 0.0)
    """
    config = InferenceConfig.of(config, changes)
    return Predictions(iter_predictions(images, model, config, device=device, progress=progress))


def iter_predictions(
    images: ImagesLike,
    model: Classifier,
    config: InferenceConfig | None = None,
    *,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> Iterator[Prediction]:
    """`predict`, a prediction at a time, for lists of images of any length.

    Args:
        images: see `predict`, as for all that follow.
        model: what `load_model` gave.
        config: how to sample and run.
        device: move the model there first.
        progress: show a progress bar on stderr.
    """
    config = config or InferenceConfig()

    def answers(found: Answered) -> list[Prediction]:
        return predictions_of(found, model, config)

    total = len(images) if isinstance(images, Sized) and not isinstance(images, (str, Path)) else None
    with progress_bar("Predicting", total, shown=progress) as bar:
        for found in run_batches(images, model, config, device, answers, keep_maps=False):
            bar.advance()
            yield failed_prediction(found, model, config) if isinstance(found, Unreadable) else found


def predictions_of(found: Answered, model: Classifier, config: InferenceConfig) -> list[Prediction]:
    """A row per image that the network answered."""
    output, certain = found.output, not design(found.sampling).random
    target = target_of(model.config)
    answers = target.answers(output.logits.float()).cpu().tolist()
    errors = answer_standard_error(model, output.replicates).float()
    p_values = model.head.ood_p_values(output.replicates.mean(0).float())
    reasons = [why_abstained(config, target, *one) for one in zip(answers, p_values, strict=True)]
    pixels, views, empty = output.pixels_read, output.views_read, output.no_foreground
    n = config.n_samples or model.n_samples
    return [
        Prediction(
            image=one.name,
            label=ABSTAINED if reasons[index] else target.decide(answer),
            probabilities=tuple(answer),
            standard_error=0.0 if certain else float(errors[index]),
            sampling=found.sampling,
            n_samples=int(views[index]) if found.sampling == "exact" else n,
            replicates=1 if certain else config.replicates,
            seed=config.seed,
            pixels_read=int(pixels[index]),
            status=NO_FOREGROUND if index in empty else "ok",
            ood_p_value=p_values[index],
            abstained=reasons[index],
            names=tuple(target.names),
            decoded_pixels=int(getattr(one.image, "decoded_pixels", one.image.height * one.image.width)),
        )
        for index, (one, answer) in enumerate(zip(found.opened, answers, strict=True))
    ]


def failed_prediction(one: Unreadable, model: Classifier, config: InferenceConfig) -> Prediction:
    """The row of an image that could not be read."""
    return Prediction(
        image=one.image,
        label=None,
        probabilities=(),
        standard_error=math.nan,
        sampling=config.sampling,
        n_samples=config.n_samples or model.n_samples,
        replicates=config.replicates,
        seed=config.seed,
        pixels_read=0,
        status="error",
        error=str(one.error),
    )


def answer_standard_error(
    model: Classifier, replicates: Float[Tensor, "replicates batch dims"]
) -> Float[Tensor, " batch"]:
    """Standard error of the answer over the draws, such as the predicted class's probability: delta method.

    With z_r = g(F_r) the logits of replicate r, and s the derivative of the answer by the logits at those of
    the mean feature (of the probability p_k of the predicted class: s_j = p_k (1[j = k] - p_j)), the answer
    changes along replicate r by d_r = sum_j s_j z_rj, and

        SE = sqrt( sum_r (d_r - mean d)^2 / (R (R - 1)) ).

    A single replicate gives NaN.
    """
    logits = model.head(replicates)
    slope = target_of(model.config).slope(model.head(replicates.mean(0)))
    derivative = (slope * logits).sum(2)
    if len(replicates) < 2:
        return torch.full_like(derivative[0], torch.nan)
    error: Tensor = derivative.std(0, correction=1) / math.sqrt(len(replicates))
    return error
