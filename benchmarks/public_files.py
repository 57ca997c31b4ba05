"""Files of other projects' test suites, read by zoomin and by independent decoders; pixels are compared.

    python benchmarks/public_files.py FOLDER --out verdicts.csv [--notes notes.csv] [--table TABLE.md]

FOLDER holds one folder per project, with the project's files at their own paths. Each file is read in a
process of its own, with limits of time and memory: by zoomin, and by those of Pillow, tifffile, OpenCV,
libvips, imagecodecs, GDAL, OpenSlide and pydicom that are installed and take its format. A verdict is

    same       the pixels of at least one independent decoder, exactly or nearly (JPEG: decoders differ)
    refused    an error of zoomin's own, with its words; whether others read the file stands beside it
    different  no decoder agrees: to be looked at by hand, the outcome goes into the notes
    alone      read, and no other decoder reads it
    crash      anything else: a traceback, the limit of time or memory

The notes are a CSV of `file,verdict,note`: what a person found where the pixels differ.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import multiprocessing
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zoomin import open_image
from zoomin.errors import ZoomInError
from zoomin.geometry import Region
from zoomin.images.describe import describe

Pixels = npt.NDArray[Any]
SUFFIXES = frozenset(
    ".png .jpg .jpeg .bmp .tif .tiff .gif .webp .jp2 .j2k .jpx .ppm .pgm .pbm .svs .ndpi .scn .bif "
    ".dcm".split()
)
SECONDS, BYTES = 60, 8 << 30
MOST = 1 << 24  # pixels that are compared whole; of larger images their upper left corner
SIDE = 2048
EXACT, NEAR, LOSSY = (
    1,
    2.0,
    24,
)  # levels: rounding; mean and 99.9th percentile of lossy decoders


class Read(NamedTuple):
    """What a decoder makes of a file."""

    pixels: Pixels | None
    words: str = ""
    reader: str = ""
    mpp: float | None = None
    size: tuple[int, int] | None = None


# --------------------------------------------------------------------------- zoomin


def ours(path: Path) -> Read:
    image = open_image(path)
    found = describe(path, image=image)
    height, width = image.height, image.width
    if height * width > MOST:
        height, width = min(SIDE, height), min(SIDE, width)
    pixels = image.read([Region(0, 0, width, height)], 1.0)[0].permute(1, 2, 0).numpy()
    if max(image.height, image.width) > 16:
        image.read([Region(0, 0, image.width, image.height)], 16 / max(image.height, image.width))
    return Read(pixels, found.pixels, found.reader, image.mpp, (image.width, image.height))


# --------------------------------------------------------------------------- the others


def shown(samples: Pixels, bits: int = 0, alpha: bool | None = None) -> Pixels:
    """Samples as red, green and blue bytes over white: the upper byte, floats from 0 to 1."""
    samples = samples[..., None] if samples.ndim == 2 else samples
    if samples.dtype == bool:
        samples = samples * np.uint8(255)
    if samples.dtype.kind == "f":
        samples = np.rint(np.clip(samples, 0, 1) * 255)
    elif samples.dtype.itemsize > 1:
        samples = samples.astype(np.float64) * 255 / (2**bits - 1 if bits else np.iinfo(samples.dtype).max)
    samples = samples.astype(np.float64)
    count = samples.shape[2]
    opaque = samples[..., -1:] / 255 if count in (2, 4) and alpha is not False else 1.0
    colours = samples[..., : 1 if count < 3 else 3]
    colours = np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours
    return np.rint(colours * opaque + 255 * (1 - opaque)).astype(np.uint8)


def by_pillow(path: Path) -> Pixels:
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            return shown(np.asarray(image).astype(np.float32 if image.mode == "F" else np.uint16))
        if image.has_transparency_data:
            return shown(np.asarray(image.convert("RGBA")))
        return np.asarray(image.convert("RGB"))


def by_opencv(path: Path) -> Pixels:
    import cv2

    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None:
        raise ValueError("not read")
    if path.suffix.lower() in (".jpg", ".jpeg"):  # unchanged means unturned too
        found = cv2.imread(str(path), cv2.IMREAD_COLOR)
    found = found if found.ndim == 3 else found[..., None]
    order = {1: [0], 2: [0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[found.shape[2]]
    return shown(found[..., order])


def by_libvips(path: Path) -> Pixels:
    import pyvips

    image = pyvips.Image.new_from_file(str(path)).autorot()
    if image.interpretation in ("cmyk", "lab", "labs"):
        image = image.colourspace("srgb")
    return shown(image.numpy())


def by_tifffile(path: Path) -> Pixels:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        found = page.asarray()
        if page.planarconfig == 2 and found.ndim == 3:
            found = np.moveaxis(found, 0, -1)
        kind = page.photometric.name
        bits = page.bitspersample if isinstance(page.bitspersample, int) else 0
        if kind == "PALETTE":
            return (page.colormap[:, found] >> 8).astype(np.uint8).transpose(1, 2, 0)
        if kind == "MINISWHITE" and found.dtype.kind in "ub":
            found = ~found if found.dtype == bool else (2**bits - 1 - found).astype(found.dtype)
        if bits < 8 and found.dtype == np.uint8:
            found = np.rint(found * (255 / (2**bits - 1))).astype(np.uint8)
            bits = 0
        if kind not in ("MINISBLACK", "MINISWHITE", "RGB") and not (
            kind == "YCBCR" and page.compression in (6, 7)
        ):
            raise ValueError(kind)
        extra = [int(e) for e in page.extrasamples]
        if extra[:1] == [1]:  # associated
            full = float(np.iinfo(found.dtype).max if found.dtype.kind == "u" else 1)
            colours, own = (
                found[..., : -len(extra)].astype(float),
                found[..., -len(extra), None].astype(float),
            )
            return shown((colours + full - own) / full)
        found = found[..., : found.shape[-1] - len(extra) + (extra[:1] == [2])] if extra else found
        return shown(found, bits if found.dtype.itemsize > 1 else 0)


def by_imagecodecs(path: Path) -> Pixels:
    import imagecodecs

    return shown(imagecodecs.imread(str(path)))


def by_gdal(path: Path) -> Pixels:
    import rasterio
    from rasterio.enums import ColorInterp, MaskFlags

    with rasterio.open(path) as file:
        found = np.moveaxis(file.read(), 0, -1)
        colours = file.colorinterp
        if colours[0] == ColorInterp.palette:
            table = file.colormap(1)
            lookup = np.zeros((65536, 4), np.uint8)
            for key, value in table.items():
                lookup[key] = value
            return shown(lookup[found[..., 0]])
        if found.shape[2] in (2, 4) and colours[-1] != ColorInterp.alpha:
            found = found[..., : found.shape[2] - 1]
        bits = int(file.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 0))
        masked = any(MaskFlags.per_dataset in flags for flags in file.mask_flag_enums)
        missing = file.dataset_mask() == 0 if masked or file.nodata is not None else None
        if 0 < bits < 8:
            found = np.rint(found * (255 / (2**bits - 1))).astype(np.uint8)
        pixels = shown(found, bits if bits > 8 else 0)
        return pixels if missing is None else np.where(missing[..., None], np.uint8(255), pixels)


def by_openslide(path: Path) -> Pixels:
    import openslide

    with openslide.OpenSlide(str(path)) as slide:
        width, height = slide.dimensions
        if width * height > MOST:
            width, height = min(SIDE, width), min(SIDE, height)
        return shown(np.asarray(slide.read_region((0, 0), 0, (width, height))))


def by_pydicom(path: Path) -> Pixels:
    import pydicom

    found = pydicom.dcmread(path)
    if "TotalPixelMatrixColumns" not in found:
        raise ValueError("no slide")
    frames = found.pixel_array
    frames = frames if frames.ndim == 4 else frames[None]
    width, height = found.TotalPixelMatrixColumns, found.TotalPixelMatrixRows
    rows, columns = found.Rows, found.Columns
    across = -(-width // columns)
    canvas = np.zeros((-(-height // rows) * rows, across * columns, frames.shape[3]), np.uint8)
    for number, frame in enumerate(frames):
        y, x = number // across * rows, number % across * columns
        canvas[y : y + rows, x : x + columns] = frame
    return shown(canvas[:height, :width])


TIFF, SLIDE = (
    (".tif", ".tiff", ".svs", ".ndpi", ".scn", ".bif"),
    (".svs", ".ndpi", ".scn", ".bif", ".dcm", ".tiff"),
)
DECODERS: dict[str, tuple[Callable[[Path], Pixels], tuple[str, ...]]] = {
    "Pillow": (by_pillow, ()),
    "OpenCV": (by_opencv, ()),
    "libvips": (by_libvips, ()),
    "tifffile": (by_tifffile, TIFF),
    "imagecodecs": (
        by_imagecodecs,
        (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".jp2", ".j2k", ".jpx"),
    ),
    "GDAL": (by_gdal, ()),
    "OpenSlide": (by_openslide, SLIDE),
    "pydicom": (by_pydicom, (".dcm",)),
}


# --------------------------------------------------------------------------- one file


def limited(work: Callable[[Path], Any], path: Path) -> Any:  # noqa: ANN401 (whatever the work gives)
    """The outcome of work in a process of its own, or the words of why there is none."""
    return decoded({"": work}, path)[""]


def decoded(work: dict[str, Callable[[Path], Any]], path: Path) -> dict[str, Any]:
    """The outcome of each in a process of their own; one that ends it loses its own turn alone."""
    found: dict[str, Any] = {}
    while left := {name: one for name, one in work.items() if name not in found}:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(left, path, there))
        process.start()
        there.close()
        for name in left:
            outcome: Any = f"CRASH: no answer after {SECONDS} s"
            if here.poll(SECONDS):
                try:
                    outcome = here.recv()
                except EOFError:
                    process.join(5)
                    outcome = f"CRASH: the process ended with {process.exitcode}"
            found[name] = outcome
            if isinstance(outcome, str) and outcome.startswith(("CRASH: no answer", "CRASH: the process")):
                break
        if process.is_alive():
            process.kill()
        process.join()
    return found


def _child(work: dict[str, Callable[[Path], Any]], path: Path, out: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    for one in work.values():
        try:
            answer: Any = one(path)
        except ZoomInError as error:
            remedy = f" {error.remedy}" if error.remedy else ""
            answer = f"{error.what}.{remedy}"
        except Exception as error:
            answer = f"CRASH: {type(error).__name__}: {error}"
        out.send(answer)
    out.close()


def preload() -> None:
    """Import what children need, once."""
    for name in ("PIL.Image", "cv2", "pyvips", "tifffile", "imagecodecs", "rasterio", "openslide", "pydicom"):
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed and takes no part", file=sys.stderr)


def differ(one: Pixels, other: Pixels) -> tuple[float, float, int]:
    """Mean, 99.9th percentile and largest difference in levels; of images of two sizes, all there is."""
    if one.shape != other.shape:
        height, width = min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1])
        if (
            other.shape[0] < one.shape[0]
            or other.shape[1] < one.shape[1]
            or one.shape[0] * one.shape[1] < SIDE
        ):
            return 255.0, 255.0, 255
        other = other[:height, :width]
    gap = np.abs(one.astype(np.int16) - other)
    return float(gap.mean()), float(np.percentile(gap, 99.9)), int(gap.max())


def verdict(path: Path) -> dict[str, Any]:
    """What became of one file."""
    start = time.monotonic()
    mine = limited(ours, path)
    fit = {
        n: one for n, (one, suffixes) in DECODERS.items() if not suffixes or path.suffix.lower() in suffixes
    }
    others = decoded(fit, path)
    read = [name for name, found in others.items() if isinstance(found, np.ndarray)]
    row: dict[str, Any] = {"others": " ".join(read), "seconds": f"{time.monotonic() - start:.1f}"}
    if isinstance(mine, str):
        return row | {"verdict": "crash" if mine.startswith("CRASH") else "refused", "words": mine}
    row |= {"reader": mine.reader, "size": "{} x {}".format(*mine.size), "mpp": mine.mpp, "words": mine.words}
    if not read:
        return row | {"verdict": "alone"}
    gaps = {name: differ(mine.pixels, others[name]) for name in read}
    row["gaps"] = "; ".join(f"{name} {mean:.2f}/{most}" for name, (mean, _, most) in gaps.items())
    row["agree"] = " ".join(
        name for name, (mean, high, most) in gaps.items() if most <= EXACT or (mean < NEAR and high <= LOSSY)
    )
    return row | {"verdict": "same" if row["agree"] else "different"}


# --------------------------------------------------------------------------- all of them

FIELDS = (
    "project",
    "file",
    "verdict",
    "reader",
    "size",
    "mpp",
    "agree",
    "others",
    "gaps",
    "words",
    "seconds",
    "note",
)


def files_of(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            yield path


def noted(rows: list[dict[str, Any]], notes: Path | None) -> None:
    """Put what a person found into the rows."""
    if notes is None:
        return
    with notes.open(newline="") as file:
        found = {row["file"]: row for row in csv.DictReader(file)}
    for row in rows:
        for key in (f"{row['project']}/{row['file']}", row["words"]):
            if key in found:
                row["note"] = found[key]["note"]
                row["verdict"] = found[key]["verdict"] or row["verdict"]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, project by project."""
    lines = []
    for project in dict.fromkeys(row["project"] for row in rows):
        own = [row for row in rows if row["project"] == project]
        counts = Counter(row["verdict"] for row in own)
        lines += [f"## {project}", "", ", ".join(f"{n} {name}" for name, n in counts.most_common()) + ".", ""]
        lines += ["| file | verdict | by | as |", "| --- | --- | --- | --- |"]
        for row in own:
            said = row["words"] if row["verdict"] in ("refused", "crash") else row.get("agree") or ""
            said = row.get("note") or said
            said = re.sub(r"https?://\S+", "...", said.replace("|", "\\|").replace("\n", " "))
            lines.append(f"| {row['file']} | {row['verdict']} | {row.get('reader') or ''} | {said[:220]} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="CSV; rows that it holds already are kept")
    parser.add_argument("--notes", type=Path, help="CSV of what a person decided")
    parser.add_argument(
        "--table", type=Path, help="Markdown file whose tables are replaced, after the line `<!-- table -->`"
    )
    parser.add_argument(
        "--only", default="", help="a regular expression that the path must match; such rows are read again"
    )
    options = parser.parse_args()
    preload()
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if options.out.exists():
        with options.out.open(newline="") as file:
            rows = {(row["project"], row["file"]): dict(row) for row in csv.DictReader(file)}
    for path in files_of(options.folder):
        inner = path.relative_to(options.folder)
        key = inner.parts[0].replace("+", "/"), "/".join(inner.parts[1:])
        wanted = re.search(options.only, str(inner)) is not None
        if (key in rows and not options.only) or not wanted:
            continue
        rows[key] = {"project": key[0], "file": key[1], "note": "", **verdict(path)}
        print(rows[key]["verdict"], *key, file=sys.stderr, flush=True)
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows.values())
    found = list(rows.values())
    noted(found, options.notes)
    print(Counter(row["verdict"] for row in found))
    if options.table:
        head = options.table.read_text().partition("<!-- table -->")[0]
        options.table.write_text(f"{head}<!-- table -->\n\n{table(found)}")


if __name__ == "__main__":
    main()
