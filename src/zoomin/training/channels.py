"""Training on images of other channels than red, green and blue: which, and how their samples are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from ..baselines.bags import STORED
from ..classifiers import ClassifierConfig
from ..data.config import DataConfig
from ..data.manifest import Record
from ..data.opening import open_record
from ..errors import ConfigError
from ..images.formats.channels import ChannelImage, channel_statistics
from ..images.physical import microns
from ..images.resampled import ResampledImage
from ..model.settings import Settings
from ..progress import track

__all__ = ["with_channels"]


def with_channels(
    model: ClassifierConfig, data: DataConfig, records: Sequence[Record], *, progress: bool | None = None
) -> ClassifierConfig:
    """The configuration of a network for the channels of the data.

    Args:
        model: the configuration; its `mean` and `std` become those of the channels in the records.
        data: names the channels; without any, the configuration stays as it is.
        records: the training images.
        progress: show a progress bar while they are read.

    Raises:
        ConfigError: if the network reads no pixels, or is for other channels.
        ImageError: if an image lacks a channel, or cannot be read.
    """
    wanted = tuple(str(channel) for channel in data.channels or ())
    if not wanted:
        return model
    if not isinstance(model, Settings) or str(getattr(model, "features", "")).startswith(STORED):
        raise ConfigError(
            "a network on stored features sees no channels",
            where="data.channels",
            remedy="Leave it out: the network that made the features decided what it saw.",
        )
    if model.channels and model.channels != wanted:
        raise ConfigError(
            f"the model's channels are {', '.join(model.channels)}, the data's {', '.join(wanted)}",
            where="data.channels",
            remedy="Give the same, or leave model.channels out.",
        )
    if model.channels:
        return model
    bare = replace(model, channels=wanted, mean=(0.0,) * len(wanted), std=(1.0,) * len(wanted))
    mpp = None if data.mpp is None else microns(data.mpp, "data.mpp")
    images = (
        cast("ChannelImage | ResampledImage", open_record(record, bare, mpp))
        for record in track(records, "Statistics of channels", total=len(records), shown=progress)
    )
    mean, std = channel_statistics(images)
    return replace(bare, mean=mean, std=std)
