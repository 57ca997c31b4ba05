"""One call that draws whatever is at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..annotations.annotation import Annotation
from ..errors import ConfigError
from ..geometry import Region
from ..images.image import Image, layout_of
from ..images.pictured import preview_scale
from ..runtime.extras import extra_named
from .evidence import Evidence
from .overlay import overlay_figures
from .panel import panel_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot"]

_INCHES = 7.0


def plot(
    what: Evidence | Image | Sequence[Evidence], roi: Annotation | None = None, *, panel: bool = False
) -> Figure:
    """Draw an explanation, several side by side, or an image as a whole.

    Args:
        what: an explanation: the attention over the image, the heaviest sub-tiles and how they add up to the
            answer; an image: the whole of it, at low magnification.
        roi: the annotated truth of one image, outlined where given.
        panel: the whole way of one answer instead, both stages of the attention among it.

    Returns:
        A matplotlib figure that belongs to no window; a notebook shows it, `figure.savefig(path)` writes it.

    Raises:
        ConfigError: if there is nothing to draw, or it is neither an explanation nor an image.
        ImageError: if pixels cannot be read.
    """
    if isinstance(what, Evidence):
        return panel_figure(what, roi) if panel else overlay_figures([what], [roi])
    if isinstance(what, Image):
        return _image(what)
    if not isinstance(what, Sequence) or not what or not all(isinstance(one, Evidence) for one in what):
        raise ConfigError(
            f"plot takes explanations or one image, and this is {_kind(what)}",
            where="what",
            remedy="Give what zoomin.explain or zoomin.open_image returns.",
        )
    return overlay_figures(what, [roi] * len(what), columns=min(2, len(what)))


def _kind(what: object) -> str:
    """What something is, in words."""
    name = type(what).__name__
    if isinstance(what, str) or not isinstance(what, Sequence):
        return f"{what!r}" if isinstance(what, int | str) else f"of the type {name}"
    return f"a {name} of {type(what[0]).__name__}" if what else f"an empty {name}"


def _image(image: Image) -> Figure:
    with extra_named():
        from matplotlib.figure import Figure

    if layout_of(image) != (3, torch.uint8):
        raise ConfigError(
            "an image opened for its channels has no colours",
            where=image.name,
            remedy="Open it without channels, or plot its explanation, which has false colours.",
        )
    view = image.read([Region(0, 0, image.width, image.height)], preview_scale(image))[0]
    figure = Figure(figsize=(_INCHES, max(1.0, _INCHES * image.height / image.width)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(view.permute(1, 2, 0).numpy(), extent=(0, image.width, image.height, 0))
    axes.set(xlabel="level-0 pixels", title=str(image.name)[-60:])
    return figure
