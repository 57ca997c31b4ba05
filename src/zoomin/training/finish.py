"""What follows the last epoch: calibrate the network on validation images, then measure it."""

from __future__ import annotations

from typing import Any

import torch

from ..classifiers import Classifier
from ..data.datamodule import ZoomInDataModule
from ..model.networks import Reference
from ..model.networks.reference import FEWEST
from ..model.targets import target_of
from ..model.targets.pooling import group_metrics
from .calibration import Temperature, fit_temperature
from .config import RunConfig
from .evaluation import Evaluated, evaluate
from .features import training_features

__all__ = ["finish"]


def finish(
    net: Classifier, data: ZoomInDataModule, config: RunConfig, *, calibrate: bool = True
) -> dict[str, Any]:
    """Complete a trained network: its temperature becomes part of the head, the mean feature is kept.

    Args:
        net: trained; afterwards it is in evaluation mode, on the device of the images.
        data: set up.
        config: of the run.
        calibrate: whether a temperature is fitted; not where calibration was part of the training.

    Returns:
        For metrics.json: how the images were read, `calibration`, and the metrics of the validation and test
        images, by many draws.
    """
    how: dict[str, Any] = {
        "sampling": config.train.evaluation_sampling,
        "replicates": config.train.evaluation_replicates,
        "seed": config.seed,
    }
    net.to(data.store.device)
    found: dict[str, Any] = {"evaluation": how}
    held = _evaluated(net, data, "val", how)
    if calibrate:
        found["calibration"] = _calibrated(net, held, config)._asdict()
    found["unlike_training"] = _compared(net, data, held, how)
    for name, evaluated in (("val", held), ("test", _evaluated(net, data, "test", how))):
        if evaluated is not None:
            found[name] = _metrics(net, data, evaluated)
    return found


def _evaluated(net: Classifier, data: ZoomInDataModule, split: str, how: dict[str, Any]) -> Evaluated | None:
    if not data.splits[split].numel():
        return None
    data.manifest.subset(data.splits[split]).targets()  # every one has a label
    return evaluate(net, data.val_dataloader() if split == "val" else data.test_dataloader(), **how)


def _calibrated(net: Classifier, held: Evaluated | None, config: RunConfig) -> Temperature:
    """Divide the head by the temperature of the validation images, where there are enough."""
    if not config.train.calibrate:
        return Temperature(why_not="train.calibrate is false")
    if held is None:
        return Temperature(why_not="there are no validation images")
    with torch.no_grad():
        logits = net.head(held.features.to(net.device)).float().cpu()
    found = fit_temperature(logits, held.labels, target_of(net.config))
    if not found.why_not:
        net.head.rescale(1 / found.value)
    return found


@torch.no_grad()
def _compared(
    net: Classifier, data: ZoomInDataModule, held: Evaluated | None, how: dict[str, Any]
) -> dict[str, Any]:
    """Keep the mean feature where accounts start from it, and what new images are compared with.

    Validation images, where there are enough, take the place of images held out in inner folds.
    """
    images = 0 if held is None else len(held.features)
    starts = net.explains and net.head.mean_feature is None
    if starts or images >= FEWEST:  # else, on a frozen trunk, encoding the images again would double the time
        features = training_features(net, data, **how)
        if starts and len(features):
            net.head.keep_mean(net.head.seen(features.to(net.device)))
        if held is not None and len(features):
            own = (net.head.seen(some.to(net.device)).float() for some in (features, held.features))
            net.head.reference = Reference.of(*own) or net.head.reference
    reference = net.head.reference
    if reference is None:
        why_not = f"{images} validation images can be compared, and it takes {FEWEST}"
        return {"images": images, "held_out": "", "why_not": why_not}
    by = "validation images" if images >= FEWEST else "inner folds"
    return {"images": len(reference.held_out), "held_out": by, "why_not": ""}


@torch.no_grad()
def _metrics(net: Classifier, data: ZoomInDataModule, held: Evaluated) -> dict[str, Any]:
    """What the calibrated head makes of the features."""
    target = target_of(net.config)
    answers = target.answers(net.head(held.features.to(net.device)).float()).cpu()
    groups = [data.manifest.records[row].group for row in held.image.tolist()]
    found = {**target.metrics(answers, held.labels, groups), "failed": held.failed}
    by_group = group_metrics(answers, held.labels, groups, target)
    return found if by_group is None else {**found, "groups": by_group}
