"""Whole slides that another package's object reads, by the interface that OpenSlide gave the field.

Such an object has `dimensions`, `level_dimensions`, `read_region(location, level, size)` and `close`, and may
have `level_downsamples`, `properties` or `mpp`. kfbslide, tmapslide, mrxsslide and others imitate OpenSlide,
whose locations are level-0 pixels; fastslide counts pixels of the level. What a region lacks because it
reaches beyond the border is background here, whether the package pads it or cuts it off.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...errors import ImageError
from ..cache import HANDLES
from ..physical import check_mpp, plausible_mpp
from ..pixels import over_background
from ..stored import Level, StoredImage, undecoded
from ..windows import Window

__all__ = ["AdaptedSlide", "SlideReader", "open_adapted"]

Bytes = npt.NDArray[np.uint8]
_BLOCK = 256  # where the object does not give the size of its blocks
_WHITE = (255, 255, 255)


@dataclass(frozen=True)
class SlideReader:
    """How another package opens slides; it is found by name, so that images cross to other processes.

    Attributes:
        name: the package, as shown.
        opener: "module:callable" of one argument, the path as text; "module:Class.method" too.
        frame: whether locations count pixels of level 0, as OpenSlide's, or of the level that is read.
        parallel: whether several threads may read one object at once.
        install: the command that installs the package.
    """

    name: str
    opener: str
    frame: Literal["level-0", "level"] = "level-0"
    parallel: bool = False
    install: str = ""

    def open(self, path: Path) -> Any:  # noqa: ANN401 (whatever the package returns)
        """The package's object for a file.

        Raises:
            ImageError: if the package is not installed, or cannot open the file.
        """
        module, _, inner = self.opener.partition(":")
        try:
            found: Any = import_module(module)
        except (ImportError, OSError) as error:
            raise ImageError(
                f"a slide that {self.name} reads, which does not load ({error})",
                where=path,
                remedy=f"{self.install or f'Install {self.name}'}, or export it as a pyramidal TIFF.",
            ) from error
        for name in inner.split("."):
            found = getattr(found, name)
        try:
            return found(str(path))
        except Exception as error:  # a stranger's code may raise anything
            raise ImageError(
                f"{self.name} cannot open the slide ({_first(error)})",
                where=path,
                remedy="Copy it again with all files that belong to it, or export it as a pyramidal TIFF.",
            ) from error


class AdaptedSlide(StoredImage):
    """A slide read by another package (see `stored.StoredImage`).

    Attributes:
        reader: name of the package.
        vendor: the format in its words, "" where it does not say.
    """

    def __init__(
        self,
        path: Path,
        levels: tuple[Level, ...],
        by: SlideReader,
        mpp: float | None,
        downsamples: tuple[float, ...],
        vendor: str = "",
    ) -> None:
        """Describe a slide; `open_adapted` asks the package."""
        super().__init__(path, levels, mpp=mpp, background=_WHITE)
        self.reader, self.vendor = by.name, vendor
        self._by, self._downsamples = by, downsamples

    def decode(self, level: int, window: Window) -> Bytes:
        """The pixels of a window of a level."""
        slide, lock = HANDLES.get_or_make(self._key, self._open)
        step = self._downsamples[level] if self._by.frame == "level-0" else 1.0
        corner = round(window.x0 * step), round(window.y0 * step)
        size = window.x1 - window.x0, window.y1 - window.y0
        try:
            if self._by.parallel:
                found = slide.read_region(corner, level, size)
            else:
                with lock:
                    found = slide.read_region(corner, level, size)
            return self._flat(found, size)
        except Exception as error:  # a stranger's code may raise anything
            HANDLES.drop(self._key)
            raise undecoded(self.path, level, window, f"{self.reader}: {_first(error)}") from error

    @property
    def _key(self) -> tuple[object, ...]:
        return "adapted", self._by, self.identity

    def _open(self) -> tuple[Any, threading.Lock]:
        self.check_identity()
        return self._by.open(self.path), threading.Lock()

    def _flat(self, found: Any, size: tuple[int, int]) -> Bytes:  # noqa: ANN401
        """Red, green and blue of the whole window: what is cut off or transparent is background."""
        pixels = np.asarray(found.numpy() if hasattr(found, "numpy") else found)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels of type {pixels.dtype}, not bytes")
        width, height = size
        view = np.full((height, width, 3), self.background, dtype=np.uint8)
        part = pixels[:height, :width]
        colours = part[..., :3] if part.shape[2] >= 3 else np.repeat(part[..., :1], 3, axis=2)
        if part.shape[2] in (2, 4):
            colours = over_background(colours, part[..., -1], self.background)
        view[: part.shape[0], : part.shape[1]] = colours
        return view


def open_adapted(path: Path, by: SlideReader, *, mpp: float | None = None) -> AdaptedSlide:
    """Open a slide by another package.

    Args:
        path: the file.
        by: the package.
        mpp: microns per pixel, instead of a missing or wrong property.

    Raises:
        ConfigError: if `mpp` is not a positive number.
        ImageError: if the package is missing, cannot open the file, or gives no size; or the pixels are not
            square and `mpp` is not given.
    """
    check_mpp(mpp, path)
    slide = by.open(path)
    try:
        sizes = [(int(height), int(width)) for width, height in slide.level_dimensions]
        full = sizes[0]
        levels = tuple(Level.of(size, full, (_BLOCK, _BLOCK)) for size in sizes)
        steps = getattr(slide, "level_downsamples", None) or [full[0] / size[0] for size in sizes]
        downsamples = tuple(float(step) for step in steps)
        known = mpp if mpp is not None else _mpp_of(slide, path)
        vendor = str(dict(getattr(slide, "properties", None) or {}).get("openslide.vendor", ""))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(
            f"{by.name} does not report the size of the slide ({_first(error)})",
            where=path,
            remedy=f"Update {by.name}, or export the slide as a pyramidal TIFF.",
        ) from error
    finally:
        _close(slide)
    return AdaptedSlide(path, levels, by, known, downsamples, vendor)


def _first(error: Exception) -> str:
    """The kind and first line of a stranger's error."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _close(slide: Any) -> None:  # noqa: ANN401
    close: Callable[[], None] | None = getattr(slide, "close", None)
    if close is not None:
        close()


def _mpp_of(slide: Any, path: Path) -> float | None:  # noqa: ANN401
    """Microns per pixel by OpenSlide's properties or an attribute `mpp`, where they can be believed."""
    properties = dict(getattr(slide, "properties", None) or {})
    sides = [properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
    if None in sides:
        sides = list(np.ravel(getattr(slide, "mpp", None) or ()))
    try:
        x, y = (float(value) for value in (sides if len(sides) == 2 else sides * 2))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return plausible_mpp(x, y, path)
