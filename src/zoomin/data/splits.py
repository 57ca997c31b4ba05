"""Which images train and which evaluate: stratified splits that keep every group on one side."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from torch import Tensor

from ..errors import ConfigError, DataError
from .manifest import SPLITS, Manifest, check_groups

__all__ = ["holdout", "kfold", "split_of"]


def holdout(
    manifest: Manifest, fraction: float, seed: int
) -> tuple[Int[Tensor, " train"], Int[Tensor, " held"]]:
    """Hold out a share of each class, at least one image of it; groups stay whole.

    Of another kind of target, a share of images that are alike (`Target.strata`).

    With groups the share is approximate: one fold of a stratified group k-fold, k = 1 / fraction rounded.

    Args:
        manifest: labelled images; its `split` column is ignored.
        fraction: share to hold out, above 0 and at most 0.5.
        seed: the same seed gives the same split.

    Returns:
        Places in the manifest of the images to train on and of those held out, both ascending.

    Raises:
        ConfigError: if the fraction is out of range.
        DataError: if a label is missing, or a class has too few images or groups to stand on both sides.
    """
    if not 0 < fraction <= 0.5:
        raise ConfigError(
            f"a held-out fraction of {fraction}",
            where="fraction",
            remedy="Give a number above 0 and at most 0.5.",
        )
    groups = _groups(manifest)
    targets = _strata(manifest, groups, at_least=2, purpose="to be on both sides of a split")
    rng = np.random.default_rng([seed, 1])
    if groups is None:
        held = np.sort(np.concatenate([_share(rng, targets == c, fraction) for c in np.unique(targets)]))
    else:
        n_folds = min(round(1 / fraction), _fewest(targets, groups))
        folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=_state(seed, 1))
        held = next(folds.split(targets, targets, groups))[1]
    train = np.setdiff1d(np.arange(len(manifest)), held)
    for side in (train, held):
        lost = np.setdiff1d(targets, targets[side])
        if lost.size and manifest.target == "classes":
            raise DataError(
                f"the class {manifest.classes[lost[0]]!r} cannot be on both sides of a split",
                where=manifest.source,
                remedy="Its groups are too large: give the split in the manifest, or another seed.",
            )
    return torch.from_numpy(train), torch.from_numpy(held)


def kfold(
    manifest: Manifest, n_folds: int, seed: int, repeats: int = 1
) -> list[tuple[Int[Tensor, " train"], Int[Tensor, " held"]]]:
    """Stratified k-fold, repeated with other shuffles; groups stay whole.

    Images whose split is "test" are in no fold, neither to train on nor held out; other splits are not looked
    at. In each repeat every other image is held out exactly once.

    Args:
        manifest: labelled images.
        n_folds: at least 2.
        seed: the same seed gives the same folds.
        repeats: number of times that the images are dealt out.

    Returns:
        `n_folds * repeats` pairs (train, held out) of places in the manifest, repeat by repeat.

    Raises:
        ConfigError: if there are fewer than 2 folds or 1 repeat.
        DataError: if a label is missing, or a class has fewer images (or groups) than there are folds.
    """
    if n_folds < 2 or repeats < 1:
        raise ConfigError(
            f"{n_folds} folds, {repeats} repeats", where="kfold", remedy="Give at least 2 folds and 1 repeat."
        )
    open_to_all = torch.tensor([i for i, r in enumerate(manifest) if r.split != "test"], dtype=torch.int64)
    part = manifest.subset(open_to_all)
    groups = _groups(part)
    targets = _strata(part, groups, at_least=n_folds, purpose=f"for {n_folds} folds")
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = []
    for repeat in range(repeats):
        dealer = kind(n_folds, shuffle=True, random_state=_state(seed, 2, repeat))
        for train, held in dealer.split(targets, targets, groups):
            folds.append((open_to_all[torch.from_numpy(train)], open_to_all[torch.from_numpy(held)]))
    return folds


def split_of(
    manifest: Manifest, seed: int, val_fraction: float, test_fraction: float = 0.0
) -> dict[str, Int[Tensor, " images"]]:
    """The train, val and test images: the manifest's own split where it has one, else drawn at random.

    A manifest that has a split keeps it. What it lacks is held out from its training images: validation by
    `val_fraction`, a test set by `test_fraction`. A test image is never used for training or validation.

    Args:
        manifest: the images; those that are split at random must have labels.
        seed: of the random part.
        val_fraction: share held out for validation, 0 for none.
        test_fraction: share held out for testing, 0 for none.

    Returns:
        "train", "val" and "test": places in the manifest, ascending, disjoint.

    Raises:
        ConfigError: if a fraction is out of range.
        DataError: if only some images have a split, none is for training, a group is in two splits, or
            a class is too small to be split.
    """
    check_groups(manifest.records, manifest.source)
    everything = torch.arange(len(manifest))
    nothing = everything[:0]
    given = [record.split for record in manifest]
    if not any(given):
        splits = {"train": everything, "val": nothing, "test": nothing}
    else:
        _check_given(manifest)
        splits = {name: torch.tensor([s == name for s in given]).nonzero()[:, 0] for name in SPLITS}
    for number, (name, fraction) in enumerate((("test", test_fraction), ("val", val_fraction))):
        if fraction and not splits[name].numel():
            train, held = holdout(manifest.subset(splits["train"]), fraction, seed + 1_000_003 * number)
            splits[name], splits["train"] = splits["train"][held], splits["train"][train]
    return splits


def _check_given(manifest: Manifest) -> None:
    without = [record.place for record in manifest if record.split is None]
    if without:
        raise DataError(
            f"{len(without)} of {len(manifest)} images have no split, the first is {without[0]}",
            where=manifest.source,
            remedy="Give every image a split (train, val, test), or none.",
        )
    if all(record.split != "train" for record in manifest):
        raise DataError(
            "no image is in the split 'train'", where=manifest.source, remedy="Mark the images to train on."
        )


def _groups(manifest: Manifest) -> NDArray[np.int64] | None:
    """A number for each group, an image without group being its own; None where there are no groups."""
    if all(record.group is None for record in manifest):
        return None
    names = [("image", str(i)) if r.group is None else ("group", r.group) for i, r in enumerate(manifest)]
    number: dict[tuple[str, str], int] = defaultdict(lambda: len(number))
    return np.array([number[name] for name in names], dtype=np.int64)


def _fewest(targets: NDArray[np.int64], groups: NDArray[np.int64] | None) -> int:
    """Images, or groups, of the rarest class."""
    members = np.arange(len(targets)) if groups is None else groups
    return min((np.unique(members[targets == c]).size for c in np.unique(targets)), default=0)


def _strata(
    manifest: Manifest, groups: NDArray[np.int64] | None, at_least: int, purpose: str
) -> NDArray[np.int64]:
    """Images alike, by number: the classes, of which none may be too small; of another target, others join.

    Raises:
        DataError: if a label is missing, or a class, or the whole, has too few images or groups.
    """
    if not len(manifest):
        raise DataError("no image to split", where=manifest.source, remedy="Give labelled images.")
    strata: NDArray[np.int64] = manifest.kind().strata(manifest.targets()).numpy()
    if manifest.target == "classes":
        _check_members(manifest, strata, groups, at_least=at_least, purpose=purpose)
        return strata
    members = np.arange(len(strata)) if groups is None else groups
    if np.unique(members).size < at_least:
        kind = "images" if groups is None else "groups"
        raise DataError(
            f"{np.unique(members).size} {kind}, too few {purpose}",
            where=manifest.source,
            remedy="Give more of them, or ask for fewer folds or no held-out share.",
        )
    while (numbers := np.unique(strata)).size > 1:
        counts = [np.unique(members[strata == number]).size for number in numbers]
        least = int(np.argmin(counts))
        if counts[least] >= at_least:
            break
        strata[strata == numbers[least]] = numbers[least - 1 if least else 1]
    return strata


def _check_members(
    manifest: Manifest,
    targets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    at_least: int,
    purpose: str,
) -> None:
    for c in np.unique(targets):
        here = targets == c
        count = int(here.sum()) if groups is None else np.unique(groups[here]).size
        if count < at_least:
            kind = ("image" if groups is None else "group") + "s" * (count != 1)
            raise DataError(
                f"the class {manifest.classes[c]!r} has {count} {kind}, too few {purpose}",
                where=manifest.source,
                remedy="Give more of them, or ask for fewer folds or no held-out share.",
            )


def _share(rng: np.random.Generator, here: NDArray[np.bool_], fraction: float) -> NDArray[np.int64]:
    """A random share of the places where `here` is true, at least one and not all."""
    places = rng.permutation(np.flatnonzero(here))
    return places[: min(max(1, round(fraction * len(places))), len(places) - 1)]


def _state(*seed: int) -> int:
    """A seed for scikit-learn that differs for every combination."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])
