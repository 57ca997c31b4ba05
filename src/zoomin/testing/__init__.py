"""The contract of a reader, as checks that any package can run on its own format.

    from zoomin.testing import READER_CHECKS, ReaderCase, check_reader

    check_reader(ReaderCase(lambda: open_mine("a.mine"), pixels))     # all at once, or one by one:

    @pytest.mark.parametrize("check", READER_CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(ReaderCase(lambda: open_mine("a.mine"), pixels))

A check returns None, or raises an AssertionError that says what was expected and what was found. Nothing here
needs pytest.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..errors import ZoomInError
from ..geometry import Region
from ..images.array import ArrayImage
from ..images.image import Image

__all__ = ["READER_CHECKS", "ReaderCase", "check_reader"]


@dataclass(frozen=True)
class ReaderCase:
    """A file whose pixels are known, and how exactly its reader must give them.

    Attributes:
        open: opens the image again at each call.
        pixels: what the file holds at full resolution, (height, width, 3): at least 64 x 64, every region
            unlike the others.
        full: most that a channel may differ at full resolution; more than 0 where compression is lossy.
        shrunk: most that it may differ at lower scales, from the exact mean of all pixels; more than 0 where
            views come from stored levels, which are rounded themselves.
        mean: most that it may differ on average at lower scales.
        in_memory: whether the image keeps its pixels, and is pickled with them.
    """

    open: Callable[[], Image]
    pixels: UInt8[np.ndarray, "h w 3"]
    full: int = 0
    shrunk: int = 16
    mean: float = 2.0
    in_memory: bool = False
    reference: ArrayImage = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Hold the pixels as the reference.

        Raises:
            ValueError: if they are fewer than 64 x 64.
        """
        if min(self.pixels.shape[:2]) < 64:
            raise ValueError(f"{self.pixels.shape[:2]} pixels are too few: give at least 64 x 64")
        object.__setattr__(self, "reference", ArrayImage(self.pixels, background=self.open().background))

    def regions(self, size: int, n: int, *, seed: int = 0) -> list[Region]:
        """Boxes anywhere, many beyond the border."""
        rng = np.random.default_rng(seed)
        height, width = self.pixels.shape[:2]
        x, y = rng.integers(-size, width, n), rng.integers(-size, height, n)
        return [Region(int(a), int(b), size, size) for a, b in zip(x, y, strict=True)]


def check_describes_itself(case: ReaderCase) -> None:
    """Height, width, microns, background and name have the right types; the size is that of the pixels."""
    image = case.open()
    _expect(
        isinstance(image, Image), f"{type(image).__name__} lacks an attribute of zoomin.images.image.Image"
    )
    size = image.height, image.width
    _expect(all(type(side) is int for side in size), f"height and width are whole numbers, not {size!r}")
    _expect(size == case.pixels.shape[:2], f"the size is {case.pixels.shape[:2]}, not {size}")
    _expect(
        image.mpp is None or (isinstance(image.mpp, float | int) and 0 < image.mpp < float("inf")),
        f"mpp is None or a positive number, not {image.mpp!r}",
    )
    colour = image.background
    _expect(
        isinstance(colour, tuple)
        and len(colour) == 3
        and all(type(c) is int and 0 <= c <= 255 for c in colour),
        f"background is three whole numbers from 0 to 255, not {colour!r}",
    )
    _expect(isinstance(image.name, str) and image.name != "", f"name is a text, not {image.name!r}")


def check_full_resolution(case: ReaderCase) -> None:
    """At scale 1, views are the stored pixels; a region of one pixel and the whole image too."""
    image = case.open()
    height, width = case.pixels.shape[:2]
    for regions in (case.regions(50, 8), case.regions(1, 8), [Region(0, 0, width, height)]):
        _same(case, image.read(regions, 1.0), regions, 1.0, "at scale 1")


def check_beyond_the_border(case: ReaderCase) -> None:
    """Beyond the border lies the background colour, exactly, at every scale."""
    image = case.open()
    height, width = case.pixels.shape[:2]
    colour = torch.tensor(image.background, dtype=torch.uint8)[:, None, None]
    for scale in (1.0, 0.5, 0.1):
        for box in (Region(width, 0, 40, 40), Region(-40, -40, 40, 40), Region(0, 10 * height, 40, 40)):
            view = image.read([box], scale)[0]
            _expect(bool((view == colour).all()), f"{box} at scale {scale} is background: {image.background}")
    around = [Region(-5, -7, width + 10, height + 14)]
    _same(case, image.read(around, 1.0), around, 1.0, "around the whole image")


def check_area_averaging(case: ReaderCase) -> None:
    """At lower scales, a view pixel is the mean of the box that it covers: no pixel is left out."""
    image = case.open()
    for size, scale in ((64, 0.5), (64, 0.25), (48, 1 / 3), (60, 0.1), (51, 0.3)):
        regions = case.regions(size, 8)
        inside = [box for box in regions if box.x >= 0 and box.y >= 0] or regions
        _same(case, image.read(inside, scale), inside, scale, f"at scale {scale:.3g}")


def check_order(case: ReaderCase) -> None:
    """Views come in the order of the regions, and a region that is asked for twice comes twice."""
    image = case.open()
    regions = case.regions(32, 6)
    forward, backward = image.read(regions, 0.5), image.read(regions[::-1], 0.5)
    _expect(torch.equal(forward, backward.flip(0)), "views come in the order of the regions")
    twice = image.read([regions[0], regions[0]], 1.0)
    _expect(torch.equal(twice[0], twice[1]), "the same region gives the same view")
    alone = torch.cat([image.read([region], 0.5) for region in regions])
    _expect(torch.equal(forward, alone), "a view does not depend on what is read with it")
    none = image.read([], 1.0)
    _expect(len(none) == 0 and none.ndim == 4, f"no region gives no view, not {tuple(none.shape)}")


def check_refusals(case: ReaderCase) -> None:
    """Scales outside (0, 1], regions of different sizes and empty regions are refused with a ZoomInError."""
    image = case.open()
    box = Region(0, 0, 16, 16)
    for regions, scale in (
        ([box], 0.0),
        ([box], 1.5),
        ([box, Region(0, 0, 16, 17)], 1.0),
        ([Region(0, 0, 0, 16)], 1.0),
    ):
        try:
            image.read(regions, scale)
        except ZoomInError:
            continue
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            raise AssertionError(
                f"reading {regions} at scale {scale} raises a ZoomInError, not {found}"
            ) from error
        raise AssertionError(f"reading {regions} at scale {scale} is refused")


def check_pickling(case: ReaderCase) -> None:
    """An image crosses to another process: pickled small, without pixels, and read there the same."""
    image = case.open()
    regions = case.regions(32, 4)
    before = image.read(regions, 0.5)
    packed = pickle.dumps(image)
    if not case.in_memory:
        _expect(len(packed) < 10_000, f"a pickled image carries no pixels: {len(packed)} bytes are too many")
    unpickled = pickle.loads(packed)
    _expect(torch.equal(unpickled.read(regions, 0.5), before), "an unpickled image reads the same")
    _expect(
        (unpickled.mpp, unpickled.name) == (image.mpp, image.name),
        "an unpickled image has the same mpp and name",
    )


def check_threads(case: ReaderCase) -> None:
    """Several threads read one image at once, each its own regions."""
    image = case.open()
    wanted = [case.regions(40, 6, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda regions: image.read(regions, 1.0), wanted))
    for views, regions in zip(found, wanted, strict=True):
        _same(case, views, regions, 1.0, "in one of several threads")


def check_closing(case: ReaderCase) -> None:
    """Where an image has `close`, it may be called at any time, and the next read opens the file again."""
    image = case.open()
    close = getattr(image, "close", None)
    if close is None:
        return
    close()
    regions = case.regions(32, 4)
    before = image.read(regions, 1.0)
    close()
    close()
    _expect(torch.equal(image.read(regions, 1.0), before), "a closed image opens again for the next read")


READER_CHECKS: tuple[Callable[[ReaderCase], None], ...] = (
    check_describes_itself,
    check_full_resolution,
    check_beyond_the_border,
    check_area_averaging,
    check_order,
    check_refusals,
    check_pickling,
    check_threads,
    check_closing,
)


def check_reader(case: ReaderCase) -> None:
    """Run every check of `READER_CHECKS`.

    Raises:
        AssertionError: naming the first check that fails, what was expected and what was found.

    Example:
        >>> pixels = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        >>> check_reader(ReaderCase(lambda: ArrayImage(pixels), pixels, shrunk=0, in_memory=True))
    """
    for check in READER_CHECKS:
        try:
            check(case)
        except AssertionError as error:
            raise AssertionError(f"{check.__name__}: {error}") from error


def _expect(condition: bool, what: str) -> None:
    """Raise, also where Python runs without assertions."""
    if not condition:
        raise AssertionError(what)


def _same(case: ReaderCase, views: Tensor, regions: Sequence[Region], scale: float, where: str) -> None:
    """Compare views with those of the pixels in memory.

    Raises:
        AssertionError: if type, shape or pixels differ by more than the case allows.
    """
    wanted = case.reference.read(regions, scale)
    _expect(views.dtype == torch.uint8, f"views are uint8, not {views.dtype}")
    _expect(
        views.shape == wanted.shape, f"{where}, views are {tuple(wanted.shape)}, not {tuple(views.shape)}"
    )
    apart = (views.int() - wanted.int()).abs()
    most, mean = int(apart.max()), float(apart.float().mean())
    allowed = case.full if scale == 1 else max(case.shrunk, case.full)
    place = regions[int(apart.flatten(1).amax(1).argmax())]
    _expect(most <= allowed, f"{where}, {place} is {most} grey values off; allowed are {allowed}")
    if scale < 1:
        _expect(mean <= case.mean, f"{where}, views are {mean:.2f} grey values off on average")
