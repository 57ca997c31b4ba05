"""Slides that OpenSlide does not read, by packages that are optional: fastslide and wsidicom."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...runtime.extras import install
from .adapted import SlideReader
from .dicom_header import read_dicom_header

__all__ = ["FASTSLIDE", "WSIDICOM", "WsiDicomSlide", "other_reader", "takes_fastslide"]

FASTSLIDE = SlideReader(
    "fastslide",
    "fastslide:FastSlide.from_file_path",
    frame="level",
    parallel=True,
    install=install("fastslide"),
)
WSIDICOM = SlideReader(
    "wsidicom", "zoomin.images.formats.other_slides:WsiDicomSlide", install=install("dicom")
)
_CZI, _TIFF = b"ZISRAWFILE", (b"II*\0", b"MM\0*")
_ISYNTAX = b"DPUfsImport"
_SYNTAXES = (  # those that wsidicom decodes with imagecodecs, a dependency
    "1.2.840.10008.1.2.4.80",  # JPEG-LS
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.5",  # run lengths
)


def takes_fastslide(path: Path, head: bytes) -> bool:
    """Whether a file is a slide of Zeiss (CZI), Olympus (VSI) or Philips (iSyntax)."""
    if head.startswith(_CZI) or _ISYNTAX in head[:2048]:
        return True
    vsi = path.suffix.lower() == ".vsi" and head[:4] in _TIFF
    return vsi and path.with_name(f"_{path.stem}_").is_dir()


def other_reader(path: Path) -> SlideReader | None:
    """An installed package that may read a slide that OpenSlide refuses: CZI, DICOM of other codecs."""
    with path.open("rb") as file:
        czi = file.read(len(_CZI)) == _CZI
    if czi:
        return FASTSLIDE if find_spec("fastslide") is not None else None
    header = read_dicom_header(path)
    if header is None or not header.is_slide or header.syntax not in _SYNTAXES:
        return None
    simple = header.bits in (None, 8) and header.planes == 1 and header.paths == 1
    return WSIDICOM if simple and find_spec("wsidicom") is not None else None


class WsiDicomSlide:
    """wsidicom by OpenSlide's interface: the files of the same series in the folder are one slide.

    Attributes:
        dimensions: width and height of level 0.
        level_dimensions: of each level that is stored.
        level_downsamples: of each.
        mpp: microns per pixel across and down.
    """

    def __init__(self, path: str) -> None:
        """Open the series of a file."""
        from wsidicom import WsiDicom

        own = read_dicom_header(Path(path))
        files = [
            file
            for file in sorted(Path(path).parent.iterdir())
            if file.is_file() and (header := read_dicom_header(file)) is not None and own is not None
            and header.is_slide and header.series == own.series
        ]  # fmt: skip
        self._slide: Any = WsiDicom.open(files or [Path(path)])
        self._levels = [level.level for level in self._slide.pyramid]
        self.level_dimensions = [(int(one.size.width), int(one.size.height)) for one in self._slide.pyramid]
        self.dimensions = self.level_dimensions[0]
        self.level_downsamples = [self.dimensions[0] / width for width, _ in self.level_dimensions]
        self.mpp = float(self._slide.mpp.width), float(self._slide.mpp.height)

    def read_region(self, location: tuple[int, int], level: int, size: tuple[int, int]) -> Any:  # noqa: ANN401
        """Pixels of a level; wsidicom counts the corner in pixels of that level."""
        step = self.level_downsamples[level]
        corner = round(location[0] / step), round(location[1] / step)
        return self._slide.read_region(corner, self._levels[level], size)

    def close(self) -> None:
        """Close the files."""
        self._slide.close()
