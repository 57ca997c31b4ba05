from __future__ import annotations

import pytest
import torch
from sklearn import metrics as reference

from zoomin.errors import DataError
from zoomin.metrics import ClassificationScores, classification_metrics, point_scores


def example(n: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Informative probabilities with ties, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator).round(decimals=1)
    logits[torch.arange(n), labels] += 1
    return logits.softmax(1), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_agrees_with_scikit_learn(classes: int) -> None:
    probabilities, labels = example(80, classes)
    found = classification_metrics(probabilities, labels, n_bootstrap=50)
    predicted = probabilities.argmax(1)
    scores = (
        probabilities[:, 1] if classes == 2 else probabilities.double() / probabilities.double().sum(1, True)
    )
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert found["auroc"] == pytest.approx(
        reference.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    )
    assert found["confusion_matrix"] == reference.confusion_matrix(labels, predicted).tolist()


@pytest.mark.parametrize("classes", [2, 3])
def test_intervals_are_those_of_a_loop(classes: int) -> None:
    probabilities, labels = example(40, classes)
    found = classification_metrics(probabilities, labels, n_bootstrap=200, seed=3)
    generator = torch.Generator().manual_seed(3)
    drawn = torch.randint(40, (200, 40), generator=generator)
    loop = [point_scores(probabilities[row], labels[row]) for row in drawn]
    levels = torch.tensor([0.025, 0.975], dtype=torch.float64)
    for name in ("accuracy", "balanced_accuracy", "auroc"):
        values = torch.tensor([getattr(scores, name) for scores in loop], dtype=torch.float64)
        assert found[f"{name}_interval"] == pytest.approx(values.quantile(levels).tolist())
        low, high = found[f"{name}_interval"]
        assert low <= found[name] <= high
    assert found["resamples_dropped"] == 0


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(200):
        right = torch.rand(100, generator=torch.Generator().manual_seed(seed)) < 0.8
        labels = torch.arange(100) % 2
        predicted = torch.where(right, labels, 1 - labels)
        found = classification_metrics(
            torch.nn.functional.one_hot(predicted, 2).double(), labels, n_bootstrap=300, seed=seed
        )
        low, high = found["accuracy_interval"]
        inside += low <= 0.8 <= high
    assert 0.88 <= inside / 200 <= 0.99


def test_a_resample_that_loses_a_class_is_dropped_and_counted() -> None:
    probabilities, _ = example(6, 2)
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    found = classification_metrics(probabilities, labels, n_bootstrap=400)
    assert 80 < found["resamples_dropped"] < 200  # about (5/6)^6 of 400 lose the one positive
    assert found["auroc_interval"] is not None


def test_one_class_has_no_auroc() -> None:
    probabilities, _ = example(5, 2)
    found = classification_metrics(probabilities, torch.zeros(5, dtype=torch.int64), n_bootstrap=20)
    assert found["auroc"] is None
    assert found["auroc_interval"] is None
    assert found["accuracy"] == found["balanced_accuracy"]
    assert found["resamples_dropped"] == 0


def test_classes_that_do_not_occur_do_not_count() -> None:
    probabilities, labels = example(60, 3)
    padded = torch.cat([probabilities * 0.9, torch.full((60, 1), 0.1)], 1)
    assert point_scores(padded, labels).auroc == pytest.approx(point_scores(probabilities, labels).auroc)
    assert classification_metrics(padded, labels, n_bootstrap=20)["auroc_interval"] is not None


def test_same_seed_same_interval() -> None:
    probabilities, labels = example(30, 2)
    first, second = (classification_metrics(probabilities, labels, seed=5) for _ in range(2))
    assert first == second
    assert classification_metrics(probabilities, labels, seed=6) != first


def test_no_resamples_no_interval() -> None:
    found = classification_metrics(*example(30, 2), n_bootstrap=0)
    assert found["accuracy_interval"] is None


def test_batches_add_up() -> None:
    probabilities, labels = example(30, 3)
    metric = ClassificationScores()
    for part in torch.arange(30).split(7):
        metric.update(probabilities[part], labels[part])
    assert metric.compute() == point_scores(probabilities, labels)
    metric.reset()
    with pytest.raises(DataError, match="no image to evaluate"):
        metric.compute()


def test_bad_input_is_named() -> None:
    probabilities, labels = example(4, 2)
    with pytest.raises(DataError, match="no image to evaluate"):
        point_scores(probabilities[:0], labels[:0])
    with pytest.raises(DataError, match=r"1 of 4 predictions are not numbers.*learning rate"):
        point_scores(probabilities.index_fill(0, torch.tensor([2]), torch.nan), labels)
    with pytest.raises(DataError, match="labels from 0 to 5 for 2 classes"):
        point_scores(probabilities, torch.tensor([0, 1, 5, 0]))
