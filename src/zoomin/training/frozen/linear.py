"""Closed forms on embeddings: principal components, a ridge, logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from ...model.targets import Target

__all__ = [
    "Affine",
    "balanced_ridge",
    "linear_model",
    "logistic",
    "principal",
]


class Affine(NamedTuple):
    """x @ weight + bias.

    Attributes:
        weight: one column for each output.
        bias: of each output.
    """

    weight: Float[Tensor, "inputs outputs"]
    bias: Float[Tensor, " outputs"]

    def __call__(self, x: Float[Tensor, "*n inputs"]) -> Float[Tensor, "*n outputs"]:
        """The outputs."""
        return x @ self.weight + self.bias

    def scaled(self, factor: float) -> Affine:
        """The same outputs times a factor."""
        return Affine(factor * self.weight, factor * self.bias)

    def beside(self, other: Affine) -> Affine:
        """Of the inputs of both, one after the other, the outputs of both."""
        weight = torch.block_diag(self.weight, other.weight)
        return Affine(weight, torch.cat([self.bias, other.bias]))


def principal(x: Float[Tensor, "n dims"], components: int) -> Affine:
    """Standardise columns and project them to their principal components.

    Columns that do not vary are left out. There are fewer components where `x` has fewer rows or columns.
    """
    mean, std = x.mean(0), x.std(0, correction=0)
    scale = torch.where(std > 1e-6, 1 / std.clamp(min=1e-6), 0.0)
    z = (x - mean) * scale
    try:
        _, vectors = torch.linalg.eigh((z.T @ z / len(z)).double())
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # most eigenvalues are 0
        vectors = torch.linalg.svd(z.double(), full_matrices=False)[2].T.flip(1)
    kept = min(components, x.shape[1], max(1, len(x) - 1))
    weight = vectors[:, -kept:].flip(1).float() * scale[:, None]
    return Affine(weight, -mean @ weight)


def balanced_ridge(
    positive: Float[Tensor, "p dims"],
    negative: Float[Tensor, "n dims"],
    components: int,
    penalties: Sequence[float],
) -> list[Affine]:
    """Linear scores, near 1 for the positive rows and -1 for the negative, both of which weigh alike.

    Args:
        positive: rows.
        negative: rows.
        components: principal components of all rows that it sees.
        penalties: of the squared weights; a score for each.
    """
    x = torch.cat([positive, negative])
    project = principal(x, components)
    z, n = project(x), len(x)
    target = torch.cat([torch.ones(len(positive)), -torch.ones(len(negative))])
    weight = torch.cat([torch.full((len(rows),), n / 2 / max(1, len(rows))) for rows in (positive, negative)])
    mean = (weight[:, None] * z).sum(0) / weight.sum()
    middle = (weight * target).sum() / weight.sum()
    centred = z - mean
    values, vectors = torch.linalg.eigh(((centred * weight[:, None]).T @ centred).double())
    right = vectors.T @ ((centred * weight[:, None]).T @ (target - middle)).double()
    scores = []
    for penalty in penalties:
        w = (vectors @ (right / (values.clamp(min=0) + penalty))).float()
        scores.append(Affine((project.weight @ w)[:, None], (middle + (project.bias - mean) @ w)[None]))
    return scores


def logistic(
    x: Float[Tensor, "n dims"], labels: Int[Tensor, " n"], n_classes: int, strength: float
) -> Affine:
    """Multinomial logistic regression on standardised columns; a class without rows has the logit -30."""
    from sklearn.linear_model import LogisticRegression

    mean, std = x.mean(0), x.std(0, correction=0)
    scale = torch.where(std > 1e-6, 1 / std.clamp(min=1e-6), 0.0)
    fitted = LogisticRegression(C=strength, max_iter=1000).fit(((x - mean) * scale).numpy(), labels.numpy())
    rows, intercept = torch.from_numpy(fitted.coef_).float(), torch.from_numpy(fitted.intercept_).float()
    if len(rows) == 1:  # two classes: the logit of the second over the first
        rows, intercept = torch.cat([-rows, rows]) / 2, torch.cat([-intercept, intercept]) / 2
    weight, bias = torch.zeros(x.shape[1], n_classes), torch.full((n_classes,), -30.0)
    found = torch.from_numpy(fitted.classes_)
    weight[:, found] = rows.T * scale[:, None]
    bias[found] = intercept - mean @ weight[:, found]
    return Affine(weight, bias)


def linear_model(
    x: Float[Tensor, "n dims"], truth: Shaped[Tensor, "n ..."], target: Target, strength: float
) -> Affine:
    """The linear model of a target's loss on standardised columns: of classes `logistic`.

    Args:
        x: a row for each image.
        truth: what each image is.
        target: what is learned.
        strength: C: the loss of all images counts so much beside half of the squared weights; of a loss that
            curves more than a logistic one, so much less.
    """
    if target.picks_one:
        return logistic(x, truth, len(target.names), strength)
    mean, std = x.mean(0), x.std(0, correction=0)
    scale = torch.where(std > 1e-6, 1 / std.clamp(min=1e-6), 0.0)
    z = (x - mean) * scale
    weight = torch.zeros(x.shape[1], len(target.names), requires_grad=True)
    bias = torch.zeros(len(target.names), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    penalty = target.curvature / 0.25 / (2 * strength * len(x))

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = target.loss(z @ weight + bias, truth) * len(target.names)
        loss = loss + penalty * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    fitted = weight.detach() * scale[:, None]
    return Affine(fitted, bias.detach() - mean @ fitted)
