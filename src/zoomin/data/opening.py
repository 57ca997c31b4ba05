"""Open images the way a model looks at them: at its resolution, with their foreground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..annotations.foreground import FileMask
from ..annotations.frames import Frame
from ..classifiers import ClassifierConfig
from ..errors import ImageError
from ..files import json_digest
from ..images.foreground import Foreground
from ..images.image import Image
from ..images.open_image import open_channels, open_image
from ..images.resampled import at_mpp
from ..images.stored import identity_of
from ..images.tissue import ForegroundMask, overview_mask
from ..model.settings import Settings
from .manifest import Record

__all__ = ["foreground_mask", "open_record", "record_key"]


def open_record(
    record: Record,
    model: ClassifierConfig | None = None,
    mpp: float | None = None,
    channels: Sequence[str | int] = (),
) -> Image:
    """The image of a record in the frame that a model works in.

    Args:
        record: names the file, and its microns per pixel where the manifest knows better than the file.
        model: whose resolution and channels are wanted; None: those of the file.
        mpp: microns per level-0 pixel of files whose record does not say.
        channels: that are wanted without a model; none: red, green and blue.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: if it cannot be opened, or its pixels' size is needed and not known.
    """
    known = mpp if record.mpp is None else record.mpp
    wanted = channels or getattr(model, "channels", ())
    image: Image
    if wanted:
        scale = (model.mean, model.std) if isinstance(model, Settings) and not channels else None
        image = open_channels(record.image, wanted, mpp=known, series=record.series, statistics=scale)
    else:
        chosen = {} if record.series is None else {"series": record.series}
        image = open_image(record.image, mpp=known, **chosen)
    return image if model is None else at_mpp(image, model.resolution)


def foreground_mask(
    image: Image, record: Record | None, foreground: Foreground | None, file: Frame | None = None
) -> ForegroundMask | None:
    """Where an image's foreground is found: in the file that its record names, else in its overview.

    Args:
        image: as the model reads it.
        record: of the image; None for an image that is in no manifest.
        foreground: how to look for it; None as for the method "none".
        file: the frame that its file speaks in, where the image no longer tells it.

    Returns:
        A mask that has read nothing yet; None where every tile counts.
    """
    if foreground is None or foreground.method == "none":
        return None
    if record is not None and record.foreground is not None:
        return FileMask(record.foreground, image, foreground, file)
    return overview_mask(image, foreground)


def record_key(image: str | Path | Record) -> str:
    """The same for the same file, unchanged, read in the same way; of a missing one too."""
    record = image if isinstance(image, Record) else Record(Path(image), label=None)
    foreground = record.foreground and _stamp(record.foreground)
    return json_digest([_stamp(record.image), record.mpp, record.series, foreground])


def _stamp(path: Path) -> list[int]:
    try:
        _, size, changed = identity_of(path)
    except ImageError:
        return []
    return [size, changed]
