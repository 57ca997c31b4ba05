"""Intervals: the literature's values, a width where all is right, groups as groups, and their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from zoomin.metrics import classification_metrics
from zoomin.metrics.grades import grade_metrics
from zoomin.metrics.intervals import (
    auroc_influence,
    auroc_interval,
    balanced_interval,
    group_numbers,
    share_interval,
    wilson,
)
from zoomin.metrics.labels import _known_intervals, label_metrics, label_scores
from zoomin.metrics.survival import concordance, survival_metrics
from zoomin.metrics.values import value_metrics


def area_interval(scores, positive, groups=None):
    area, influence = auroc_influence(np.asarray(scores, float), np.asarray(positive, bool))
    return area, auroc_interval(area, influence, np.asarray(positive, np.int64), groups)


@pytest.mark.parametrize(
    ("right", "of", "ends"),
    [  # Newcombe, Statist. Med. 17:857 (1998), table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_is_that_of_the_literature(right, of, ends):
    assert wilson(right / of, of) == pytest.approx(ends, abs=1e-4)


def test_influence_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=30).round(1), rng.random(30) < 0.4
    area, influence = auroc_influence(scores, positive)
    pairs = (scores[positive][:, None] > scores[~positive]) + 0.5 * (
        scores[positive][:, None] == scores[~positive]
    )
    assert area == pytest.approx(pairs.mean())
    np.testing.assert_allclose(influence[positive], (pairs.mean(1) - area) / positive.sum())
    np.testing.assert_allclose(influence[~positive], (pairs.mean(0) - area) / (~positive).sum())


@pytest.mark.parametrize("n", [3, 4, 10, 50])
def test_all_right_has_an_interval_with_a_width(n):
    labels = torch.arange(2 * n) % 2
    found = classification_metrics(torch.nn.functional.one_hot(labels, 2).double(), labels)
    for name in ("accuracy", "balanced_accuracy", "auroc"):
        low, high = found[f"{name}_interval"]
        assert low < 1 - 1 / (2 * n) and high == found[name] == 1.0
    assert found["accuracy_interval"][0] == pytest.approx(wilson(1.0, 2 * n)[0])
    assert found["interval_reasons"] == {}


@pytest.mark.parametrize(("positives", "words"), [(1, "1 image"), (2, "2 images")])
def test_too_few_images_say_so(positives, words):
    labels = torch.tensor([0] * 8 + [1] * positives)
    said = torch.rand(len(labels), 2, generator=torch.Generator().manual_seed(0))
    found = classification_metrics(said, labels)
    assert found["auroc_interval"] is None and found["accuracy_interval"] is not None
    assert found["interval_reasons"]["auroc"] == f"not enough images: a class has {words}, 3 are needed"


def test_groups_count_and_not_their_images():
    """Ten patients, each image ten times: the interval is that of ten images, not of a hundred."""
    rng = np.random.default_rng(1)
    once = rng.random(10) < 0.7
    many, groups = np.repeat(once, 10), np.repeat(np.arange(10), 10)
    assert share_interval(many, groups).ends[0] < wilson(once.mean(), 10)[0] < share_interval(many).ends[0]
    scores, positive = rng.normal(size=20) + np.arange(20) % 2, np.arange(20) % 2 == 1
    alone = area_interval(scores, positive)[1].ends
    scores, positive, groups = (np.repeat(column, 10) for column in (scores, positive, np.arange(20)))
    grouped, images = area_interval(scores, positive, groups)[1].ends, area_interval(scores, positive)[1].ends
    assert grouped[1] - grouped[0] >= 0.95 * (alone[1] - alone[0]) > 2 * (images[1] - images[0])
    own = classification_metrics(torch.rand(20, 2), torch.arange(20) % 2, groups=["p"] * 4 + [None] * 16)
    assert own["n_groups"] == 17


def test_groups_of_one_image_are_no_groups():
    right = np.random.default_rng(0).random(30) < 0.8
    assert share_interval(right, np.arange(30)) == share_interval(right)
    assert group_numbers([None, None]) is None
    assert group_numbers(["a", None, "a", None]).tolist() == [0, 1, 0, 2]
    assert share_interval(right, np.zeros(30, np.int64)).reason == "all images are of one group"


@pytest.mark.parametrize("n", [10, 40])
@pytest.mark.parametrize("area", [0.8, 0.98])
def test_the_interval_of_an_auroc_holds_the_truth(n, area):
    rng, positive, held = np.random.default_rng(n), np.repeat([True, False], n), 0
    for _ in range(400):
        scores = rng.normal(size=2 * n) + math.sqrt(2) * ndtri(area) * positive
        low, high = area_interval(scores, positive)[1].ends
        held += low <= area <= high
    assert held / 400 > 0.93  # 95 % less two standard errors; a percentile bootstrap at 10 + 10 has 70 to 90


@pytest.mark.parametrize("share", [0.7, 0.98])
def test_the_intervals_of_shares_hold_the_truth(share):
    rng, labels, held = np.random.default_rng(0), np.repeat([0, 1], 15), np.zeros(2)
    for _ in range(400):
        right = rng.random(30) < share
        ends = share_interval(right).ends, balanced_interval(right, labels).ends
        held += [low <= share <= high for low, high in ends]
    assert (held / 400 > 0.92).all()


@pytest.mark.parametrize("n", [2, 4, 10])
@pytest.mark.parametrize(("one", "other"), [(0.98, 0.98), (0.99, 0.7), (0.9, 0.8)])
def test_the_interval_of_balanced_accuracy_holds_the_truth_of_few_images(n, one, other):
    """By enumeration; with Wilson's limits it was 85 to 90 %."""
    rows, labels = np.arange(n), np.repeat([0, 1], n)
    pairs = [(a, b) for a in range(n + 1) for b in range(n + 1)]
    held = 0.0
    for a, b in pairs:
        low, high = balanced_interval(np.concatenate([rows < a, rows < b]), labels).ends
        chance = (
            math.comb(n, a)
            * one**a
            * (1 - one) ** (n - a)
            * math.comb(n, b)
            * other**b
            * (1 - other) ** (n - b)
        )
        held += chance * (low - 1e-9 <= (one + other) / 2 <= high + 1e-9)
    assert held > 0.925


def test_grouped_intervals_hold_the_truth():
    rng, held, shift = np.random.default_rng(0), np.zeros(2), math.sqrt(2) * ndtri(0.9)
    positive, groups = np.repeat([True, False], 60), np.repeat(np.arange(20), 6)
    for _ in range(300):
        scores = rng.normal(0, math.sqrt(0.7), 20)[groups] + rng.normal(0, math.sqrt(0.3), 120)
        right = (scores + shift * positive > shift / 2) == positive
        area = area_interval(scores + shift * positive, positive, groups)[1].ends
        share = share_interval(right, groups).ends
        held += area[0] <= 0.9 <= area[1], share[0] <= 0.8176 <= share[1]
    assert (held / 300 > 0.91).all()


def test_three_classes_have_an_interval_of_their_mean_area():
    rng, labels, held = np.random.default_rng(0), np.repeat([0, 1, 2], 15), 0
    for _ in range(200):
        logits = rng.normal(size=(45, 3))
        logits[np.arange(45), labels] += 1.0
        found = classification_metrics(torch.from_numpy(logits).softmax(1), torch.from_numpy(labels))
        low, high = found["auroc_interval"]
        assert low <= found["auroc"] <= high
        held += low <= 0.8136 <= high
    assert held / 200 > 0.92


@pytest.mark.parametrize(("n", "slope"), [(20, 1.0), (20, 8.0), (50, 3.0)])
def test_the_interval_of_a_concordance_holds_the_truth(n, slope):
    rng, held = np.random.default_rng(0), 0

    def draw(m):
        risk = rng.normal(size=m)
        time, until = rng.exponential(np.exp(-slope * risk)), rng.exponential(1.0, m)
        return risk, np.minimum(time, until), time <= until

    true = np.mean([concordance(*draw(3000)) for _ in range(4)])
    for _ in range(200):
        risk, time, event = draw(n)
        truth = torch.from_numpy(np.stack([time, event], 1))
        low, high = survival_metrics(torch.from_numpy(risk), truth)["concordance_interval"]
        held += low <= true <= high
    assert held / 200 > 0.92


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_intervals_of_several_labels_hold_the_truth(shift):
    rng, held, known = np.random.default_rng(0), np.zeros(4), 0

    def draw(m):
        truth = rng.random((m, 3)) < 0.4
        scores = rng.normal(size=(m, 3)) + rng.normal(size=(m, 1)) + shift * math.sqrt(2) * (truth - 0.5)
        return torch.from_numpy(scores).sigmoid(), torch.from_numpy(truth).double()

    names = ("auroc", "f1", "label_accuracy", "all_right")
    true = label_scores(*draw(100_000))
    for _ in range(150):
        p, t = draw(20)
        with_draws_left_out = _known_intervals(p.numpy(), t.numpy(), None)
        if with_draws_left_out["auroc"].ends is None:
            continue
        known += 1
        for place, name in enumerate(names):
            low, high = with_draws_left_out[name].ends
            held[place] += low <= true[name] <= high
    assert known > 140 and (held / known > 0.91).all()


def test_no_target_has_an_interval_without_width():
    n = 20
    grade, number = torch.arange(n) % 4, torch.arange(n, dtype=torch.float64)
    labels = torch.stack([grade < 2, grade % 2 < 1], 1).double()
    founds = [
        grade_metrics(torch.nn.functional.one_hot(grade, 4) * 0.9 + 0.025, grade),
        label_metrics(labels * 0.8 + 0.1, labels, ["a", "b"]),
        survival_metrics(-number, torch.stack([number, torch.ones(n)], 1)),
        value_metrics(2 * number, number),
        value_metrics(number, number),
    ]
    for found in founds:
        for name in (name for name in found if name.endswith("_interval")):
            ends, metric = found[name], name.removesuffix("_interval")
            assert (ends is None) == (metric in found["interval_reasons"])
            assert ends is None or ends[1] - ends[0] > 0.03
    assert founds[0]["accuracy_interval"] == list(wilson(1.0, n))
    assert founds[1]["all_right_interval"] == list(wilson(1.0, n))
    assert "every draw gives the same" in founds[0]["interval_reasons"]["kappa"]
    assert (
        "1 with an event"
        in survival_metrics(number, torch.stack([number, number == 3], 1))["interval_reasons"]["concordance"]
    )
    rare = torch.zeros(n, 1).index_fill(0, torch.tensor([0, 1]), 1.0)
    found = label_metrics(labels[:, :1], rare, ["rare"])["interval_reasons"]["auroc"]
    assert found == "not enough images: a label has 2 on one side, 3 are needed"
