"""The evidence behind predictions, over many images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Unpack, cast

import torch

from ..classifiers import Classifier, check_explains
from ..explanation import Explanation, Provenance, explain_output
from ..model.output import Explained
from ..model.storage import model_fingerprint
from ..model.targets import target_of
from .config import InferenceConfig, InferenceSettings
from .pipeline import Answered, run_batches
from .prediction import predictions_of
from .sources import ImagesLike, Unreadable

__all__ = ["explain", "explainer", "iter_explanations"]


def explain(
    images: ImagesLike,
    model: Classifier,
    config: InferenceConfig | None = None,
    *,
    device: str | torch.device | None = None,
    **changes: Unpack[InferenceSettings],
) -> list[Explanation]:
    """The evidence behind what `predict` answers with the same arguments.

    Args:
        images: see `predict`, as for all that follow.
        model: what `load_model` gave; Zoom-In, or the baseline ats.
        config: how to sample and run; by default `InferenceConfig()`.
        device: move the model there first.
        changes: settings of `InferenceConfig` instead of those in `config`.

    Raises:
        ConfigError: if a setting does not exist, a value is out of range, or the model is another baseline.
        ImageError: at the first image that cannot be read.
    """
    explanations = []
    for found in iter_explanations(images, model, InferenceConfig.of(config, changes), device=device):
        if isinstance(found, Unreadable):
            raise found.error
        explanations.append(found)
    return explanations


def iter_explanations(
    images: ImagesLike,
    model: Classifier,
    config: InferenceConfig | None = None,
    *,
    device: str | torch.device | None = None,
) -> Iterator[Explanation | Unreadable]:
    """`explain`, one image at a time; one that cannot be read becomes a failure, the others continue.

    Args:
        images: see `predict`, as for all that follow.
        model: what `load_model` gave; Zoom-In, or the baseline ats.
        config: how to sample and run.
        device: move the model there first.
    """
    check_explains(model)
    config = config or InferenceConfig()
    yield from run_batches(images, model, config, device, explainer(model, config))


def explainer(net: Classifier, config: InferenceConfig) -> Callable[[Answered], list[Explanation]]:
    """What makes explanations of the network's output; can be pickled.

    Args:
        net: the network.
        config: how it is run.
    """
    return partial(_explained, net=net, config=config, fingerprint=model_fingerprint(net, net.config))


def _explained(
    found: Answered, *, net: Classifier, config: InferenceConfig, fingerprint: str
) -> list[Explanation]:
    rows = predictions_of(found, net, config)
    return explain_output(
        cast("Explained", found.output),
        [(one.name, one.image) for one in found.opened],
        net.head,
        target_of(net.config),
        provenances=[
            Provenance(fingerprint, found.sampling, r.n_samples, r.replicates, r.seed) for r in rows
        ],
        standard_errors=[row.standard_error for row in rows],
        abstained=[row.abstained for row in rows],
    )
