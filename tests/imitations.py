"""Packages that imitate OpenSlide, each with a liberty that real ones take."""

from __future__ import annotations

import numpy as np
import tifffile
from PIL import Image as PillowImage


class Imitation:
    """OpenSlide's interface in full: level-0 locations, transparent beyond the border."""

    def __init__(self, path):
        with tifffile.TiffFile(path) as file:
            self._levels = [page.asarray() for page in file.pages]
        self.level_dimensions = tuple((level.shape[1], level.shape[0]) for level in self._levels)
        self.dimensions = self.level_dimensions[0]
        self.level_downsamples = tuple(self.dimensions[0] / width for width, _ in self.level_dimensions)
        self.properties = {
            "openslide.vendor": "imitation",
            "openslide.mpp-x": "0.25",
            "openslide.mpp-y": "0.25",
        }

    def read_region(self, location, level, size):
        x, y = (round(place / self.level_downsamples[level]) for place in location)
        return PillowImage.fromarray(self._cut(x, y, level, size)).convert("RGBA")

    def _cut(self, x, y, level, size):
        return self._levels[level][y : y + size[1], x : x + size[0]]

    def close(self):
        self._levels = None


class Native(Imitation):
    """Locations of the level, an array behind `numpy()`, mpp as an attribute, as fastslide has them."""

    properties, mpp = None, (0.5, 0.5)

    def __init__(self, path):
        super().__init__(path)
        self.properties = {}

    def read_region(self, location, level, size):
        found = self._cut(*location, level, size)
        return type("Image", (), {"numpy": lambda self: found})()


class Bare:
    """No properties, no downsamples, no close; arrays."""

    def __init__(self, path):
        self._own = Imitation(path)
        self.dimensions, self.level_dimensions = self._own.dimensions, self._own.level_dimensions

    def read_region(self, location, level, size):
        return np.asarray(self._own.read_region(location, level, size))


class Oblong(Imitation):
    def __init__(self, path):
        super().__init__(path)
        self.properties = {"openslide.mpp-x": "0.25", "openslide.mpp-y": "0.5"}


class Sixteen(Imitation):
    def read_region(self, location, level, size):
        return np.zeros((size[1], size[0], 3), np.uint16)


def refuse(path):
    raise RuntimeError("no such vendor")
