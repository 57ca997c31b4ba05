from __future__ import annotations

import pytest
import torch
from sklearn import metrics as reference

from zoomin.errors import DataError
from zoomin.metrics import classification_metrics, point_scores
from zoomin.model.targets import target_named
from zoomin.training.target_scores import TargetScores


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
    found = classification_metrics(probabilities, labels)
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


def test_one_class_has_no_auroc() -> None:
    probabilities, _ = example(5, 2)
    found = classification_metrics(probabilities, torch.zeros(5, dtype=torch.int64))
    assert found["auroc"] is None
    assert found["auroc_interval"] is None
    assert found["accuracy"] == found["balanced_accuracy"]
    assert found["interval_reasons"] == {"auroc": "all images are of one class"}


def test_classes_that_do_not_occur_do_not_count() -> None:
    probabilities, labels = example(60, 3)
    padded = torch.cat([probabilities * 0.9, torch.full((60, 1), 0.1)], 1)
    assert point_scores(padded, labels).auroc == pytest.approx(point_scores(probabilities, labels).auroc)
    assert classification_metrics(padded, labels)["auroc_interval"] is not None


def test_batches_add_up() -> None:
    probabilities, labels = example(30, 3)
    metric = TargetScores(target_named("classes", ["a", "b", "c"]))
    for part in torch.arange(30).split(7):
        metric.update(probabilities[part], labels[part])
    assert metric.compute() == point_scores(probabilities, labels)._asdict()
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
