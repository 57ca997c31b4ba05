"""Miniatures of the published data sets, in the layouts of their downloads: made-up content, real structure.

They are for trying out `zoomin data prepare`, recipes and one's own code. A miniature lacks most of the files
of its data set, so that it is prepared with `--partial true`.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import shapely
from jaxtyping import UInt8
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from scipy.io import savemat

from ..annotations.asap import write_asap
from ..annotations.polygons import Outline
from ..errors import DataError
from ..images.write_pyramid import write_pyramid
from .fmow import CATEGORIES

__all__ = ["MINIATURES", "make_miniature"]

Pixels = UInt8[np.ndarray, "h w 3"]
Writer = Callable[[Path, np.random.Generator], None]
_SPEEDS = ("50", "70", "80")


def make_miniature(layout: str | Writer | None, out: Path | str, seed: int = 0) -> Path:
    """Write the miniature of a data set into a new or an empty folder.

    Args:
        layout: a key of `MINIATURES`, or what writes such a layout; None: there is none.
        out: the folder.
        seed: the same seed produces the same files.

    Raises:
        DataError: if there is no miniature, or the folder is a file or holds something.
    """
    out = Path(out)
    if layout is None:
        raise DataError("this data set has no miniature", remedy="Download it, or a part of it.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("not an empty folder", where=out, remedy="Give a new --out.")
    out.mkdir(parents=True, exist_ok=True)
    write = MINIATURES[layout] if isinstance(layout, str) else layout
    write(out, np.random.default_rng([seed, 13]))
    return out


def _colon_cancer(out: Path, rng: np.random.Generator) -> None:
    """Ten images of 500 pixels; every second one has epithelial nuclei: large, dark and close together."""
    for number in range(1, 11):
        folder = out / "CRCHistoPhenotypes_2016_04_28" / "Classification" / f"img{number}"
        folder.mkdir(parents=True)
        pixels = _tissue(rng, 500, 500)
        for kind, count, radius in (
            ("epithelial", 30, 9.0),
            ("fibroblast", 12, 5.0),
            ("inflammatory", 15, 4.0),
            ("others", 5, 6.0),
        ):
            count = count if kind != "epithelial" or number % 2 else 0
            middle = rng.uniform(80, 420, 2) if kind == "epithelial" else np.array([250, 250])
            centres = np.clip(rng.normal(middle, 45 if kind == "epithelial" else 150, (count, 2)), 2, 497)
            for x, y in centres:
                _disc(pixels, x, y, radius, (90, 50, 140) if kind == "epithelial" else (130, 90, 170))
            savemat(folder / f"img{number}_{kind}.mat", {"detection": centres})
        PillowImage.fromarray(pixels).save(folder / f"img{number}.bmp")


def _mnist(out: Path, rng: np.random.Generator) -> None:
    """Digits printed by a font, moved about: 600 for training, 200 for testing."""
    font = ImageFont.load_default(22)
    for part, count in (("train", 600), ("t10k", 200)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = np.zeros((count, 28, 28), dtype=np.uint8)
        for number, label in enumerate(labels.tolist()):
            canvas = PillowImage.new("L", (28, 28))
            where = 14 + float(rng.uniform(-2, 2)), 14 + float(rng.uniform(-2, 2))
            ImageDraw.Draw(canvas).text(where, str(label), fill=255, font=font, anchor="mm")
            images[number] = np.asarray(canvas.rotate(float(rng.uniform(-15, 15))))
        for name, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (out / f"{name}.gz").write_bytes(gzip.compress(head + values.tobytes(), mtime=0))


def _camelyon16(out: Path, rng: np.random.Generator) -> None:
    """Three normal and four tumour slides of 1536 pixels, one partially annotated, and two test slides."""
    for folder in ("training/normal", "training/tumor", "training/lesion_annotations"):
        (out / folder).mkdir(parents=True)
    for folder in ("testing/images", "testing/lesion_annotations"):
        (out / folder).mkdir(parents=True)
    for number in range(1, 4):
        _slide(out / "training" / "normal" / f"normal_{number:03d}.tif", rng, None)
    for number in (1, 2, 3, 10):  # 10 is only partially annotated
        name = f"tumor_{number:03d}"
        xml = out / "training" / "lesion_annotations" / f"{name}.xml"
        _slide(out / "training" / "tumor" / f"{name}.tif", rng, xml)
    lines = []
    for number in range(1, 3):
        name, tumor = f"test_{number:03d}", number % 2 == 0
        xml = out / "testing" / "lesion_annotations" / f"{name}.xml"
        _slide(out / "testing" / "images" / f"{name}.tif", rng, xml if tumor else None)
        lines.append(f"{name},Tumor,IDC,Micro" if tumor else f"{name},Normal,None,None")
    (out / "testing" / "reference.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _slide(path: Path, rng: np.random.Generator, xml: Path | None) -> None:
    """A slide with tissue in the middle and, where annotated, three metastases, one of them with a hole."""
    side = 1536
    pixels = np.full((side, side, 3), 242, dtype=np.uint8)
    edge = side // 8
    pixels[edge:-edge, edge:-edge] = _tissue(rng, side - 2 * edge, side - 2 * edge)
    outlines = []
    if xml is not None:
        for number, (x, y) in enumerate(
            rng.permutation([(0.3, 0.3), (0.65, 0.35), (0.4, 0.7), (0.7, 0.7)])[:3] * side
        ):
            radius = float(rng.uniform(40, 140))
            turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
            away = radius * rng.uniform(0.8, 1.0, 40)
            shape = shapely.Polygon(np.stack([x + away * np.cos(turn), y + away * np.sin(turn)], 1))
            hole = shapely.Point(x, y).buffer(radius / 4)
            tumour = shape.difference(hole) if number == 0 else shape
            _fill(pixels, tumour, (120, 60, 150))
            outlines.append(Outline(shape, "_0"))
            outlines += [Outline(hole, "_2", True)] if number == 0 else []
        write_asap(xml, outlines)

    def paint(x: int, y: int) -> PillowImage.Image:
        stored = np.full((256, 256, 3), 242, dtype=np.uint8)
        part = pixels[y : y + 256, x : x + 256]
        stored[: part.shape[0], : part.shape[1]] = part
        return PillowImage.fromarray(stored)

    write_pyramid(path, side, side, paint, mpp=0.243)


def _gtsdb(out: Path, rng: np.random.Generator) -> None:
    """Twelve training and eight test scenes of the benchmark's 900 numbers, in turn empty, 50, 70, 80."""
    codes, lines = {"50": 2, "70": 4, "80": 5}, []
    folder = out / "FullIJCNN2013"
    folder.mkdir()
    for number in [*range(12), *range(600, 608)]:
        scene, boxes = _road(rng, ("", *_SPEEDS)[number % 4])
        PillowImage.fromarray(scene).save(folder / f"{number:05d}.ppm")
        lines += [f"{number:05d}.ppm;{x1};{y1};{x2};{y2};{codes[name]}" for name, (x1, y1, x2, y2) in boxes]
    (folder / "gt.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _swedish(out: Path, rng: np.random.Generator) -> None:
    """Ten scenes a set: empty, 50, 70, 80, and one of those that the rules leave out."""
    for number in (1, 2):
        folder = out / f"Set{number}" / f"Set{number}Part0"
        folder.mkdir(parents=True)
        lines = []
        for place in range(10):
            name = f"12773{number}{place:04d}Image{place:06d}.jpg"
            kind = ("", *_SPEEDS, "left out")[place % 5]
            scene, boxes = _road(rng, kind if kind in _SPEEDS else "")
            PillowImage.fromarray(scene).save(folder / name, quality=90)
            signs = "".join(
                f"VISIBLE, {x2}.0, {y2}.0, {x1}.0, {y1}.0, PROHIBITORY, {label}_SIGN;"
                for label, (x1, y1, x2, y2) in boxes
            )
            if kind == "left out":
                signs = (
                    "MISC_SIGNS;" if place < 5 else "BLURRED, 30.0, 30.0, 10.0, 10.0, PROHIBITORY, 50_SIGN;"
                )
            lines.append(f"{name}:{signs}")
        (out / f"Set{number}" / "annotations.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _fmow(out: Path, rng: np.random.Generator) -> None:
    """Three training and one validation image of each category."""
    for split, places in (("train", (0, 1, 2)), ("val", (3,))):
        for kind, category in enumerate(CATEGORIES):
            for place in places:
                folder = out / split / category / f"{category}_{place}"
                folder.mkdir(parents=True)
                pixels = _tissue(rng, 220, 260, (110, 125, 90), 20)
                (x, y), w, h = rng.integers(20, 150, 2).tolist(), 60, 40
                colour = np.array([90 + 15 * kind, 60 + 25 * (kind % 3), 220 - 18 * kind], dtype=np.uint8)
                pixels[y : y + h, x : x + w] = colour
                path = folder / f"{category}_{place}_0_rgb"
                PillowImage.fromarray(pixels).save(path.with_suffix(".jpg"), quality=90)
                boxes = [{"ID": 0, "category": "false_detection", "box": [0, 0, 9, 9]}]
                boxes.append({"ID": 1, "category": category, "box": [x, y, w, h]})
                metadata = {"gsd": 0.5, "img_width": 260, "img_height": 220, "bounding_boxes": boxes}
                path.with_suffix(".json").write_text(json.dumps(metadata), encoding="utf-8")


def _hei_med(out: Path, rng: np.random.Generator) -> None:
    """Ten photographs; in turn with exudates, with another lesion, and with neither map nor list."""
    folder = out / "DMED"
    folder.mkdir()
    for number in range(10):
        pixels = np.zeros((392, 440, 3), dtype=np.uint8)
        pixels[:] = _tissue(rng, 392, 440, (170, 80, 40), 10)
        kinds = (["Exudate 1"] * 3, ["Other Bright Lesion 1"], [])[number % 3]
        segments = np.zeros(pixels.shape[:2], dtype="<i4")
        for place, _ in enumerate(kinds, start=1):
            x, y, side = (int(rng.integers(*limits)) for limits in ((60, 360), (60, 320), (8, 16)))
            pixels[y : y + side, x : x + side] = (250, 240, 150)
            segments[y : y + side, x : x + side] = place
        name = f"({number + 3:08d})"
        PillowImage.fromarray(pixels).save(folder / f"{name}.jpg", quality=95)
        if kinds:
            head = np.array([-43, *segments.shape[::-1]], dtype="<i4")
            stored = gzip.compress(head.tobytes() + segments.tobytes(), mtime=0)
            (folder / f"{name}.map.gz").write_bytes(stored)
            lines = [str(len(kinds)), *kinds, "0"]
            (folder / f"{name}.GND").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _deep_pcb(out: Path, rng: np.random.Generator) -> None:
    """Two pairs of images of each of three boards, one per split, with two defects in each tested image."""
    for board in ("00041", "12300", "20085"):
        group = out / "PCBData" / f"group{board}"
        (group / board).mkdir(parents=True)
        (group / f"{board}_not").mkdir()
        for place in range(2):
            template = np.zeros((320, 320), dtype=np.uint8)
            for x in rng.integers(0, 40, 8) + np.arange(8) * 40:
                template[:, x : x + 12] = 255
            tested, lines = template.copy(), []
            for kind, y in zip(
                rng.permutation(6)[:2].tolist(), rng.integers(20, 140, 2) * [1, 2], strict=True
            ):
                x, y = int(rng.integers(20, 280)), int(y)
                tested[y : y + 8, x : x + 14] = 255 * ((kind + 1) % 2)
                lines.append(f"{x} {y} {x + 14} {y + 8} {kind + 1}")
            name = f"{board}{place:03d}"
            PillowImage.fromarray(tested).save(group / board / f"{name}_test.jpg", quality=80)
            PillowImage.fromarray(template).save(group / board / f"{name}_temp.jpg", quality=95)
            text = "\n".join(lines) + "\n"
            (group / f"{board}_not" / f"{name}.txt").write_text(text, encoding="utf-8")


MINIATURES: dict[str, Writer] = {
    "colon-cancer": _colon_cancer,
    "mnist": _mnist,
    "camelyon16": _camelyon16,
    "gtsdb": _gtsdb,
    "swedish-signs": _swedish,
    "fmow": _fmow,
    "hei-med": _hei_med,
    "deep-pcb": _deep_pcb,
}


def _tissue(
    rng: np.random.Generator,
    height: int,
    width: int,
    colour: tuple[int, int, int] = (215, 160, 200),
    grain: int = 16,
) -> Pixels:
    """Blotches of one colour."""
    noise = rng.normal(0, 1, (height // 8 + 2, width // 8 + 2, 1)).astype(np.float32)
    coarse = np.repeat(np.repeat(noise, 8, 0), 8, 1)[:height, :width]
    pixels: Pixels = np.clip(np.array(colour, dtype=np.float32) + grain * coarse, 0, 255).astype(np.uint8)
    return pixels


def _disc(pixels: Pixels, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    _fill(pixels, shapely.Point(x, y).buffer(radius), colour)


def _fill(pixels: Pixels, shape: shapely.Geometry, colour: tuple[int, int, int]) -> None:
    """Paint the pixels whose centre lies in a shape, in place."""
    x0, y0, x1, y1 = (int(side) for side in shape.bounds)
    x0, y0 = max(x0, 0), max(y0, 0)
    y, x = np.mgrid[y0 : min(y1 + 2, pixels.shape[0]), x0 : min(x1 + 2, pixels.shape[1])]
    inside = shapely.contains_xy(shape, x + 0.5, y + 0.5)
    pixels[y[inside], x[inside]] = colour


def _road(rng: np.random.Generator, speed: str) -> tuple[Pixels, list[tuple[str, tuple[int, int, int, int]]]]:
    """A scene of 680 x 400 pixels, with a sign of a speed limit where one is named."""
    pixels = _tissue(rng, 400, 680, (150, 165, 180), 12)
    pixels[260:] = _tissue(rng, 140, 680, (95, 95, 95), 10)
    if not speed:
        return pixels, []
    x, y, radius = (int(rng.integers(*limits)) for limits in ((60, 600), (60, 240), (10, 22)))
    _disc(pixels, float(x), float(y), float(radius), (200, 30, 40))
    _disc(pixels, float(x), float(y), radius * 0.78, (245, 245, 245))
    canvas = PillowImage.fromarray(pixels)
    font = ImageFont.load_default(max(9, radius))
    ImageDraw.Draw(canvas).text((x, y), speed, fill=(20, 20, 20), font=font, anchor="mm")
    pixels[:] = np.asarray(canvas)
    return pixels, [(speed, (x - radius, y - radius, x + radius, y + radius))]
