"""One of several classes, and one of several grades, which are classes in an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from ..losses import classification_loss
from .target import Target

__all__ = ["Classes", "Grades"]


class Classes(Target):
    """One of several classes: softmax and cross-entropy.

    Example:
        >>> target = Classes(("cat", "dog"))
        >>> target.truth(["dog", None]).tolist(), target.decide([0.2, 0.8])
        ([1, -1], 'dog')
        >>> target.answer_text([0.2, 0.8], "dog")
        '80 %'
    """

    kind = "classes"
    picks_one = True
    score = "accuracy"
    scores: ClassVar[Mapping[str, str]] = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "auroc": "AUROC",
    }

    def truth(self, labels: Sequence[str | None]) -> Int[Tensor, " n"]:
        """The index of each image's class, -1 where it is unknown.

        Raises:
            KeyError: of a class that is not among `names`.
        """
        place = {name: index for index, name in enumerate(self.names)}
        return torch.tensor([-1 if label is None else place[label] for label in labels], dtype=torch.int64)

    def loss(self, logits: Tensor, truth: Tensor, class_weights: Tensor | None = None) -> Float[Tensor, ""]:
        """Cross-entropy, weighted by class where asked for."""
        return classification_loss(logits, truth, class_weights)

    def copy_losses(self, logits: Tensor, truth: Tensor, weight: Tensor) -> Float[Tensor, " k"]:
        """Cross-entropy of each model, a weighted mean over its images."""
        return _mean(functional.cross_entropy(logits.mT, truth, reduction="none"), weight)

    def importance(self, truth: Tensor, rows: Int[Tensor, " rows"], *, balanced: bool) -> Float[Tensor, " n"]:
        """One each; balanced: all classes alike."""
        if not balanced:
            return torch.ones(len(truth))
        count = torch.bincount(truth[rows], minlength=len(self.names))
        return (len(rows) / (count.clamp(min=1) * (count > 0).sum()))[truth]

    def answers(self, logits: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """Probabilities, which sum to 1."""
        return logits.softmax(-1)

    def decide(self, answer: Sequence[float]) -> str:
        """The class of highest probability."""
        return self.names[max(range(len(answer)), key=answer.__getitem__)]

    def explained_name(self, answer: Sequence[float]) -> str:
        """The class that is answered."""
        return self.decide(answer)

    def evidence(self, parts: Float[Tensor, "*n c"]) -> Float[Tensor, "*n c"]:
        """A logit minus the mean over the classes, which softmax does not see."""
        return parts - parts.mean(-1, keepdim=True)

    def slope(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """That of the answered class's probability."""
        p = self.answers(logits)
        best = torch.tensor([self.names.index(self.decide(row)) for row in p.tolist()], device=p.device)
        one = functional.one_hot(best, p.shape[1])
        return p.gather(1, best[:, None]) * (one - p)

    def point_scores(self, answers: Tensor, truth: Tensor) -> dict[str, float | None]:
        """Accuracy, balanced accuracy, AUROC."""
        from ...metrics import point_scores

        return point_scores(answers, truth)._asdict()

    def metrics(
        self, answers: Tensor, truth: Tensor, groups: Sequence[object | None] | None = None
    ) -> dict[str, Any]:
        """The same with intervals, and the confusion matrix."""
        from ...metrics import classification_metrics

        return classification_metrics(answers, truth, groups=groups)

    def strata(self, truth: Tensor) -> Int[Tensor, " n"]:
        """The classes."""
        return truth

    def empty(self, truth: Tensor, negative: int | None) -> Bool[Tensor, " n"]:
        """Those of the negative class."""
        return truth == (-1 if negative is None else negative)

    def witnesses(self, evidence: Float[Tensor, "n tiles c"], truth: Tensor) -> Float[Tensor, "n tiles"]:
        """How much each tile contributed to the class of its image."""
        return evidence[torch.arange(len(truth)), :, truth]


class Grades(Classes):
    """Grades in an order, the lowest first: a miss by two costs more than one by one.

    The loss is the logarithmic score of every question "above grade k?", a mean over the questions, with the
    answers that the same softmax gives to all of them: a proper scoring rule, and consistent by construction.

    Example:
        >>> grades, near = Grades(("0", "1", "2")), torch.tensor([[0.0, 3.0, 0.0]])
        >>> far = torch.tensor([[3.0, 0.0, 0.0]])
        >>> bool(grades.loss(near, torch.tensor([2])) < grades.loss(far, torch.tensor([2])))
        True
    """

    kind = "grade"
    score = "kappa"
    in_percent = False
    scores: ClassVar[Mapping[str, str]] = {
        "kappa": "quadratic kappa",
        "grade_error": "mean error, grades",
        "accuracy": "accuracy",
        "auroc": "AUROC",
    }

    def loss(self, logits: Tensor, truth: Tensor, class_weights: Tensor | None = None) -> Float[Tensor, ""]:
        """The ranked logarithmic score."""
        weight = torch.ones(len(truth)).to(logits) if class_weights is None else class_weights[truth]
        return _mean(_ranked(logits, truth), weight)

    def copy_losses(self, logits: Tensor, truth: Tensor, weight: Tensor) -> Float[Tensor, " k"]:
        """The ranked logarithmic score of each model."""
        return _mean(_ranked(logits, truth), weight)

    def decide(self, answer: Sequence[float]) -> str:
        """The median grade, from which the expected distance is the least."""
        total = 0.0
        for name, share in zip(self.names, answer, strict=True):
            total += share
            if total >= 0.5:
                return name
        return self.names[-1]

    def point_scores(self, answers: Tensor, truth: Tensor) -> dict[str, float | None]:
        """Quadratic kappa, mean error, accuracy, AUROC."""
        from ...metrics.grades import grade_scores

        return grade_scores(answers, truth)

    def metrics(
        self, answers: Tensor, truth: Tensor, groups: Sequence[object | None] | None = None
    ) -> dict[str, Any]:
        """The same with intervals, and the confusion matrix."""
        from ...metrics.grades import grade_metrics

        return grade_metrics(answers, truth, groups=groups)

    def empty(self, truth: Tensor, negative: int | None) -> Bool[Tensor, " n"]:
        """None: a low grade is something to see, too."""
        return torch.zeros(len(truth), dtype=torch.bool)


def _ranked(logits: Float[Tensor, "*n c"], truth: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Minus the mean log probability of the right answers to "above grade k?"."""
    log_p = logits.log_softmax(-1)
    up_to = torch.logcumsumexp(log_p, -1)[..., :-1]
    above = torch.logcumsumexp(log_p.flip(-1), -1).flip(-1)[..., 1:]
    questions = torch.arange(logits.shape[-1] - 1, device=logits.device)
    return -torch.where(truth[..., None] > questions, above, up_to).mean(-1)


def _mean(losses: Float[Tensor, "*k n"], weight: Float[Tensor, "*k n"]) -> Float[Tensor, "*k"]:
    return (weight * losses).sum(-1) / weight.sum(-1)
