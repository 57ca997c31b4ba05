"""How to train: every setting of the optimisation, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..errors import require
from ..model.losses import RoiTarget
from ..model.sampling import design

__all__ = ["MONITORS", "TrainConfig", "WarmUp"]

MONITORS = {"val_loss": "min", "val_accuracy": "max", "val_balanced_accuracy": "max", "val_auroc": "max"}


@dataclass(frozen=True)
class WarmUp:
    """How the attention, and the head, are warmed up; off by default.

    Attributes:
        steps: optimisation steps of stage 1; 0: no warm-up of the attention.
        position_steps: optimisation steps of stage 2; 0 leaves it as it is.
        learning_rate: of Adam.
        weight_decay: L2 penalty in Adam.
        batch_size: images a step, half of them negative.
        top_tiles: tiles an image whose positions stage 2 learns from.
        schedule: of the learning rate: "cosine" falls to 0 over the steps of a stage, so that the last
            batches do not decide; "constant".
        pooling: "log_mean_exp", or "max": the highest logit of an image alone.
        starts: detectors trained side by side from random layers, of which the one with the lowest loss over
            all training images is kept. More than one needs frozen trunks, whose embeddings are then
            standardised.
        head_l2: begin the head by logistic regression: the sub-tiles that are drawn of the training images
            learn the label of their image, with this L2 penalty on weights of standardised features (0.01 is
            a good one). For an f whose trunk is frozen, or has no batch normalisation: else features change
            as soon as it trains. None: it begins as it is drawn.
    """

    steps: int = 0
    position_steps: int = 0
    learning_rate: float = 0.01
    weight_decay: float = 1e-3
    batch_size: int = 16
    top_tiles: int = 2
    schedule: Literal["cosine", "constant"] = "cosine"
    pooling: Literal["log_mean_exp", "max"] = "log_mean_exp"
    starts: int = 1
    head_l2: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether anything is warmed up."""
        return self.steps > 0 or self.head_l2 is not None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: naming the one that cannot work.
        """
        for name, least in (
            ("steps", 0),
            ("position_steps", 0),
            ("batch_size", 2),
            ("top_tiles", 1),
            ("starts", 1),
            ("weight_decay", 0),
        ):
            value = getattr(self, name)
            require(value >= least, f"train.warm_up.{name}", value, f"Give at least {least}.")
        require(
            self.learning_rate > 0,
            "train.warm_up.learning_rate",
            self.learning_rate,
            "Give a positive number.",
        )
        require(
            self.head_l2 is None or self.head_l2 > 0,
            "train.warm_up.head_l2",
            self.head_l2,
            "Give a positive number, or null for a head that begins as it is drawn.",
        )


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are the paper's, for two classes with class 0 the negative one.

    Attributes:
        epochs: passes over the training images.
        freeze_trunks: keep the weights of `timm` networks as they are: only logits, head and the paper's own
            networks learn. "attention": those of the attention alone, while f learns. What frozen trunks see
            of unaugmented images is kept in memory.
        warm_up: train the attention as detectors first, and begin the head.
        learning_rate: of Adam.
        betas: of Adam.
        weight_decay: L2 penalty in Adam (paper: none; the authors' code: 1e-5).
        lr_step: epochs after which the learning rate is multiplied by `lr_gamma`, again and again; none: it
            stays (the authors' code: 30).
        lr_gamma: see `lr_step` (the authors' code: 0.9).
        gradient_clip: largest norm of the gradient; none: no limit (the authors' code: 5).
        contrastive_from_epoch: warm-up epochs before the contrastive loss joins; none: it never does.
        negative_class: whether class 0 means "no object", without which there is no contrastive loss; "auto":
            if there are two classes.
        entropy_strength: lambda of the entropy loss; 0 switches it off.
        tile_roi_strength: weight of L_alpha, how far the tile attention is from the annotated ROI, squared
            (paper: 1 where there are pixel annotations); images without annotation add nothing.
        position_roi_strength: weight of the same for the maps inside the drawn tiles, L_beta.
        roi_target: what the attention is held to: "share", each cell's part of the ROI, or "literal", the
            paper's binary mask.
        class_weights: weight of each class in the cross-entropy; "balanced": inverse to its share of the
            training images, 1 on average; none: all alike.
        precision: "32-true", or "bf16-mixed" for networks in bfloat16.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps".
        monitor: what makes an epoch the best one and what early stopping waits for: "val_loss" (no ties, no
            threshold, also defined for one class), "val_accuracy", "val_balanced_accuracy" or "val_auroc". Of
            equally good epochs the first counts.
        early_stopping_patience: epochs without a better `monitor` after which training stops; none: never.
        validation_sampling: sampling of the validation after each epoch; none: the model's own.
        validation_replicates: estimates averaged in it.
        evaluation_sampling: sampling of the final evaluation of the trained model.
        evaluation_replicates: estimates averaged in it.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    epochs: int = 100
    freeze_trunks: bool | Literal["attention"] = False
    warm_up: WarmUp = field(default_factory=WarmUp)
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    lr_step: int | None = None
    lr_gamma: float = 0.9
    gradient_clip: float | None = None
    contrastive_from_epoch: int | None = 10
    negative_class: bool | Literal["auto"] = "auto"
    entropy_strength: float = 1e-5
    tile_roi_strength: float = 0.0
    position_roi_strength: float = 0.0
    roi_target: RoiTarget = "share"
    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    device: str = "auto"
    monitor: str = "val_loss"
    early_stopping_patience: int | None = None
    validation_sampling: str | None = None
    validation_replicates: int = 1
    evaluation_sampling: str = "systematic"
    evaluation_replicates: int = 16

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("epochs", "validation_replicates", "evaluation_replicates"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "Give at least 1.")
        for name in ("lr_step", "early_stopping_patience"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "Give at least 1, or null.")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "Give a positive number.")
        require(
            all(0 <= beta < 1 for beta in self.betas),
            "betas",
            self.betas,
            "Give two numbers from 0 to below 1.",
        )
        for name in ("weight_decay", "tile_roi_strength", "position_roi_strength"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "Give 0 or a positive number.")
        require(
            self.roi_target in ("share", "literal"), "roi_target", self.roi_target, "Give share or literal."
        )
        require(0 < self.lr_gamma <= 1, "lr_gamma", self.lr_gamma, "Give a factor above 0 and at most 1.")
        require(
            self.gradient_clip is None or self.gradient_clip > 0,
            "gradient_clip",
            self.gradient_clip,
            "Give a positive number, or null for no limit.",
        )
        warm_up = self.contrastive_from_epoch
        require(
            warm_up is None or warm_up >= 0,
            "contrastive_from_epoch",
            warm_up,
            "Give an epoch from 0, or null.",
        )
        require(
            self.precision in ("32-true", "bf16-mixed"), "precision", self.precision, "32-true or bf16-mixed."
        )
        require(self.monitor in MONITORS, "monitor", self.monitor, f"Choose one of {', '.join(MONITORS)}.")
        for sampling in (self.validation_sampling, self.evaluation_sampling):
            if sampling is not None:
                design(sampling)

    @property
    def uses_roi(self) -> bool:
        """Whether the loss looks at pixel annotations."""
        return self.tile_roi_strength > 0 or self.position_roi_strength > 0

    def weights_of(self, counts: list[int]) -> list[float] | None:
        """The class weights for data with so many training images of each class.

        Raises:
            ConfigError: if there is not one positive weight a class.

        Example:
            >>> TrainConfig(class_weights="balanced").weights_of([30, 10])
            [0.6666666666666666, 2.0]
        """
        if self.class_weights is None:
            return None
        if self.class_weights == "balanced":
            present = sum(count > 0 for count in counts)
            return [sum(counts) / (present * count) if count else 0.0 for count in counts]
        weights = [float(weight) for weight in self.class_weights]
        require(
            len(weights) == len(counts) and min(weights) > 0,
            "train.class_weights",
            f"{weights} for {len(counts)} classes",
            "Give one positive number a class, in the order of the classes.",
        )
        return weights

    def contrastive_epoch(self, n_classes: int) -> int | None:
        """The first epoch with contrastive loss, None where it is off."""
        negative = n_classes == 2 if self.negative_class == "auto" else self.negative_class
        return self.contrastive_from_epoch if negative else None
