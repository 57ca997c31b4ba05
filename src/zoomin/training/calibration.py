"""From what a network says of images held out to probabilities that can be believed.

One temperature for the logits of a network trained end to end; a scale and a shift for what learns on a
frozen trunk. Both become part of the head: prediction, evaluation and explanation all see
calibrated logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..model.targets import Target

__all__ = ["Calibration", "Temperature", "calibrated", "fit_temperature", "held_out_scores"]

_SHRINK = (
    0.01  # penalty of the logarithm of a calibration's scale, squared: separable images would stretch it
)
FEWEST = 20  # images held out: of fewer, one surprise moves the temperature by half


class Temperature(NamedTuple):
    """What logits are divided by.

    Attributes:
        value: 1 where nothing is changed.
        images: that it was fitted to.
        loss: of their logits before.
        loss_after: and after.
        why_not: the reason where it was not fitted, else "".
    """

    value: float = 1.0
    images: int = 0
    loss: float | None = None
    loss_after: float | None = None
    why_not: str = ""


def fit_temperature(
    logits: Float[Tensor, "n classes"], truth: Shaped[Tensor, "n ..."], target: Target
) -> Temperature:
    """The temperature with the least loss on images held out (Guo et al. 2017).

    The logarithm of the temperature has a normal prior of mean 0 and standard deviation 1, which counts as
    much as one image: where every image is answered rightly, the loss alone would make answers certain.

    Args:
        logits: of images held out.
        truth: what they are; those of which it is unknown do not count.
        target: whose loss counts.

    Example:
        >>> from zoomin.model.targets import target_named
        >>> logits = torch.tensor([[4.0, 0.0]]).repeat(100, 1)
        >>> truth = (torch.arange(100) >= 80).long()
        >>> round(fit_temperature(logits, truth, target_named("classes", "ab")).value, 1)
        2.8
    """
    from scipy.optimize import minimize_scalar

    if not target.has_probabilities:
        return Temperature(why_not=f"the target {target.kind} has no probabilities")
    known = target.known(truth)
    logits, truth = logits[known].double(), truth[known]
    n = len(truth)
    if n < FEWEST:
        return Temperature(images=n, why_not=f"{n} labelled validation images, and it takes {FEWEST}")

    def loss(log_temperature: float) -> float:
        return float(target.loss(logits / math.exp(log_temperature), truth))

    found = minimize_scalar(lambda t: loss(t) + t * t / (2 * n), bounds=(-3.0, 3.0), method="bounded")
    return Temperature(math.exp(found.x), n, loss(0.0), loss(found.x))


class Calibration(NamedTuple):
    """scale * logits + shift.

    Attributes:
        scale: of all logits.
        shift: of each class.
        loss: of the logits it was fitted to, afterwards.
        beside: weight of the logits beside them, which are added before the scale.
    """

    scale: float
    shift: Float[Tensor, " classes"]
    loss: float
    beside: float = 0.0


def held_out_scores(
    logits: Float[Tensor, "n classes"],
    labels: Shaped[Tensor, "n ..."],
    calibration: Calibration,
    target: Target,
    groups: Sequence[object | None],
) -> dict[str, Any]:
    """How calibrated logits answer for images held out, with intervals, for metrics.json.

    Args:
        logits: of images.
        labels: of the images.
        calibration: fitted to them.
        target: what the labels are.
        groups: what each image belongs to, None where it stands alone.
    """
    answers = target.answers(calibration.scale * logits + calibration.shift)
    scores = target.metrics(answers, labels, groups)
    scores.pop("confusion_matrix", None)
    return {**scores, "log_loss": calibration.loss}


def calibrated(
    logits: Float[Tensor, "n classes"],
    labels: Shaped[Tensor, "n ..."],
    target: Target,
    beside: Float[Tensor, "n classes"] | None = None,
) -> Calibration:
    """The scale and the shift of logits with the least loss (Platt 1999; Guo et al. 2017).

    Where classes or labels are certain, the loss asks for Platt's targets, not for 1 and 0: of n images of a
    class one more could have been another. A few dozen images that are all answered rightly make no answer
    certain.

    Args:
        logits: of images.
        labels: of the images.
        target: whose loss counts; a log hazard, which knows no shift, is 0 on average.
        beside: further logits, whose weight is fitted too.
    """
    logits = logits.double()
    other = torch.zeros_like(logits) if beside is None else beside.double()
    unit, other_unit = (some.std().clamp(min=1e-6) for some in (logits, other))
    log_scale, weight = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    shift = torch.zeros(logits.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_scale, weight, shift], max_iter=200, line_search_fn="strong_wolfe")

    softened = _softened(target, labels)

    def value() -> Tensor:
        fitted = log_scale.exp() * logits / unit + weight * other / other_unit + shift
        penalty = _SHRINK * (log_scale**2 + weight**2 + shift.mean() ** 2) + 1e-4 * (shift**2).sum()
        return softened(fitted) + penalty

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = value()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        scale = float(log_scale.exp() / unit)
        ratio = float(weight / other_unit) / scale
        if target.kind == "survival":
            shift = -(scale * (logits + ratio * other)).mean(0)
        loss = float(target.loss(scale * (logits + ratio * other) + shift, labels))
    return Calibration(scale, shift.detach().float(), loss, ratio)


def _softened(target: Target, truth: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss with Platt's targets: (n + 1) / (n + k) for what is true of n images, of k classes."""
    if target.kind == "classes":
        k = len(target.names)
        count = torch.bincount(truth, minlength=k)[truth].double()[:, None]
        share = (1 / (count + k)).expand(-1, k).scatter(1, truth[:, None], (count + 1) / (count + k))
        return lambda logits: -(share * logits.log_softmax(1)).sum(1).mean()
    if target.kind == "labels":
        has, lacks = (truth > 0).sum(0), (truth == 0).sum(0)
        soft = torch.where(truth > 0, (has + 1) / (has + 2), 1 / (lacks + 2)).double()
        soft = soft.where(truth.isfinite(), torch.nan)
        return lambda logits: target.loss(logits, soft)
    return lambda logits: target.loss(logits, truth)
