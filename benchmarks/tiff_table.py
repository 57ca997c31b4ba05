"""Which TIFFs are read: the table in docs/formats.md, made by writing one file of each kind and opening it.

    python benchmarks/tiff_table.py            # print the tables
    python benchmarks/tiff_table.py --write    # put them into docs/formats.md

Each kind is written in strips, in tiles, and as a pyramid; all three must be read alike, with the colours
that its standard gives, or be refused with the same words. A test runs this, so that the page stays true.
"""

from __future__ import annotations

import argparse
import re
import struct
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tifffile

from zoomin import open_image
from zoomin.errors import ImageError
from zoomin.geometry import Region

PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"
BEGIN, END = "<!-- benchmarks/tiff_table.py: begin -->", "<!-- end -->"
SIZE = 64, 96  # height and width: whole tiles of 32 and whole bytes of 1 bit
Pixels = npt.NDArray[Any]


class Colours(NamedTuple):
    """A photometric interpretation.

    Attributes:
        name: in the table.
        photometric: tifffile's word.
        samples: a pixel.
        extra: what the samples beyond the colours are.
    """

    name: str
    photometric: str
    samples: int
    extra: str = ""


COLOURS = (
    Colours("grey, black is zero", "minisblack", 1),
    Colours("grey, white is zero", "miniswhite", 1),
    Colours("grey and alpha", "minisblack", 2, "unassalpha"),
    Colours("RGB", "rgb", 3),
    Colours("RGB and alpha", "rgb", 4, "unassalpha"),
    Colours("RGB and associated alpha", "rgb", 4, "assocalpha"),
    Colours("RGB and another sample", "rgb", 4, "unspecified"),
    Colours("palette", "palette", 1),
    Colours("CMYK", "separated", 4),
    Colours("CIE L\\*a\\*b\\*", "cielab", 3),
    Colours("ICC L\\*a\\*b\\*", "icclab", 3),
    Colours("ITU L\\*a\\*b\\*", "itulab", 3),
    Colours("YCbCr", "ycbcr", 3),
    Colours("colour filter array", "cfa", 1),
)
TYPES: dict[str, tuple[type[np.generic], int]] = {
    "1 bit": (np.uint8, 1),
    "2": (np.uint8, 2),
    "4": (np.uint8, 4),
    "8": (np.uint8, 8),
    "12": (np.uint16, 12),
    "16": (np.uint16, 16),
    "signed 16": (np.int16, 16),
    "32": (np.uint32, 32),
    "half": (np.float16, 16),
    "float": (np.float32, 32),
    "double": (np.float64, 64),
}
CODECS = (
    "none", "packbits", "lzw", "deflate", "zstd", "lzma", "jpeg", "webp", "jpeg2000", "jpegxl", "jpegxr",
    "png",     "lerc",
)  # fmt: skip
CODEC_KINDS = (("RGB", "8"), ("grey, black is zero", "8"), ("grey, black is zero", "16"), ("RGB", "12"))
SUBSAMPLINGS = ((1, 1), (2, 1), (2, 2), (4, 2))


def samples_of(colours: Colours, kind: str) -> Pixels:
    """Samples (height, width, samples) whose values use the whole range."""
    dtype, bits = TYPES[kind]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = [np.sin(x / (9 + 2 * i)) * np.cos(y / (11 - i)) * 0.5 + 0.5 for i in range(colours.samples)]
    share = np.stack(waves, axis=-1)
    if colours.extra == "assocalpha":
        share[..., :-1] *= share[..., -1:]
    if np.issubdtype(dtype, np.floating):
        return share.astype(dtype)
    high = 2 ** (bits - (1 if dtype is np.int16 else 0)) - 1
    return np.floor(share * high + 0.5).astype(dtype)


def expected_of(colours: Colours, kind: str, samples: Pixels) -> npt.NDArray[np.float64]:
    """The colours 0 to 255 (height, width, 3) that the samples mean, by the standard, not rounded."""
    _, bits = TYPES[kind]
    white = 1.0 if samples.dtype.kind == "f" else float(2**bits - 1)
    values = samples.astype(np.float64) * (255 / white)
    if colours.photometric == "miniswhite":
        values = 255 - values
    if colours.photometric == "palette" and samples.dtype.kind == "u" and bits <= 16:
        return palette(bits)[:, samples[..., 0]].transpose(1, 2, 0) / 257
    if colours.photometric == "separated":
        return (255 - values[..., :3]) * (255 - values[..., 3:]) / 255
    if colours.photometric in ("cielab", "icclab"):
        return lab(samples, bits, icc=colours.photometric == "icclab")
    if colours.photometric == "ycbcr":
        y, cb, cr = values[..., 0], values[..., 1] - 128, values[..., 2] - 128
        return np.clip(
            np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1), 0, 255
        )
    alpha = values[..., -1:] / 255 if colours.extra.endswith("alpha") else np.ones((*SIZE, 1))
    colour = values[..., :3] if colours.samples > 2 else values[..., :1].repeat(3, axis=2)
    over = colour if colours.extra == "assocalpha" else colour * alpha
    return over + 255 * (1 - alpha)


def palette(bits: int) -> Pixels:
    """A colour map (3, colours) of 16 bits that holds every byte twice."""
    index = np.arange(2**bits)
    return (np.stack([index * 37, index * 101 + 5, 255 - index * 7]) % 256 * 257).astype(np.uint16)


def lab(samples: Pixels, bits: int, *, icc: bool) -> npt.NDArray[np.float64]:
    """CIE's formulas, one pixel's way: L*a*b* of D50 as sRGB by the matrix of D50 to sRGB (Lindbloom)."""
    unit = 256.0 if bits == 16 else 1.0
    if icc:
        lightness, a, b = (
            samples[..., 0] / unit / 2.55,
            samples[..., 1] / unit - 128,
            samples[..., 2] / unit - 128,
        )
    else:
        signed = samples.astype(np.int16 if bits == 16 else np.int8)
        lightness = samples[..., 0] * (100 / (2**bits - 1))
        a, b = signed[..., 1] / unit, signed[..., 2] / unit
    y = (np.minimum(lightness, 100) + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    xyz = np.where(roots**3 > 216 / 24389, roots**3, (116 * roots - 16) * 27 / 24389) * [
        0.96422,
        1.0,
        0.82521,
    ]
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.033454],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    light = np.clip(xyz @ np.array(matrix).T, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def write(path: Path, colours: Colours, kind: str, *, planar: bool, layout: str, codec: str = "none") -> None:
    """A TIFF of a kind.

    Args:
        path: of the file.
        colours: of its pixels.
        kind: of its samples, a key of `TYPES`.
        planar: whether samples stand apart.
        layout: "strips", "tiles" or "pyramid".
        codec: one of `CODECS`.
    """
    samples = samples_of(colours, kind)
    bits = TYPES[kind][1]
    if colours.photometric == "palette" and (samples.dtype.kind != "u" or bits > 16):
        raise ValueError("an index is a whole number")
    options: dict[str, Any] = {"photometric": colours.photometric, "metadata": None}
    options |= {"compression": None if codec == "none" else codec}
    if codec in ("jpeg", "webp", "jpegxl", "jpeg2000", "jpegxr"):
        options["compressionargs"] = {"level": {"jpeg": 98, "jpegxr": 95}.get(codec, 100)}
        if codec in ("jpegxl", "webp"):
            options["compressionargs"] = {"lossless": True}
        if codec == "jpeg" and bits == 12:
            options["compressionargs"]["bitspersample"] = 12
    if bits not in (8, 16, 32, 64):
        options["bitspersample"] = bits
    if colours.samples > 1:
        options["planarconfig"] = "separate" if planar else "contig"
    if colours.extra:
        options["extrasamples"] = [colours.extra]
    if colours.photometric == "palette":
        table = palette(bits).ravel().tolist()
        options |= {"photometric": "minisblack", "extratags": [(320, 3, len(table), table, True)]}
    options |= {"rowsperstrip": 16} if layout == "strips" else {"tile": (32, 32)}
    with tifffile.TiffWriter(path) as file:
        for step in (1, 2) if layout == "pyramid" else (1,):
            pixels = samples[::step, ::step]
            pixels = (
                pixels.transpose(2, 0, 1) if planar else pixels[..., 0] if colours.samples == 1 else pixels
            )
            below = {"subifds": 1} if layout == "pyramid" and step == 1 else {"subfiletype": step - 1}
            file.write(np.ascontiguousarray(pixels), **options, **below)
    if colours.photometric == "palette":  # tifffile writes palettes of 8 and 16 bits only
        with tifffile.TiffFile(path, mode="r+") as file:
            for page in (file.pages[0], *(file.pages[0].pages or ())):
                page.tags[262].overwrite(3)


def write_ycbcr(
    path: Path, samples: Pixels, subsampling: tuple[int, int], *, deflate: bool, tiled: bool
) -> None:
    """Stored luma and chroma, in units of several lumas with one pair of chromas, as no package writes them.

    Args:
        path: of the file.
        samples: Y, Cb, Cr bytes (height, width, 3); chromas of a unit are those of its first pixel.
        subsampling: pixels of a unit, across and down.
        deflate: whether blocks are compressed.
        tiled: in tiles of 32, or in strips of 16.
    """
    height, width, _ = samples.shape
    tall, wide = (32, 32) if tiled else (16, width)
    blocks = []
    for top in range(0, height, tall):
        for left in range(0, width, wide):
            block = units(samples[top : top + tall, left : left + wide], *subsampling)
            blocks.append(zlib.compress(block) if deflate else block)
    tags = {256: (3, [width]), 257: (3, [height]), 258: (3, [8, 8, 8]), 259: (3, [8 if deflate else 1])}
    tags |= {262: (3, [6]), 277: (3, [3]), 284: (3, [1]), 530: (3, list(subsampling)), 531: (3, [1])}
    counts = (4, [len(block) for block in blocks])
    tags |= {322: (3, [wide]), 323: (3, [tall]), 325: counts} if tiled else {278: (3, [tall]), 279: counts}
    starts = 324 if tiled else 273
    tags[starts] = (4, [0] * len(blocks))
    after = 8 + 2 + 12 * len(tags) + 4
    first = after + sum(
        size for kind, values in tags.values() if (size := len(values) * (2, 4)[kind == 4]) > 4
    )
    tags[starts] = (4, [first + sum(map(len, blocks[:i])) for i in range(len(blocks))])
    entries, beyond = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        data = struct.pack(f"<{len(values)}{'I' if kind == 4 else 'H'}", *values)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", after + len(beyond))
        beyond += data if len(data) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, len(values)) + place
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    path.write_bytes(head + entries + bytes(4) + beyond + b"".join(blocks))


def units(block: Pixels, across: int, down: int) -> bytes:
    """The bytes of a block of luma and chroma: whole units, row by row."""
    height, width, _ = block.shape
    luma = block[..., 0].reshape(height // down, down, width // across, across).transpose(0, 2, 1, 3)
    luma = luma.reshape(height // down, width // across, down * across)
    return np.concatenate([luma, block[::down, ::across, 1:]], axis=2).astype(np.uint8).tobytes()


# ------------------------------------------------------------------------------------- verdicts


class Verdict(NamedTuple):
    """What became of a kind.

    Attributes:
        text: "read", "refused: ...", or "-" where no writer makes it.
        error: how far the colours are from what they mean, levels of 255.
    """

    text: str
    error: float = 0.0


def verdict(folder: Path, colours: Colours, kind: str, *, planar: bool, codec: str = "none") -> Verdict:
    """Write a kind in all layouts, and open it.

    Raises:
        ValueError: if the layouts do not agree.
    """
    found = set()
    worst = 0.0
    for layout in ("strips", "tiles", "pyramid"):
        path = folder / "a.tif"
        try:
            write(path, colours, kind, planar=planar, layout=layout, codec=codec)
        except Exception:
            continue
        try:
            image = open_image(path)
            seen = image.read([Region(0, 0, image.width, image.height)], 1.0)[0].permute(1, 2, 0).numpy()
        except ImageError as error:
            found.add(f"refused: {error.what}")
            continue
        found.add("read")
        meant = expected_of(colours, kind, samples_of(colours, kind))
        worst = max(worst, float(np.abs(seen - meant).max()))
    if len(found) > 1:
        raise ValueError(f"{colours.name}, {kind}, planar {planar}, {codec}: {sorted(found)}")
    return Verdict(found.pop() if found else "-", worst)


def all_verdicts(
    folder: Path, on_verdict: Callable[[str, Verdict], None] = lambda *_: None
) -> tuple[str, str]:
    """Both tables as Markdown.

    Args:
        folder: for files.
        on_verdict: called with each kind and its verdict.
    """
    notes: list[str] = []

    def cell(name: str, found: Verdict) -> str:
        on_verdict(name, found)
        if not found.text.startswith("refused: "):
            return found.text
        words = re.sub(r"\b(?:u?int|float|bool)\d*\b|\b\d+\b", "N", found.text.removeprefix("refused: "))
        words = words.replace("*", "\\*")
        if words not in notes:
            notes.append(words)
        return f"refused ({notes.index(words) + 1})"

    kinds = list(TYPES)
    rows = ["| colours | " + " | ".join(kinds) + " |", "| --- |" + " --- |" * len(kinds)]
    for colours in COLOURS:
        for planar in (False, True) if colours.samples > 1 else (False,):
            name = colours.name + (", planar" if planar else "")
            cells = [cell(f"{name}, {kind}", verdict(folder, colours, kind, planar=planar)) for kind in kinds]
            if set(cells) != {"-"}:
                rows.append(f"| {name} | " + " | ".join(cells) + " |")
    by_name = {colours.name: colours for colours in COLOURS}
    heads = [f"{name}, {kind} bits" for name, kind in CODEC_KINDS]
    codecs = ["| compression | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for codec in CODECS:
        cells = [
            cell(f"{codec}, {name}, {kind}", verdict(folder, by_name[name], kind, planar=False, codec=codec))
            for name, kind in CODEC_KINDS
        ]
        codecs.append(f"| {codec} | " + " | ".join(cells) + " |")
    words = "\n".join(f"{i + 1}. {note}" for i, note in enumerate(notes))
    return "\n".join(rows) + "\n\n" + "\n".join(codecs), words


def page(folder: Path, on_verdict: Callable[[str, Verdict], None] = lambda *_: None) -> str:
    """What stands between the marks in docs/formats.md."""
    tables, words = all_verdicts(folder, on_verdict)
    return f"{BEGIN}\n\n{tables}\n\nRefused, with these messages:\n\n{words}\n\n{END}"


def main() -> None:
    """Print the tables, or put them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/formats.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = page(
            Path(folder), lambda name, found: print(name, found.text, f"{found.error:.2f}", flush=True)
        )
    if not options.write:
        print(text)
        return
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(before + text + rest.split(END, 1)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
