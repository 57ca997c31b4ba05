"""From the answers for images to one for each group of them, such as the slides of a patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ...errors import ConfigError, DataError
from ..choices import POOLINGS
from .target import Target

__all__ = ["Pooled", "check_pooling", "group_metrics", "pool", "pool_truth"]


class Pooled(NamedTuple):
    """Groups and their answers.

    Attributes:
        groups: their names, in the order in which they first come.
        answers: of each.
        images: places of the images of each.
    """

    groups: tuple[str, ...]
    answers: Float[Tensor, "groups c"]
    images: tuple[tuple[int, ...], ...]


def check_pooling(how: str, target: Target) -> None:
    """Refuse what a target's answers cannot be joined by.

    Raises:
        ConfigError: naming the setting and what can be.
    """
    known = [name for name in POOLINGS if name != "noisy_or" or target.kind in ("classes", "labels")]
    if how not in known:
        raise ConfigError(
            f"{how!r} for the target {target.kind}", where="pool", remedy=f"Choose one of {', '.join(known)}."
        )


def pool(
    answers: Float[Tensor, "n c"], groups: Sequence[str | None], target: Target, how: str = "mean"
) -> Pooled:
    """The answer for each group; an image without group is not in any.

    Args:
        answers: for images.
        groups: of each image, None where it has none.
        target: what the answers are.
        how: "mean" of the answers; "max": that of the image with the most of it, of classes the one least of
            class 0, of labels each label's own; "noisy_or": the probability that any image has it, were they
            independent.

    Raises:
        ConfigError: if that is not possible for this target.

    Example:
        >>> from zoomin.model.targets import target_named
        >>> p, two = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]), target_named("classes", "ab")
        >>> pool(p, ["x", "x", "y"], two, "noisy_or").answers
        tensor([[0.4500, 0.5500],
                [0.2000, 0.8000]])
    """
    check_pooling(how, target)
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        if group is not None:
            members.setdefault(group, []).append(place)
    rows = [_pooled(answers[places], target, how) for places in members.values()]
    joined = torch.stack(rows) if rows else answers[:0]
    return Pooled(tuple(members), joined, tuple(map(tuple, members.values())))


def _pooled(answers: Float[Tensor, "n c"], target: Target, how: str) -> Float[Tensor, " c"]:
    if how == "mean":
        return answers.mean(0)
    if how == "max":
        if not target.picks_one:
            return answers.amax(0)
        most = answers.shape[1] if target.kind == "grade" else 1
        ranks = torch.arange(answers.shape[1], dtype=answers.dtype).clamp(max=most)
        return answers[int((answers @ ranks).argmax())]
    if target.kind == "labels":
        return 1 - (1 - answers).prod(0)
    none = answers[:, :1].prod(0)
    others = answers[:, 1:].sum(0)
    return torch.cat([none, (1 - none) * others / others.sum().clamp(min=1e-12)])


def pool_truth(
    truth: Shaped[Tensor, "n ..."], pooled: Pooled, target: Target, how: str = "mean"
) -> Shaped[Tensor, "groups ..."]:
    """What each group is: what its images are.

    Where they differ, a label that any image has, the mean or the largest of their values, and unless the
    answers are means, the highest class or grade.

    Raises:
        DataError: if images of a group differ and that says nothing about the group.
    """
    rows = []
    for name, places in zip(pooled.groups, pooled.images, strict=True):
        own = truth[list(places)]
        if target.kind == "labels":
            rows.append(own.nan_to_num(-1).amax(0))
        elif target.kind == "value":
            rows.append(own.mean() if how == "mean" else own.max())
        elif bool((own == own[0]).all()):
            rows.append(own[0])
        elif target.picks_one and how != "mean":
            rows.append(own.max())
        else:
            raise DataError(
                f"the images of the group {name!r} have different labels",
                where="pool",
                remedy="Choose max, if one image is enough for a group." if target.picks_one else "Fix them.",
            )
    found = torch.stack(rows) if rows else truth[:0]
    return torch.where(found < 0, torch.nan, found) if target.kind == "labels" else found


def group_metrics(
    answers: Float[Tensor, "n c"],
    truth: Shaped[Tensor, "n ..."],
    groups: Sequence[str | None],
    target: Target,
    how: str | None = None,
) -> dict[str, Any] | None:
    """The metrics of answers for groups: each counts once, however many images it has.

    Args:
        answers: for images.
        truth: of them.
        groups: of each image, None where it has none and is not counted.
        target: what the answers are.
        how: they are joined; None: by their mean, and nothing is measured where groups have no one truth.

    Returns:
        What `Target.metrics` gives, with `pool`, and n_groups as n_images; None where there are no groups of
        several images.

    Raises:
        ConfigError: if that is not possible for this target.
        DataError: if `how` is given, and images of a group differ.
    """
    pooled = pool(answers, groups, target, how or "mean")
    if all(len(places) < 2 for places in pooled.images):
        return None
    try:
        own = pool_truth(truth, pooled, target, how or "mean")
    except DataError:
        if how is not None:
            raise
        return None
    found = target.metrics(pooled.answers, own)
    found["n_groups"] = found.pop("n_images")
    reasons = found["interval_reasons"].items()
    found["interval_reasons"] = {name: why.replace(" images", " groups") for name, why in reasons}
    return {"pool": how or "mean", **found}
