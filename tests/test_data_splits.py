"""Splits: stratified, reproducible, and no group on two sides."""

from pathlib import Path

import pytest
import torch

from zoomin.data.manifest import Manifest, Record
from zoomin.data.splits import holdout, kfold, split_of
from zoomin.errors import ConfigError, DataError


def listing(n=60, groups=None, splits=None, positive_every=3):
    records = [
        Record(
            Path(f"{i}.png"),
            "pos" if i % positive_every == 0 else "neg",
            group=None if groups is None else groups(i),
            split=None if splits is None else splits(i),
        )
        for i in range(n)
    ]
    return Manifest.of(records, Path("list.csv"))


def grouped(n=60):
    """Groups of three images, each with one positive."""
    return listing(n, groups=lambda i: f"p{i // 3}")


def assert_no_leak(manifest, *sides):
    for i, one in enumerate(sides):
        for other in sides[i + 1 :]:
            assert not set(one.tolist()) & set(other.tolist())
            names = [{manifest.records[row].group for row in side.tolist()} - {None} for side in (one, other)]
            assert not names[0] & names[1]


def share(manifest, rows):
    return manifest.targets()[rows].float().mean().item()


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_holdout_takes_its_share_of_every_class(fraction):
    manifest = listing()
    train, held = holdout(manifest, fraction, seed=3)
    assert torch.cat([train, held]).sort().values.tolist() == list(range(60))
    targets = manifest.targets()
    for c, count in ((0, 40), (1, 20)):
        assert (targets[held] == c).sum() == round(count * fraction)
    assert torch.equal(train, train.sort().values) and torch.equal(held, held.sort().values)


def test_a_seed_decides_the_split():
    manifest = listing()
    assert torch.equal(holdout(manifest, 0.2, 1)[1], holdout(manifest, 0.2, 1)[1])
    assert not torch.equal(holdout(manifest, 0.2, 1)[1], holdout(manifest, 0.2, 2)[1])
    one, other = kfold(manifest, 5, 1), kfold(manifest, 5, 2)
    assert all(torch.equal(a[1], b[1]) for a, b in zip(one, kfold(manifest, 5, 1), strict=True))
    assert any(not torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


def test_the_rarest_class_stands_on_both_sides():
    manifest = listing(22, positive_every=11)
    train, held = holdout(manifest, 0.1, seed=0)
    assert manifest.targets()[train].sum() == 1 and manifest.targets()[held].sum() == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5])
def test_holdout_keeps_groups_whole(fraction, seed):
    manifest = grouped()
    train, held = holdout(manifest, fraction, seed)
    assert_no_leak(manifest, train, held)
    assert torch.cat([train, held]).sort().values.tolist() == list(range(60))
    assert abs(len(held) / 60 - fraction) < 0.1
    assert abs(share(manifest, held) - 1 / 3) < 0.1


def test_images_without_group_are_groups_of_their_own():
    manifest = listing(groups=lambda i: "big" if i < 12 else None)
    train, held = holdout(manifest, 0.25, 0)
    assert_no_leak(manifest, train, held)
    assert 9 <= len(held) <= 21


@pytest.mark.parametrize("make", [listing, grouped])
def test_folds_are_disjoint_stratified_and_cover_everything_in_each_repeat(make):
    manifest = make()
    folds = kfold(manifest, 5, seed=7, repeats=3)
    assert len(folds) == 15
    for repeat in range(3):
        held = torch.cat([held for _, held in folds[5 * repeat : 5 * repeat + 5]])
        assert held.sort().values.tolist() == list(range(60))
    for train, held in folds:
        assert len(train) + len(held) == 60
        assert_no_leak(manifest, train, held)
        assert abs(share(manifest, held) - 1 / 3) < 0.1
    assert not torch.equal(folds[0][1], folds[5][1])


def test_folds_leave_test_images_out():
    manifest = listing(splits=lambda i: "test" if i % 4 == 0 else "train")
    folds = kfold(manifest, 3, seed=0)
    held = torch.cat([held for _, held in folds]).sort().values
    assert held.tolist() == [i for i in range(60) if i % 4]
    assert all(row % 4 for train, _ in folds for row in train.tolist())


def test_too_few_for_folds_or_a_split():
    with pytest.raises(DataError, match="the class 'pos' has 2 images, too few for 3 folds"):
        kfold(listing(22, positive_every=11), 3, 0)
    with pytest.raises(DataError, match="the class 'pos' has 1 image, too few to be on both sides"):
        holdout(listing(11, positive_every=11), 0.2, 0)
    with pytest.raises(DataError, match="has 2 groups, too few for 3 folds"):
        kfold(listing(60, groups=lambda i: "ab"[i % 2]), 3, 0)
    with pytest.raises(DataError, match="has 1 group, too few"):
        holdout(listing(60, groups=lambda i: "all"), 0.2, 0)
    with pytest.raises(ConfigError, match="1 folds"):
        kfold(listing(), 1, 0)
    with pytest.raises(ConfigError, match=r"fraction of 0\.9"):
        holdout(listing(), 0.9, 0)
    with pytest.raises(DataError, match="no image to split"):
        holdout(listing(0), 0.2, 0)


def test_a_missing_label_stops_a_random_split():
    manifest = Manifest.of([Record(Path("a.png"), None, row=2), Record(Path("b.png"), "x")], Path("l.csv"))
    for attempt in (lambda: holdout(manifest, 0.2, 0), lambda: kfold(manifest, 2, 0)):
        with pytest.raises(DataError, match=r"a\.png \(row 2\) has no label"):
            attempt()


@pytest.mark.parametrize("make", [listing, grouped])
def test_a_manifest_without_split_is_split_at_random(make):
    manifest = make()
    parts = split_of(manifest, seed=0, val_fraction=0.2, test_fraction=0.2)
    assert torch.cat(list(parts.values())).sort().values.tolist() == list(range(60))
    assert all(6 <= len(parts[name]) <= 15 for name in ("val", "test"))
    assert_no_leak(manifest, *parts.values())
    assert {name: len(rows) for name, rows in split_of(manifest, 0, 0.0).items()} == {
        "train": 60,
        "val": 0,
        "test": 0,
    }


def test_the_manifests_own_split_is_kept():
    manifest = listing(splits=lambda i: ("train", "train", "val", "test")[i % 4])
    parts = split_of(manifest, seed=0, val_fraction=0.5, test_fraction=0.5)
    assert parts["val"].tolist() == list(range(2, 60, 4))
    assert parts["test"].tolist() == list(range(3, 60, 4))
    assert len(parts["train"]) == 30


@pytest.mark.parametrize("seed", range(4))
def test_a_test_split_is_never_used_for_validation(seed):
    manifest = listing(groups=lambda i: f"p{i // 3}", splits=lambda i: "test" if (i // 3) % 2 else "train")
    parts = split_of(manifest, seed, val_fraction=0.3)
    given = [i for i in range(60) if (i // 3) % 2]
    assert parts["test"].tolist() == given
    assert parts["val"].numel() and not set(parts["val"].tolist()) & set(given)
    assert_no_leak(manifest, *parts.values())


def test_test_images_need_no_label_to_be_split():
    records = [Record(Path(f"{i}.png"), "ab"[i % 2], split="train") for i in range(10)]
    manifest = Manifest.of([*records, Record(Path("t.png"), None, split="test")], Path("l.csv"))
    parts = split_of(manifest, 0, 0.2)
    assert parts["test"].tolist() == [10] and len(parts["val"]) == 2


def test_splits_that_cannot_be_used():
    with pytest.raises(DataError, match=r"30 of 60 images have no split, the first is 1\.png"):
        split_of(listing(splits=lambda i: None if i % 2 else "train"), 0, 0.2)
    with pytest.raises(DataError, match="no image is in the split 'train'"):
        split_of(listing(splits=lambda i: "test"), 0, 0.2)
    with pytest.raises(DataError, match="group 'p' is in two splits"):
        split_of(listing(groups=lambda i: "p", splits=lambda i: ("train", "val")[i % 2]), 0, 0.2)
