"""How to train: every setting of a run, checked when it is made, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..classifiers import ClassifierConfig
from ..data.config import DataConfig
from ..errors import ConfigError, require
from ..model.choices import RoiTarget, check_sampling
from ..model.config import ZoomInConfig

__all__ = ["MONITORS", "PARTS", "CrossvalConfig", "PretrainConfig", "RunConfig", "TrainConfig", "WarmUp"]

PARTS = ("tile_attention", "position_attention", "features")  # of a network, pre-trained apart
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
                check_sampling(sampling)

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


@dataclass(frozen=True)
class PretrainConfig:
    """How to pre-train the three networks as classifiers of crops; off by default.

    Attributes:
        steps: optimisation steps of each network; 0: no pre-training.
        batch_size: crops a step.
        learning_rate: of Adam.
        parts: which networks: "tile_attention", "position_attention", "features".
        crops: where they lie: "anywhere", or "as_read": on the grid of tiles, and sub-tiles of ROI with ROI
            in their middle, as the trained network reads them.
        schedule: of the learning rate: "constant"; "cosine" falls to 0 over the steps of a network.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    steps: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    parts: tuple[str, ...] = PARTS
    crops: Literal["anywhere", "as_read"] = "anywhere"
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        """Check the values."""
        needs = {
            "steps": (self.steps >= 0, "Give 0 (off) or more."),
            "batch_size": (self.batch_size >= 2, "Give at least 2: a positive and a negative crop."),
            "learning_rate": (self.learning_rate > 0, "Give a positive number."),
            "parts": (bool(self.parts) and set(self.parts) <= set(PARTS), f"Choose from {', '.join(PARTS)}."),
            "crops": (self.crops in ("anywhere", "as_read"), "Choose anywhere or as_read."),
            "schedule": (self.schedule in ("constant", "cosine"), "Choose constant or cosine."),
        }
        for name, (right, remedy) in needs.items():
            if not right:
                raise ConfigError(f"{name} is {getattr(self, name)}", where=f"pretrain.{name}", remedy=remedy)


@dataclass(frozen=True)
class RunConfig:
    """A training run: the network, the data, the training, and where the results go.

    Attributes:
        model: the network, Zoom-In or a competitor; number and names of its classes come from the data.
        data: the images; its seed decides the splits.
        train: the optimisation.
        pretrain: training of the three networks on crops before it, where there are pixel annotations.
        out: folder of the results, new or empty.
        seed: of the first weights, of the order and augmentation of the images, and of all draws.
        resume: go on with the run in `out` after its last whole epoch; where there is none, start.
    """

    data: DataConfig
    model: ClassifierConfig = field(default_factory=ZoomInConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    out: str = "runs/zoomin"
    seed: int = 0
    resume: bool = False


@dataclass(frozen=True)
class CrossvalConfig:
    """Which folds, how often, how many at a time.

    Attributes:
        folds: number of stratified folds, groups kept whole, or "authors" for the ten of the paper's authors.
        repeats: times that stratified folds are dealt out anew.
        seeds: every fold is trained once with each.
        folds_dir: folder of the authors' folds; by default `colon_cancer_folds` in or beside data.root.
        jobs: trainings at a time, each in a process with its share of the processor's cores.
    """

    folds: int | Literal["authors"] = 10
    repeats: int = 1
    seeds: tuple[int, ...] = (0,)
    folds_dir: str | None = None
    jobs: int = 1

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: naming the one that cannot work.
        """
        checks = {
            "folds": (self.folds == "authors" or self.folds >= 2, "at least 2, or authors"),
            "repeats": (self.repeats >= 1, "at least 1"),
            "jobs": (self.jobs >= 1, "at least 1"),
            "seeds": (
                len(self.seeds) > 0 and len(set(self.seeds)) == len(self.seeds) and min(self.seeds) >= 0,
                "one or more different numbers from 0",
            ),
        }
        for name, (right, need) in checks.items():
            if not right:
                raise ConfigError(
                    f"{getattr(self, name)} cannot be", where=f"cv.{name}", remedy=f"Give {need}."
                )
