"""Where the pixels of an image lie on a map."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Georeference"]


@dataclass(frozen=True)
class Georeference:
    """The way from level-0 pixels to map coordinates.

    Attributes:
        crs: the coordinate reference system as WKT, None where the file does not name it.
        transform: (a, b, c, d, e, f): the corner (x, y) in level-0 pixels lies at
            (a x + b y + c, d x + e y + f) on the map. (0, 0) is the outer corner of the first pixel.

    Example:
        >>> Georeference(crs=None, transform=(0.5, 0.0, 1e3, 0.0, -0.5, 2e3)).to_map(10.0, 20.0)
        (1005.0, 1990.0)
    """

    crs: str | None
    transform: tuple[float, float, float, float, float, float]

    def to_map(self, x: float, y: float) -> tuple[float, float]:
        """Map coordinates of a place in level-0 pixels."""
        a, b, c, d, e, f = self.transform
        return a * x + b * y + c, d * x + e * y + f

    def to_pixels(self, east: float, north: float) -> tuple[float, float]:
        """The place in level-0 pixels of map coordinates.

        Example:
            >>> Georeference(crs=None, transform=(0.5, 0.0, 1e3, 0.0, -0.5, 2e3)).to_pixels(1005.0, 1990.0)
            (10.0, 20.0)
        """
        a, b, c, d, e, f = self.transform
        east, north, area = east - c, north - f, a * e - b * d
        return (e * east - b * north) / area, (a * north - d * east) / area

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Width and height of a level-0 pixel in units of the map."""
        a, b, _, d, e, _ = self.transform
        return (a * a + d * d) ** 0.5, (b * b + e * e) ** 0.5
