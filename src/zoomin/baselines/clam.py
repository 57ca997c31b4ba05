"""CLAM: attention MIL that also learns to tell the crops it attends to from those it does not.

Lu et al., Data-efficient and Weakly Supervised Computational Pathology on Whole-slide Images, Nature
Biomedical Engineering 2021 (arXiv 2004.09666), methods.

    h_k    = ReLU(W f(crop k))
    a_m    = softmax over crops of gated attention; one map (single branch), or one per class (multi branch)
    logits = g(sum_k a_k h_k)                        single branch
    s_m    = w_m . sum_k a_mk h_k + b_m              multi branch
    loss   = c1 CE(logits, y) + (1 - c1) instance loss

Instance loss: each class m has a classifier of two outcomes. In the class of the image, the B crops of
highest attention count as positive and the B of lowest as negative; in every other class, where classes
exclude each other (`exclusive`), the B of highest attention count as negative. The loss is the smooth top-1
SVM (Berrada, Zisserman & Kumar, ICLR 2018) or cross-entropy. Each class's loss is a mean over its crops; with
exclusive classes the mean over classes is taken. A bag of fewer than B crops gives what it has.

The harness adds the penalty to the cross-entropy, so that the whole loss is the publication's divided by c1.
The widths of the publication are for features of 1024 numbers from a frozen ResNet-50.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ..errors import require
from ..model.networks import LinearHead
from .abmil import BagAttention
from .bags import MIL, BagConfig, Bags, Pooled

__all__ = ["CLAM", "CLAMConfig", "smooth_svm"]


@dataclass(frozen=True)
class CLAMConfig(BagConfig):
    """CLAM on a bag of crops."""

    name: Literal["clam"] = "clam"
    """The baseline: clam."""

    branches: Literal["single", "multi"] = "single"
    """Choose "single": one map of attention; "multi": one per class."""

    width: int = 512
    """Width of the crops' features after the first layer; 512 is the publication's."""

    hidden: int = 256
    """Width of the gated attention; 256 is the publication's."""

    dropout: float = 0.25
    """Share of values dropped after the first layer and in the attention, while training; 0.25 is the
    publication's."""

    instances: int = 8
    """B, crops of highest and of lowest attention that the instance loss takes; 8 is the publication's."""

    instance_loss: Literal["svm", "cross_entropy", "none"] = "svm"
    """Choose "svm" (smooth top-1, the publication's), "cross_entropy", or "none"."""

    bag_weight: float = 0.7
    """c1, the weight of the loss of the image; the instance loss weighs 1 - c1. 0.7 is the publication's."""

    exclusive: bool = False
    """Whether an image of one class holds nothing of the other classes; off, as in the publication."""

    _counts: ClassVar[tuple[str, ...]] = (*BagConfig._counts, "width", "hidden", "instances")
    _shares: ClassVar[tuple[str, ...]] = ("dropout",)

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        require(self.branches in ("single", "multi"), "branches", self.branches, "Choose single or multi.")
        known = ("svm", "cross_entropy", "none")
        require(
            self.instance_loss in known, "instance_loss", self.instance_loss, f"Choose {', '.join(known)}."
        )
        require(
            0 < self.bag_weight <= 1, "bag_weight", self.bag_weight, "Give a number above 0 and at most 1."
        )


class CLAM(MIL[CLAMConfig]):
    """Weigh all crops by attention, and classify the crops of highest and lowest attention too.

    Example:
        >>> net = CLAM(CLAMConfig(crop_size=40, branches="multi"))
        >>> net(torch.zeros(3, 3, 130, 150, dtype=torch.uint8)).logits.shape
        torch.Size([3, 2])
    """

    config_class = CLAMConfig
    any_target = False

    def __init__(self, config: CLAMConfig) -> None:
        """Build the networks."""
        super().__init__(config)
        self.first = nn.Sequential(nn.Linear(self.dims, config.width), nn.ReLU(), nn.Dropout(config.dropout))
        maps = config.n_classes if config.branches == "multi" else 1
        self.attention = BagAttention(config.width, config.hidden, True, maps, config.dropout)
        self.judges = nn.Linear(config.width, 2 * config.n_classes) if self._judges else None
        self.head = LinearHead(config.width, config.n_classes) if maps == 1 else BranchHead(config)
        self.to(memory_format=torch.channels_last)

    def pool(self, bags: Bags, labels: Int[Tensor, " batch"] | None) -> Pooled:
        """The means of the crops under the attention of each branch, side by side; and the instance loss."""
        instances = self.first(bags.instances)
        logits = self.attention(instances)
        features = bags.sum(bags.softmax(logits), instances).flatten(1)
        if labels is None or self.judges is None:
            return Pooled(features, self.nothing())
        instance_logits = self.judges(instances).unflatten(1, (self.config.n_classes, 2))
        weight = (1 - self.config.bag_weight) / self.config.bag_weight
        return Pooled(features, weight * self._instance_loss(bags, logits.detach(), instance_logits, labels))

    def _instance_loss(
        self,
        bags: Bags,
        logits: Float[Tensor, "n maps"],
        instance_logits: Float[Tensor, "n classes 2"],
        labels: Int[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """The instance loss, a mean over images.

        Args:
            bags: the crops.
            logits: attention before the softmax.
            instance_logits: two outcomes of each class's classifier for each crop.
            labels: classes of the images.
        """
        n_classes, k = self.config.n_classes, min(self.config.instances, int(bags.count.max()))
        shared = logits.expand(-1, n_classes)
        own = functional.one_hot(labels, n_classes).bool()[:, None, :]  # (B, 1, C)
        top = bags.padded(shared, -torch.inf).topk(k, dim=1).indices  # (B, k, C)
        low = bags.padded(shared, torch.inf).topk(k, dim=1, largest=False).indices
        there = (torch.arange(k, device=self.device) < bags.count[:, None])[:, :, None]
        outcomes = bags.padded(instance_logits, 0.0)
        loss, weight = outcomes.new_zeros(own.shape), outcomes.new_zeros(own.shape)
        everywhere = torch.ones_like(own) if self.config.exclusive else own
        for place, target, classes in ((top, own, everywhere), (low, torch.zeros_like(own), own)):
            counts = there & classes
            drawn = outcomes.gather(1, place[..., None].expand(-1, -1, -1, 2))
            each = self._judge(drawn.flatten(0, 2), target.expand_as(place).flatten().long()).view(
                place.shape
            )
            loss = loss + (each * counts).sum(1, keepdim=True)
            weight = weight + counts.sum(1, keepdim=True)
        per_class = loss / weight.clamp(min=1)
        over_classes = per_class.mean(2) if self.config.exclusive else per_class.sum(2)
        return over_classes.mean()

    def _judge(self, outcomes: Float[Tensor, "n 2"], target: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        if self.config.instance_loss == "svm":
            return smooth_svm(outcomes, target)
        return functional.cross_entropy(outcomes, target, reduction="none")

    @property
    def _judges(self) -> bool:
        return self.config.instance_loss != "none" and self.config.bag_weight < 1


class BranchHead(LinearHead):
    """One linear layer per class, each on the feature of its own branch.

    Input: features (..., classes * width), branch by branch. Output: logits (..., classes).
    """

    def __init__(self, config: CLAMConfig) -> None:
        """Build one row per class."""
        super().__init__(config.width, config.n_classes)

    def forward(self, features: Float[Tensor, "*n inner"]) -> Float[Tensor, "*n classes"]:
        """Logits."""
        branches = features.unflatten(-1, self.weight.shape)
        logits: Tensor = (branches * self.weight).sum(-1) + self.bias
        return logits


def smooth_svm(
    scores: Float[Tensor, "n classes"], target: Int[Tensor, " n"], tau: float = 1.0
) -> Float[Tensor, " n"]:
    """The smooth top-1 SVM loss: tau log sum_j exp((s_j + [j != y]) / tau) - s_y.

    Example:
        >>> smooth_svm(torch.zeros(1, 2), torch.tensor([0]))
        tensor([1.3133])
    """
    rest = 1 - functional.one_hot(target, scores.shape[1])
    smooth = tau * ((scores + rest) / tau).logsumexp(1)
    return smooth - scores.gather(1, target[:, None]).squeeze(1)
