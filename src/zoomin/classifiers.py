"""What training and inference ask of a classifier, and the table of classifiers: Zoom-In and the baselines.

Networks are imported when they are built: names and settings are known without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import Field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from .errors import CheckpointError, ConfigError
from .files import parse_json
from .images.foreground import Foreground
from .model.hub import fetched
from .runtime.plugins import IF_PLUGGED_IN, Registry, Targets

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int
    from torch import Tensor, nn

    from .images.image import Image, ImageBatch
    from .model.networks import LinearHead
    from .model.zoom_in import ZoomIn

__all__ = [
    "BASELINES",
    "Classifier",
    "ClassifierConfig",
    "Output",
    "baseline",
    "build",
    "check_explains",
    "config_class",
    "load",
    "load_model",
    "zoom_in",
]


def _is_network(thing: object) -> bool:
    from .baselines.baseline import Baseline

    return isinstance(thing, type) and issubclass(thing, Baseline)


# The network of each `model.name`.
BASELINES: Registry[Any] = Registry(
    "zoomin.baselines",
    Targets(
        {
            "cnn": "zoomin.baselines.cnn:CNN",
            "ats": "zoomin.baselines.ats:ATS",
            "abmil": "zoomin.baselines.abmil:ABMIL",
            "abmilx": "zoomin.baselines.abmilx:ABMILX",
            "clam": "zoomin.baselines.clam:CLAM",
            "dsmil": "zoomin.baselines.dsmil:DSMIL",
            "transmil": "zoomin.baselines.transmil:TransMIL",
            "mrmil": "zoomin.baselines.mrmil:MRMIL",
            "zoommil": "zoomin.baselines.zoommil:ZoomMIL",
            "ips": "zoomin.baselines.ips:IPS",
        }
    ),
    _is_network,
    "a subclass of zoomin.baselines.Baseline",
)


@runtime_checkable
class ClassifierConfig(Protocol):
    """Settings of a network: a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def n_classes(self) -> int: ...  # noqa: D102
    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def target(self) -> str:
        """The kind of target: classes, labels, value, grade or survival."""
        ...

    @property
    def value_mean(self) -> float:
        """Of a value, in the training images."""
        ...

    @property
    def value_std(self) -> float:
        """Likewise."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes: `class_names`, or their numbers."""
        ...

    @property
    def resolution(self) -> float | None:
        """Microns per pixel that images are brought to; None: their own pixels."""
        ...

    @property
    def foreground(self) -> Foreground:
        """Which tiles are attended to."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists."""
        ...


@runtime_checkable
class Output(Protocol):
    """The answer for a batch of images."""

    @property
    def logits(self) -> Float[Tensor, "batch classes"]: ...  # noqa: D102
    @property
    def replicates(self) -> Float[Tensor, "replicates batch dims"]:
        """The features of each replicate; one where nothing is drawn at random."""
        ...

    @property
    def pixels_read(self) -> Int[Tensor, " batch"]:
        """Pixels of all views that were read of each image, at their scales."""
        ...

    @property
    def views_read(self) -> Int[Tensor, " batch"]:
        """Views at the finest scale that were encoded of each image."""
        ...

    @property
    def no_foreground(self) -> tuple[int, ...]:
        """Places in the batch of images without foreground: all of their tiles were attended to."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Images of any size to logits: what every network of the library is, an `nn.Module` besides."""

    training: bool

    @property
    def config(self) -> ClassifierConfig: ...  # noqa: D102

    if TYPE_CHECKING:  # Python 3.12 does not find the parts of an nn.Module when it checks a protocol

        @property
        def head(self) -> LinearHead:
            """From features to logits: linear, so that replicates give the standard error."""
            ...

    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def n_samples(self) -> int:
        """N, sub-tiles drawn of an image; 0 where the method draws nothing."""
        ...

    @property
    def explains(self) -> bool:
        """Whether its answers can be explained: it draws sub-tiles by attention, and its output has them."""
        ...

    @property
    def zooms(self) -> bool:
        """Whether it is Zoom-In (`zoom_in`)."""
        ...

    def __call__(
        self,
        images: Sequence[Image] | Tensor | ImageBatch,
        *,
        keys: Int[Tensor, " batch"] | None = None,
        n_samples: int | None = None,
        sampling: str | None = None,
        replicates: int = 1,
        keep_maps: bool = True,
    ) -> Output:
        """Classify a batch of images (see `ZoomIn.forward`)."""
        ...

    def design_for(self, height: int, width: int, sampling: str, exact_budget: int) -> str:
        """The sampling design for an image of this size, where `sampling` may be "auto"."""
        ...

    def pixels_of(self, height: int, width: int, drawn: int | None = None) -> int:
        """About how many pixels an image of this size brings into a batch; `drawn` None: all sub-tiles."""
        ...

    def computed_by(self, engine: str) -> AbstractContextManager[None]:
        """Compute the networks by an engine inside the block: "auto", "torch" or "openvino"."""
        ...

    def read_ahead(self, images: ImageBatch) -> None:
        """Start to read what the network will use first. Returns at once."""
        ...

    def save_pretrained(self, folder: str | Path) -> Path: ...  # noqa: D102
    def train(self, mode: bool = True) -> object: ...  # noqa: D102
    def eval(self) -> object: ...  # noqa: D102
    def to(self, device: str | torch.device) -> object: ...  # noqa: D102
    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102
    def state_dict(self) -> Mapping[str, Tensor]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object: ...  # noqa: D102


def baseline(name: str) -> Any:  # noqa: ANN401 (the class of a network of any kind)
    """The network of a name.

    Raises:
        ConfigError: if there is no baseline of that name, or it is a plug-in that does not work.
    """
    if name not in BASELINES:
        raise ConfigError(
            f"unknown model {name!r}",
            where="model.name",
            remedy=f"Choose one of {', '.join(BASELINES)}; omit it for Zoom-In. {IF_PLUGGED_IN}",
        )
    return BASELINES[name]


def config_class(name: str | None) -> Any:  # noqa: ANN401 (a dataclass of settings)
    """The class of the settings that `model.name` stands for; without a name, Zoom-In's.

    Raises:
        ConfigError: if there is no baseline of that name.
    """
    if name is None:
        return import_module(".model.config", __package__).ZoomInConfig
    return baseline(name).config_class


def build(config: ClassifierConfig) -> Classifier:
    """The network of a configuration, with weights drawn from torch's global random state.

    Raises:
        ConfigError: if the configuration cannot work.
    """
    return _network(getattr(config, "name", None))(config)  # type: ignore[no-any-return]


def load(folder: str | Path, device: str | torch.device = "cpu") -> Classifier:
    """The model that `save_pretrained` wrote, Zoom-In or a baseline, in evaluation mode.

    Raises:
        CheckpointError: if a file is missing or damaged, or does not fit the configuration.
        ConfigError: if the configuration has settings or a name that this version does not know.
    """
    network = _network(_name(Path(folder) / "config.json"))
    return network.from_pretrained(folder, device)  # type: ignore[no-any-return]


def load_model(path: str | Path, device: str | torch.device = "cpu") -> Classifier:
    """The model of a finished run, Zoom-In or a baseline, in evaluation mode.

    Args:
        path: a run folder (its `model/` is taken), one that `save_pretrained` or `zoomin share` wrote, or a
            model on the Hugging Face hub, "hf://USER/NAME" or "hf://USER/NAME@REVISION".
        device: where to compute.

    Raises:
        CheckpointError: if there is no model, it is damaged or of another configuration, or the hub cannot be
            reached.
        ConfigError: if the configuration has settings or a name that this version does not know.
    """
    folder = fetched(path)
    if not folder.is_dir():
        kind = "a file, not a folder" if folder.exists() else "no such folder"
        raise CheckpointError(kind, where=folder, remedy="Give the folder of a run, or its model/ folder.")
    inner = folder / "model"
    if not inner.is_dir() and (folder / "checkpoints").is_dir():
        raise CheckpointError(
            "this run has no model/ yet", where=folder, remedy="Its training has not finished: resume it."
        )
    return load(inner if inner.is_dir() else folder, device)


def zoom_in(model: Classifier) -> ZoomIn:
    """The model, where it is Zoom-In.

    Raises:
        ConfigError: if it is a baseline, which has no two stages of attention to show.
    """
    if model.zooms:
        return model  # type: ignore[return-value]
    raise ConfigError(
        f"a model of the kind {type(model).__name__} has no tiles and sub-tiles with attention of their own",
        where="model",
        remedy="Give a run of Zoom-In.",
    )


def check_explains(model: Classifier) -> None:
    """Refuse models whose answers are not made of sub-tiles that they draw by attention.

    Raises:
        ConfigError: if it is such a model.
    """
    if not model.explains:
        raise ConfigError(
            f"a model of the kind {type(model).__name__} draws no sub-tiles to explain",
            where="model",
            remedy="Give a run of Zoom-In, or of the baseline ats.",
        )


def _network(name: str | None) -> Any:  # noqa: ANN401 (the class of a network of any kind)
    return import_module(".model.zoom_in", __package__).ZoomIn if name is None else baseline(name)


def _name(path: Path) -> str | None:
    """The baseline that a config.json is of; None: Zoom-In, or a file that its loader will complain of."""
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values.get("name") if isinstance(values, dict) else None
