"""How to train: every setting of a run, checked when it is made, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ..classifiers import ClassifierConfig
from ..data.config import DataConfig
from ..errors import require, require_all
from ..model.choices import RoiTarget, check_sampling
from ..model.config import ZoomInConfig
from .frozen_config import FrozenConfig

__all__ = [
    "MONITORS",
    "PARTS",
    "CrossvalConfig",
    "LoggerName",
    "PretrainConfig",
    "RunConfig",
    "TrainConfig",
    "WarmUp",
]

LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow"]
PARTS = ("tile_attention", "position_attention", "features")  # of a network, pre-trained apart
_HIGHER = "accuracy balanced_accuracy auroc average_precision r2 spearman kappa concordance".split()
MONITORS = {"val_loss": "min", **{f"val_{name}": "max" for name in _HIGHER}}


@dataclass(frozen=True)
class WarmUp:
    """How the attention, and the head, are warmed up; off by default."""

    steps: int = 0
    """Optimisation steps of stage 1; 0: no warm-up of the attention. A few hundred find needles of 1 % of a
    slide."""

    position_steps: int = 0
    """Optimisation steps of stage 2; 0 leaves the stage as it is."""

    learning_rate: float = 0.01
    """Learning rate of Adam; ten times that of the training, because with frozen trunks only one layer
    learns."""

    weight_decay: float = 1e-3
    """L2 penalty in Adam; 1e-3 keeps detectors from memorising images that are few."""

    batch_size: int = 16
    """Images per step, half of them negative; 16 are eight pairs."""

    top_tiles: int = 2
    """Tiles per image whose positions stage 2 learns from, the heaviest of stage 1. 2 tolerate that the first
    one is wrong; each costs a reading of its maps in every step."""

    schedule: Literal["cosine", "constant"] = "cosine"
    """Schedule of the learning rate: "cosine" decays to 0 over the steps of a stage, so that the last
    batches do not decide; or "constant"."""

    pooling: Literal["log_mean_exp", "max"] = "log_mean_exp"
    """From the logits of an image's tiles to one: "log_mean_exp", smooth, or "max", only the highest."""

    starts: int = 1
    """Detectors trained side by side from random layers, of which the one with the lowest loss over all
    training images is kept; finds smaller needles. More than one needs frozen trunks, whose embeddings are
    then standardised."""

    head_l2: float | None = None
    """Initialise the head by logistic regression: the sub-tiles drawn of the training images learn the
    label of their image, with this L2 penalty on weights of standardised features (0.01 works well). For an
    f whose trunk is frozen, or has no batch normalization. null: random initialisation."""

    @property
    def is_on(self) -> bool:
        """Whether anything is warmed up."""
        return self.steps > 0 or self.head_l2 is not None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: naming the one that cannot work.
        """
        least_of = {"steps": 0, "position_steps": 0, "batch_size": 2, "top_tiles": 1, "starts": 1}
        least_of["weight_decay"] = 0
        needs = {
            name: (getattr(self, name) >= least, f"at least {least}") for name, least in least_of.items()
        }
        needs["learning_rate"] = (self.learning_rate > 0, "a positive number")
        known = self.head_l2 is None or self.head_l2 > 0
        needs["head_l2"] = (known, "a positive number, or null for a randomly initialised head")
        require_all(self, needs, "train.warm_up.")


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the defaults are the paper's, for two classes with class 0 the negative one.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    epochs: int = 100
    """Passes over the training images; 100 is the paper's for colon cancer."""

    freeze_trunks: bool | Literal["attention"] = False
    """Keep the weights of `timm` networks as they are: only logits, head and the paper's own networks learn;
    of a baseline, the network that encodes its views. "attention": those of the attention alone, while f
    learns. Embeddings of unaugmented images by frozen trunks are kept in memory."""

    warm_up: WarmUp = field(default_factory=WarmUp)
    """First train the attention networks as detectors and initialise the head; for objects that random
    attention rarely draws."""

    learning_rate: float = 1e-3
    """Learning rate of Adam; 1e-3 is the paper's."""

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's moments; PyTorch's default."""

    weight_decay: float = 0.0
    """L2 penalty in Adam (paper: none; the authors' code: 1e-5)."""

    lr_step: int | None = None
    """Epochs after which the learning rate is multiplied by `lr_gamma`, repeatedly; null: constant (the
    authors' code: 30)."""

    lr_gamma: float = 0.9
    """Factor of the learning rate at every `lr_step` (the authors' code: 0.9)."""

    gradient_clip: float | None = None
    """Largest norm of the gradient; null: no limit (the authors' code: 5)."""

    contrastive_from_epoch: int | None = 10
    """Epochs before the contrastive loss joins, because attention is meaningless at first; null: never. 10 is
    the paper's."""

    negative_class: bool | Literal["auto"] = "auto"
    """Whether class 0 means "no object", without which there is no contrastive loss; "auto": if there are
    two classes."""

    entropy_strength: float = 1e-5
    """Lambda, the weight of the entropy loss, which keeps attention spread; 0 switches it off. 1e-5 is the
    paper's."""

    tile_roi_strength: float = 0.0
    """Weight of L_alpha, the squared distance of the tile attention from the annotated ROI (paper: 1 where
    there are pixel annotations); images without annotation add nothing. 0: annotations are not used."""

    position_roi_strength: float = 0.0
    """Weight of L_beta, the same for the maps inside the drawn tiles."""

    roi_target: RoiTarget = "share"
    """What the attention should be: "share", each cell's part of the ROI, which it can reach; or "literal",
    the paper's binary mask, which it cannot."""

    class_weights: tuple[float, ...] | Literal["balanced"] | None = None
    """Weight of each class in the cross-entropy; "balanced": inverse to its share of the training images, 1
    on average; null: equal weights."""

    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Choose "32-true"; or "bf16-mixed", networks in bfloat16: faster on GPUs and on CPUs with AMX, rounded
    to three digits."""

    device: str = "auto"
    """Choose "auto" (a GPU if there is one), "cpu", "cuda" or "mps"."""

    devices: int | Literal["auto"] = 1
    """Processes per machine that train together, each on its own GPU, or on the CPU with device cpu; "auto":
    one per GPU. Each takes `data.batch_size` images per step."""

    num_nodes: int = 1
    """Machines that train together, each with `devices` processes; torchrun or SLURM starts them."""

    strategy: Literal["auto", "ddp"] = "auto"
    """How processes train together: "ddp", Lightning's distributed data parallel, with gradients that are
    means over all images of a step however unevenly these are dealt; "auto": that, for several processes."""

    monitor: str = "val_loss"
    """What makes an epoch the best one, and what early stopping waits for: "val_loss" (no ties, no
    threshold, defined for one class too), or a score of the target: "val_accuracy", "val_balanced_accuracy",
    "val_auroc"; of labels "val_auroc", "val_average_precision"; of values "val_r2", "val_spearman"; of grades
    "val_kappa"; of survival "val_concordance". The first of equally good epochs counts."""

    early_stopping_patience: int | None = None
    """Epochs without a better `monitor` after which training stops; null: never."""

    validation_sampling: str | None = None
    """Sampling of the validation after each epoch; null: the model's own."""

    validation_replicates: int = 1
    """Estimates averaged in the validation after each epoch; 1 is cheap, and as noisy as training."""

    evaluation_sampling: str = "systematic"
    """Sampling of the final evaluation; systematic has less variance than the paper's at the same cost."""

    evaluation_replicates: int = 16
    """Estimates averaged in the final evaluation; 16 reduce the sampling noise to a quarter."""

    calibrate: bool = True
    """Divide the logits of the chosen network by the temperature with the least loss on the validation
    images, where there are at least 20 and the answers are probabilities. Changes no decision between
    classes, only how sure they are."""

    logger: Literal["auto", "none"] | LoggerName | tuple[LoggerName, ...] = "auto"
    """Where training can be followed beside metrics.csv: "csv", "tensorboard", "wandb" (Weights & Biases),
    "mlflow", or several, as in [csv,wandb]; "none"; or "auto": TensorBoard, but nothing in a
    cross-validation."""

    def __post_init__(self) -> None:
        """Check the values."""
        needs = {
            "learning_rate": (self.learning_rate > 0, "a positive number"),
            "betas": (all(0 <= beta < 1 for beta in self.betas), "two numbers from 0 to below 1"),
            "roi_target": (self.roi_target in ("share", "literal"), "share or literal"),
            "lr_gamma": (0 < self.lr_gamma <= 1, "a factor above 0 and at most 1"),
            "gradient_clip": (
                self.gradient_clip is None or self.gradient_clip > 0,
                "a positive number, or null for no limit",
            ),
            "contrastive_from_epoch": (
                self.contrastive_from_epoch is None or self.contrastive_from_epoch >= 0,
                "an epoch from 0, or null",
            ),
            "precision": (self.precision in ("32-true", "bf16-mixed"), "32-true or bf16-mixed"),
            "devices": (self.devices == "auto" or self.devices >= 1, "at least 1, or auto"),
            "strategy": (self.strategy in ("auto", "ddp"), "auto or ddp"),
            "monitor": (self.monitor in MONITORS, f"one of {', '.join(MONITORS)}"),
            "logger": (
                set(self.loggers()) <= set(get_args(LoggerName)),
                f"some of {', '.join(get_args(LoggerName))}; or none, or auto",
            ),
        }
        for name in ("num_nodes", "epochs", "validation_replicates", "evaluation_replicates"):
            needs[name] = (getattr(self, name) >= 1, "at least 1")
        for name in ("lr_step", "early_stopping_patience"):
            needs[name] = (getattr(self, name) is None or getattr(self, name) >= 1, "at least 1, or null")
        for name in ("weight_decay", "tile_roi_strength", "position_roi_strength"):
            needs[name] = (getattr(self, name) >= 0, "at least 0")
        require_all(self, needs)
        for sampling in (self.validation_sampling, self.evaluation_sampling):
            if sampling is not None:
                check_sampling(sampling)

    @property
    def uses_roi(self) -> bool:
        """Whether the loss looks at pixel annotations."""
        return self.tile_roi_strength > 0 or self.position_roi_strength > 0

    def loggers(self, *, crossval: bool = False) -> tuple[LoggerName, ...]:
        """The loggers that are meant, each once.

        Example:
            >>> TrainConfig().loggers(), TrainConfig(logger=("csv", "mlflow")).loggers(crossval=True)
            (('tensorboard',), ('csv', 'mlflow'))
        """
        if self.logger == "auto":
            return () if crossval else ("tensorboard",)
        if self.logger == "none":
            return ()
        return (self.logger,) if isinstance(self.logger, str) else tuple(dict.fromkeys(self.logger))

    def weights_of(self, counts: list[int]) -> list[float] | None:
        """The class weights for data with so many training images of each class.

        Raises:
            ConfigError: if there is not one positive weight per class.

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
            "Give one positive number per class, in the order of the classes.",
        )
        return weights

    def contrastive_epoch(self, n_classes: int) -> int | None:
        """The first epoch with contrastive loss, None where it is off."""
        negative = n_classes == 2 if self.negative_class == "auto" else self.negative_class
        return self.contrastive_from_epoch if negative else None


@dataclass(frozen=True)
class PretrainConfig:
    """How to pre-train the three networks as classifiers of crops; off by default.

    Raises:
        ConfigError: naming the value that cannot work and a remedy.
    """

    steps: int = 0
    """Optimisation steps per network; 0: no pre-training."""

    batch_size: int = 64
    """Crops per step; 64 small crops fit any memory."""

    learning_rate: float = 1e-3
    """Learning rate of Adam; 1e-3 is that of the training."""

    parts: tuple[str, ...] = PARTS
    """Which networks: "tile_attention", "position_attention", "features"; by default all."""

    crops: Literal["anywhere", "as_read"] = "anywhere"
    """Where crops lie: "anywhere"; or "as_read": on the grid of tiles, and sub-tiles of ROI with ROI in
    their middle, as the trained network reads them."""

    schedule: Literal["constant", "cosine"] = "constant"
    """Schedule of the learning rate: "constant", or "cosine", which decays to 0 over the steps of a
    network."""

    def __post_init__(self) -> None:
        """Check the values."""
        parts = bool(self.parts) and set(self.parts) <= set(PARTS)
        needs = {
            "steps": (self.steps >= 0, "0 (off) or more"),
            "batch_size": (self.batch_size >= 2, "at least 2: a positive and a negative crop"),
            "learning_rate": (self.learning_rate > 0, "a positive number"),
            "parts": (parts, f"some of {', '.join(PARTS)}"),
            "crops": (self.crops in ("anywhere", "as_read"), "anywhere or as_read"),
            "schedule": (self.schedule in ("constant", "cosine"), "constant or cosine"),
        }
        require_all(self, needs, "pretrain.")


@dataclass(frozen=True)
class RunConfig:
    """A training run: the network, the data, the training, and where the results go."""

    data: DataConfig
    """The images; its seed decides the splits."""

    model: ClassifierConfig = field(default_factory=ZoomInConfig)
    """The network, Zoom-In or a baseline; number and names of its classes come from the data."""

    train: TrainConfig = field(default_factory=TrainConfig)
    """The optimisation."""

    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    """Pre-training of the three networks on crops, if there are pixel annotations."""

    frozen: FrozenConfig = field(default_factory=FrozenConfig)
    """Learning on the embeddings of a frozen trunk, instead of from pixels."""

    out: str = "runs/zoomin"
    """Folder for the results, new or empty."""

    seed: int = 0
    """Seed of the initial weights, of the order and augmentation of the images, and of all draws."""

    resume: bool = False
    """Resume the run in `out` after its last complete epoch; if there is none, start one."""


@dataclass(frozen=True)
class CrossvalConfig:
    """Which folds, how often, how many at a time."""

    folds: int | Literal["authors"] = 10
    """Number of stratified folds, groups kept whole; or "authors" for the ten of the paper's authors."""

    repeats: int = 1
    """Number of times that stratified folds are drawn."""

    seeds: tuple[int, ...] = (0,)
    """Seeds; every fold is trained once with each."""

    folds_dir: str | None = None
    """Folder of the authors' folds; by default `colon_cancer_folds` in or beside data.root."""

    jobs: int = 1
    """Trainings in parallel, each in its own process with its share of the processor's cores."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: naming the one that cannot work.
        """
        needs = {
            "folds": (self.folds == "authors" or self.folds >= 2, "at least 2, or authors"),
            "repeats": (self.repeats >= 1, "at least 1"),
            "jobs": (self.jobs >= 1, "at least 1"),
            "seeds": (
                len(self.seeds) > 0 and len(set(self.seeds)) == len(self.seeds) and min(self.seeds) >= 0,
                "one or more different numbers from 0",
            ),
        }
        require_all(self, needs, "cv.")
