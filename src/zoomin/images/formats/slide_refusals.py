"""Why OpenSlide does not open a slide, as the header of the file tells it, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import ImageError
from ...runtime.extras import install
from .dicom_header import DicomHeader, named_as_dicom, places_frames, read_dicom_header

__all__ = ["check_frames", "not_opened"]

_NO_SLIDE = (
    "a DICOM file, but not a whole-slide image (radiology, a photograph, or a derived object)",
    "Export it as PNG or TIFF with the windowing that you want to classify on.",
)
_SYNTAXES_READ = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.90",  # JPEG 2000
    "1.2.840.10008.1.2.4.91",
)
_ANEW = "Re-encode its frames, as JPEG or JPEG 2000, with the program that made it."
_VOLUME = "Give the file of the slide itself (its ImageType says VOLUME), with this one beside it or not."
_GREY = "Re-encode its frames in colours, red, green and blue the same, with the program that made it."
_DECOMPRESS = (
    f"Let wsidicom read it ({install('dicom')}), or re-encode its pixels "
    "(pip install pydicom pylibjpeg pylibjpeg-openjpeg pyjpegls): "
    "ds = pydicom.dcmread(IN); ds.decompress(); ds.save_as(OUT)."
)
_REWRITE = (
    "Re-encode its elements (pip install pydicom): ds = pydicom.dcmread(IN); "
    "ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian; ds.save_as(OUT)."
)
_SYNTAXES = {
    "1.2.840.10008.1.2": ("elements without types (implicit VR)", _REWRITE),
    "1.2.840.10008.1.2.1.99": ("deflated elements", _REWRITE),
    "1.2.840.10008.1.2.2": ("big-endian elements", _ANEW),
    "1.2.840.10008.1.2.4.51": ("12-bit JPEG", _ANEW),
    "1.2.840.10008.1.2.4.57": ("lossless JPEG", _ANEW),
    "1.2.840.10008.1.2.4.70": ("lossless JPEG", _ANEW),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS", _DECOMPRESS),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS", _DECOMPRESS),
    "1.2.840.10008.1.2.4.110": ("JPEG XL", _ANEW),
    "1.2.840.10008.1.2.4.111": ("JPEG XL", _ANEW),
    "1.2.840.10008.1.2.4.112": ("JPEG XL", _ANEW),
    "1.2.840.10008.1.2.4.201": ("High-Throughput JPEG 2000", _DECOMPRESS),
    "1.2.840.10008.1.2.4.202": ("High-Throughput JPEG 2000", _DECOMPRESS),
    "1.2.840.10008.1.2.4.203": ("High-Throughput JPEG 2000", _DECOMPRESS),
    "1.2.840.10008.1.2.5": ("run lengths", _DECOMPRESS),
}


def check_frames(path: Path) -> None:
    """Refuse DICOM frames that OpenSlide 4.0.1 takes wrong, of the file or of its series in its folder.

    Of several optical paths or focal planes it shows the first or the last without a word. Sparse frames
    without places end its process.

    Raises:
        ImageError: naming the file.
    """
    header = read_dicom_header(path)
    if header is None or not header.is_slide:
        return
    for beside in sorted(path.parent.iterdir()):
        own = read_dicom_header(beside) if named_as_dicom(beside) and beside.is_file() else None
        if own is None or own.series != header.series:
            continue
        if own.is_volume and (planes := _planes(own)) is not None:
            raise ImageError(f"{planes[0]} ({beside.name})", where=path, remedy=planes[1])
        if own.tiling == "TILED_SPARSE" and not places_frames(beside):
            raise ImageError(
                f"a DICOM slide whose tiles are sparse and have no places ({beside.name})",
                where=path,
                remedy="Export it again with the program that made it.",
            )


def _planes(header: DicomHeader) -> tuple[str, str] | None:
    """That a slide has more than one plane, and what to do; None of one."""
    if header.planes > 1:
        return (
            f"a DICOM slide of {header.planes} focal planes",
            "Export the plane to use as a separate slide.",
        )
    if header.paths > 1:
        return f"a DICOM slide of {header.paths} optical paths", "Export red, green and blue as one image."
    if header.crowded:
        return (
            "a DICOM slide of more frames than tiles: several focal planes or optical paths, untold",
            "Export the plane to use as a separate slide.",
        )
    return None


def not_opened(path: Path, error: Exception) -> ImageError:
    """Why OpenSlide does not open a file, according to its header."""
    other = re.match(r"Reading (.+?): ", str(error))
    culprit = Path(other.group(1)) if other else path
    header = read_dicom_header(culprit)
    if header is not None and not (header.is_slide and "image flavor" in str(error)):
        what, remedy = _dicom_cause(header, error)
        if culprit.absolute() != path.absolute():
            what = f"{culprit.name}, a file of the same series, is {what}"
    elif "image flavor" in str(error) or "VL Whole Slide" in str(error):
        what, remedy = _NO_SLIDE
    elif path.suffix.lower() == ".mrxs":
        what = "a MIRAX slide without its other files" if not path.with_suffix("").is_dir() else f"{error}"
        remedy = "Keep the folder of its name, with Slidedat.ini and the .dat files, beside it."
    else:
        what = f"the slide is damaged, cut short or of a kind that OpenSlide does not read ({error})"
        remedy = "Copy or download it again with all files that belong to it, or export a pyramidal TIFF."
        if path.suffix.lower() == ".czi":
            remedy += f" fastslide may read it: {install('fastslide')}."
    return ImageError(what, where=path, remedy=remedy)


def _dicom_cause(header: DicomHeader, error: Exception) -> tuple[str, str]:
    """What of a DICOM file OpenSlide does not read, and what to do."""
    if not header.is_slide:
        kind = f" of modality {header.modality}" if header.modality else ""
        return f"{_NO_SLIDE[0]}{kind}", _NO_SLIDE[1]
    if not header.series:
        return (
            "a DICOM slide that does not say of which series it is (no SeriesInstanceUID)",
            "Export it again with the program that made it.",
        )
    if not header.is_volume and "No pyramid levels" in str(error):
        kind = (*header.image_type, "", "", "")[2].lower() or "picture"
        return f"the {kind} of a DICOM slide, without its levels", _VOLUME
    if (planes := _planes(header)) is not None:
        return planes
    if "unexpected image" in str(error):
        return "a second file of one level of a DICOM slide: a copy, or another plane", (
            "Keep one file of each level in the folder."
        )
    if header.bits not in (None, 8):
        return (
            f"a DICOM slide of {header.bits} bits per sample ({header.colours})",
            "Export it with 8 bits, scaled the same way for all slides.",
        )
    if header.colours.startswith("MONOCHROME"):
        return f"a DICOM slide of grey samples ({header.colours}), which OpenSlide does not read", _GREY
    if header.planar:
        return "a DICOM slide stored plane by plane (PlanarConfiguration 1), which OpenSlide does not read", (
            _ANEW
        )
    if "Unsupported photometric" in str(error):
        return (
            f"a DICOM slide of colours {header.colours} in an encoding of which OpenSlide does not read them",
            _ANEW,
        )
    if header.syntax not in _SYNTAXES_READ:
        name, remedy = _SYNTAXES.get(header.syntax, (f"transfer syntax {header.syntax}", _ANEW))
        return f"a DICOM slide encoded as {name}, which OpenSlide does not read", remedy
    return (
        f"a DICOM slide that is damaged, cut short, or lacks a part of its series ({error})",
        "Copy or download it again, with all files of its series in one folder.",
    )
