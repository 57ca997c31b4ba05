"""What Zoom-In and the baselines share as networks: a device, normalised views, files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from ..errors import ConfigError
from .chunks import Chunks
from .engine import Engine
from .networks import LinearHead
from .sampling import derive_keys
from .settings import Settings
from .storage import load_pretrained, save_pretrained

__all__ = ["Network", "check_side", "random_keys"]


Kind = TypeVar("Kind", bound="Network")


class Network(nn.Module):
    """A network with a configuration, saved as `model.safetensors` and `config.json`.

    Attributes:
        readers: what decoded the images that it was trained on (`readers.json`); empty where not known.
    """

    readers: tuple[str, ...] = ()
    config_class: ClassVar[type[Settings]]
    head: LinearHead
    mean: Tensor
    std: Tensor

    def __init__(self, settings: Settings) -> None:
        """Keep the normalisation of views; the child builds its networks."""
        super().__init__()
        self._settings = settings
        self._engine = Engine("torch")
        self._engines = {"torch": self._engine}
        unit = 1 if settings.channels else 255  # samples as they are stored, or bytes
        for name in ("mean", "std"):
            values = torch.tensor(getattr(settings, name)).view(-1, 1, 1) * unit
            self.register_buffer(name, values, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.head.weight.device

    @property
    def chunks(self) -> Chunks:
        """How views reach the networks."""
        return Chunks(self._settings.chunk_size, self._settings.checkpoint, self.mean, self.std, self._engine)

    @contextmanager
    def computed_by(self, engine: str) -> Iterator[None]:
        """Compute the networks by an engine inside the block, where nothing is to be trained.

        Args:
            engine: "auto", "torch" or "openvino"; what one has compiled is kept for the next block.

        Raises:
            ConfigError: if there is no such engine, or it is not installed.
        """
        if engine not in self._engines:
            self._engines[engine] = Engine(engine)
        before, self._engine = self._engine, self._engines[engine]
        try:
            yield
        finally:
            self._engine = before

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write `model.safetensors` and `config.json` into a folder."""
        return save_pretrained(self, self._settings, folder)

    @classmethod
    def from_pretrained(cls: type[Kind], folder: str | Path, device: str | torch.device = "cpu") -> Kind:
        """The model that `save_pretrained` wrote, in evaluation mode.

        Raises:
            CheckpointError: if a file is missing or damaged, or does not fit the configuration.
            ConfigError: if the folder holds another kind of model.
        """
        return load_pretrained(cls, folder, device, cls.config_class.from_dict)


def random_keys(
    batch: int, generator: torch.Generator | None, device: torch.device | str
) -> Int[Tensor, " batch"]:
    """A key per image from a generator, torch's global one by default."""
    source = torch.default_generator if generator is None else generator
    seed = torch.randint(2**62, (1,), generator=source, device=source.device).to(device)
    return derive_keys(seed.expand(batch), torch.arange(batch, device=device))


def check_side(network: nn.Module, name: str, side: int, setting: str, channels: int = 3) -> None:
    """Refuse views that a network shrinks to nothing, before any image is opened.

    Args:
        network: of features.
        name: of the network.
        side: of the views, pixels.
        setting: to blame.
        channels: of the views.

    Raises:
        ConfigError: naming the setting.
    """
    was_training, probe = network.training, min(side, 64)
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, channels, probe, probe))
    except RuntimeError as error:
        raise ConfigError(
            f"views of {side} pixels are too small for the network {name!r}",
            where=setting,
            remedy=f"Give a larger {setting}, or another network.",
        ) from error
    network.train(was_training)
