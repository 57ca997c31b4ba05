"""NeedleCamelyon: crops of Camelyon16 slides, positive if a small metastasis lies in them (supplement D).

The paper gives the numbers of unique metastases and of crops; it does not say which metastases. Here they are
those that fit into a crop and are not specks, drawn at random; no slide is in two splits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from jaxtyping import UInt8
from PIL import Image as PillowImage
from torch import Tensor

from ..annotations.asap import read_asap
from ..annotations.geojson import write_geojson
from ..annotations.polygons import Outline, PolygonAnnotation
from ..data.manifest import SPLITS, Record
from ..errors import DataError
from ..geometry import Region
from ..images.image import Image
from ..images.open_image import open_image
from ..progress import track
from .camelyon16 import Slide, find_slides
from .journal import Journal
from .prepared import Prepared, finish, new_out
from .split_sizes import SplitSizes

__all__ = ["CLASSES", "NeedleCamelyonConfig", "prepare_needle_camelyon", "tissue_share"]

CLASSES = ("negative", "positive")
_TRIES = 200  # crops tried for one that is not mostly background
_BACKGROUND_VIEW = 1 / 16  # scale at which a crop is checked


@dataclass(frozen=True)
class NeedleCamelyonConfig(SplitSizes):
    """What to cut out; the numbers of crops are the published ones."""

    n_train: int = 6000
    """Training crops, half of them positive; 6000 is the published number."""

    n_val: int = 2000
    """Validation crops, half of them positive; 2000 is the published number."""

    n_test: int = 2000
    """Test crops, half of them positive; 2000 is the published number."""

    train_metastases: int = 122
    """Distinct metastases that the positive training crops show; 122 is the published number."""

    val_metastases: int = 41
    """Distinct metastases of the validation crops."""

    test_metastases: int = 41
    """Distinct metastases of the test crops."""

    crop: int = 1024
    """Side of a crop, in level-0 pixels; 1024 is the published one."""

    least_side: int = 40
    """Smallest width and height of a metastasis, in level-0 pixels; smaller ones are specks and do not
    count."""

    tissue: float = 0.5
    """Least share of tissue in a negative crop, 0 to 1, so that glass does not decide the class."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        counts = ("train_metastases", "val_metastases", "test_metastases", "crop", "least_side")
        needs = {name: (getattr(self, name) >= 1, "at least 1") for name in counts}
        self.check(needs | {"tissue": (0 <= self.tissue <= 1, "a share from 0 to 1")})

    @property
    def metastases(self) -> dict[str, int]:
        """Unique metastases of each split."""
        return dict(
            zip(SPLITS, (self.train_metastases, self.val_metastases, self.test_metastases), strict=True)
        )


class _Metastasis(NamedTuple):
    """A connected piece of tumour on a slide."""

    slide: Slide
    bounds: tuple[float, float, float, float]
    roi: PolygonAnnotation  # of the whole slide


def prepare_needle_camelyon(
    source: Path | str,
    out: Path | str,
    config: NeedleCamelyonConfig,
    *,
    partial: bool = False,
    progress: bool | None = None,
) -> Prepared:
    """Cut the crops out of the slides in Camelyon16's native layout, with the outlines of tumour as ROI.

    Positive crops hold one of the split's metastases wholly, at a random place, and take turns among them;
    negative crops lie anywhere in normal slides where enough of them is tissue. Slides that are only
    partially annotated are not used. An interrupted preparation resumes.

    Args:
        source: the folder of Camelyon16.
        out: folder of images, annotations and manifest.
        config: what to cut out.
        partial: whether slides may be missing, and fewer metastases found.
        progress: show a progress bar; by default where messages go to a terminal.

    Raises:
        DataError: if slides or metastases are missing, a slide cannot be read, or the folder was begun with
            other settings.
    """
    slides = [slide for slide in find_slides(source, partial=partial) if not slide.partially_annotated]
    rng = np.random.default_rng([config.seed, 5])
    metastases = _deal_metastases(slides, config, rng, partial, Path(source))
    normal = _deal_normal([slide for slide in slides if slide.label == "normal"], config, rng, Path(source))
    out = new_out(out)
    for folder in ("images", "annotations"):
        (out / folder).mkdir(exist_ok=True)
    journal = Journal(out, source, config, [slide.image.name for slide in slides])
    numbers = config.places

    def cut(place: tuple[str, int]) -> Record:
        split, number = place
        name = f"{split}_{number:05d}"
        return journal.get(name) or journal.add(name, cut_new(split, number, name))

    def cut_new(split: str, number: int, name: str) -> Record:
        own = np.random.default_rng([config.seed, SPLITS.index(split), number, 6])
        if number % 2:
            chosen = metastases[split][number // 2 % len(metastases[split])]
            return _positive(out, config, chosen, name, split, own)
        return _negative(out, config, normal[split], name, split, own)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = track(pool.map(cut, numbers), "Cutting crops", total=len(numbers), shown=progress)
        records = list(done)
    counts = ", ".join(f"{split} {len(metastases[split])}" for split in SPLITS)
    return finish(out, "needle-camelyon", records, CLASSES, config, notes=[f"Unique metastases: {counts}."])


def _deal_metastases(
    slides: list[Slide], config: NeedleCamelyonConfig, rng: np.random.Generator, partial: bool, source: Path
) -> dict[str, list[_Metastasis]]:
    """The metastases of each split: slides in random order, each to the split that lacks most."""
    annotated = [slide for slide in slides if slide.annotation is not None]
    dealt: dict[str, list[_Metastasis]] = {split: [] for split in SPLITS}
    for place in rng.permutation(len(annotated)).tolist():
        lacking = {split: 1 - len(dealt[split]) / config.metastases[split] for split in SPLITS}
        split = max(lacking, key=lambda name: lacking[name])
        if lacking[split] <= 0:
            break
        found = list(_metastases(annotated[place], config))
        missing = config.metastases[split] - len(dealt[split])
        dealt[split] += [found[i] for i in sorted(rng.permutation(len(found))[:missing].tolist())]
    short = [
        f"{split} {len(dealt[split])} of {n}"
        for split, n in config.metastases.items()
        if len(dealt[split]) < n
    ]
    if short and (not partial or not all(dealt[s] or not config.counts[s] for s in SPLITS)):
        raise DataError(
            f"too few metastases that fit into {config.crop} pixels: {', '.join(short)}",
            where=source,
            remedy="Complete the slides and annotations; or ask for fewer, or give --partial true.",
        )
    return dealt


def _metastases(slide: Slide, config: NeedleCamelyonConfig) -> Iterator[_Metastasis]:
    """Those of a slide that fit into a crop, in the order of their place."""
    assert slide.annotation is not None
    image = open_image(slide.image)
    roi = PolygonAnnotation(
        read_asap(slide.annotation), image.height, image.width, name=str(slide.annotation)
    )
    pieces = sorted(part.bounds for part in shapely.get_parts(roi.roi) if not part.is_empty)
    for x0, y0, x1, y1 in pieces:
        if config.least_side <= min(x1 - x0, y1 - y0) and max(x1 - x0, y1 - y0) <= config.crop:
            yield _Metastasis(slide, (x0, y0, x1, y1), roi)


def _deal_normal(
    slides: list[Slide], config: NeedleCamelyonConfig, rng: np.random.Generator, source: Path
) -> dict[str, list[Slide]]:
    """The normal slides of each split, in the proportion of its crops, at least one each."""
    needed = [split for split in SPLITS if config.counts[split]]
    if len(slides) < len(needed):
        raise DataError(
            f"{len(slides)} normal slides for {len(needed)} splits",
            where=source,
            remedy="Complete the slides.",
        )
    order = [slides[place] for place in rng.permutation(len(slides)).tolist()]
    dealt: dict[str, list[Slide]] = {split: [] for split in SPLITS}
    for slide in order:
        split = min(needed, key=lambda name: len(dealt[name]) / config.counts[name])
        dealt[split].append(slide)
    return dealt


def _positive(
    out: Path,
    config: NeedleCamelyonConfig,
    metastasis: _Metastasis,
    name: str,
    split: str,
    rng: np.random.Generator,
) -> Record:
    """A crop that holds a metastasis wholly, inside the slide where that is possible."""
    image = open_image(metastasis.slide.image)
    x0, y0, x1, y1 = metastasis.bounds
    x = _begin(x0, x1, config.crop, image.width, rng)
    y = _begin(y0, y1, config.crop, image.height, rng)
    box = shapely.box(x, y, x + config.crop, y + config.crop)
    inside = shapely.intersection(metastasis.roi.roi, box)
    path = out / "annotations" / f"{name}.geojson"
    parts = [part for part in shapely.get_parts(inside) if part.geom_type == "Polygon"]
    write_geojson(path, [Outline(shapely.transform(part, lambda c: c - (x, y)), "Tumor") for part in parts])
    return _save(out, config, image, (x, y), name, split, metastasis.slide, path)


def _begin(low: float, high: float, crop: int, length: int, rng: np.random.Generator) -> int:
    """Where a crop begins that holds the stretch from low to high, inside the length if it fits."""
    first, last = int(np.ceil(high)) - crop, int(np.floor(low))
    first, last = max(first, 0), min(last, max(length - crop, 0))
    return int(rng.integers(first, last, endpoint=True)) if first < last else max(min(first, last), 0)


def _negative(
    out: Path,
    config: NeedleCamelyonConfig,
    slides: list[Slide],
    name: str,
    split: str,
    rng: np.random.Generator,
) -> Record:
    """A crop of normal tissue; the slide with least background in it where there is none with enough."""
    side, scale = config.crop, _BACKGROUND_VIEW
    for slide_number in rng.permutation(len(slides)).tolist():
        image = open_image(slides[slide_number].image)
        x = rng.integers(max(image.width - side, 0) + 1, size=_TRIES)
        y = rng.integers(max(image.height - side, 0) + 1, size=_TRIES)
        for i in range(0, _TRIES, 8):
            corners = list(zip(x[i : i + 8].tolist(), y[i : i + 8].tolist(), strict=True))
            share = tissue_share(image.read([Region(a, b, side, side) for a, b in corners], scale))
            enough = (share >= config.tissue).nonzero()[:, 0].tolist()
            if enough:
                return _save(out, config, image, corners[enough[0]], name, split, slides[slide_number], None)
    raise DataError(
        f"no crop with a tissue share of {config.tissue} found in {len(slides)} slides",
        where=slides[0].image,
        remedy="Lower --tissue.",
    )


def tissue_share(views: UInt8[Tensor, "n 3 h w"]) -> Tensor:
    """The share of pixels that are stained: neither white, grey nor black.

    Example:
        >>> import torch
        >>> white = torch.full((1, 3, 2, 2), 240, dtype=torch.uint8)
        >>> tissue_share(white).tolist()
        [0.0]
    """
    high, low = views.amax(1).float(), views.amin(1).float()
    stained = ((high - low) / high.clamp(min=1) > 0.1) & (high > 30)
    return stained.flatten(1).float().mean(1)


def _save(
    out: Path,
    config: NeedleCamelyonConfig,
    image: Image,
    corner: tuple[int, int],
    name: str,
    split: str,
    slide: Slide,
    annotation: Path | None,
) -> Record:
    pixels: Any = image.read([Region(*corner, config.crop, config.crop)], 1.0)[0]
    path = out / "images" / f"{name}.png"
    PillowImage.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(path, compress_level=3)
    label = CLASSES[int(annotation is not None)]
    return Record(path, label, group=slide.image.stem, split=split, mpp=image.mpp, annotation=annotation)
