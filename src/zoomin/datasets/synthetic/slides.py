"""Generated slides: giant pyramidal images whose class hangs on a small share of their tissue.

Glass with irregular tissue, quilted of crops of a few source images; in it lie blobs of other textures. In a
negative slide all blobs are decoys: background of further sources. In a positive slide some of them are
needles. Needles and decoys have the same law of number, size, outline and edge, so that only their texture
tells; or, where they differ by shape, the same law of texture, number, area and edge, and needles are rings.
The slides of a split take their sources from images that no other split sees.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as PillowImage

from ...data.manifest import SPLITS, Manifest, Record, read_manifest, write_manifest
from ...errors import DataError, WriteError
from ...files import whole_file, write_json
from ...images.write_pyramid import encode_tile, write_pyramid
from ...progress import progress_bar
from ...runtime.locks import LOCKS, lock_folder
from ...runtime.processes import end_with_parent, end_workers
from ..split_sizes import SplitSizes
from .slide_layout import Blob, Layer, Layout, Polygon, cell_size, place_blobs, polygon_area, tissue_map
from .textures import Texture, load_textures, procedural_textures, textures_of

__all__ = ["CLASSES", "SlideConfig", "make_slides"]

CLASSES = ("negative", "positive")
_RECIPE = "slides.json"
_PARTS = ("slides", "annotations", "records")
_MPP = 0.5  # where neither the configuration nor the sources say it
_EDGE = (2.0, 16.0)  # width of the soft edge of a piece or blob, pixels
_FREE = ("n_train", "n_val", "n_test", "textures", "background", "needles")  # may change between two calls


@dataclass(frozen=True)
class SlideConfig(SplitSizes):
    """What to make."""

    width: int = 20_000
    """Width of a slide, in pixels."""

    height: int = 20_000
    """Height of a slide, in pixels."""

    roi_share: float = 0.01
    """Share of a positive slide's pixels that its needles cover, 0 to 1. A warm-up easily finds 0.01."""

    blobs: int = 3
    """Needles per positive slide."""

    decoys: int = 3
    """Decoys per positive slide; a negative one has as many as these and the needles together, so that
    their number reveals nothing."""

    differ_by: Literal["texture", "shape"] = "texture"
    """What distinguishes needles from decoys: "texture", needles are of needle sources and decoys of
    background; or "shape", both are of needle sources and needles are rings, which asks for search, not for
    one texture."""

    tissue_share: float = 0.4
    """Share of a slide's pixels that are tissue, 0 to 1; the rest is glass."""

    sources: int = 5
    """Background sources in the tissue of a slide."""

    piece_size: int = 1500
    """Typical width of a piece of one source, in pixels."""

    textures: str | None = None
    """Labelled images, in any layout that training accepts: those of the first class are background, those
    of the others needles."""

    background: str | None = None
    """A folder or CSV of background images, with `needles` instead of `textures`."""

    needles: str | None = None
    """A folder or CSV of needle images. Without any images, procedural textures are drawn."""

    texture_size: int = 250
    """Side of the crops of a source, in pixels."""

    mpp: float | None = None
    """Microns per pixel to state in the file; by default that of the sources, or 0.5 (20x)."""

    tile: int = 256
    """Side of a stored tile, in pixels; 256 as scanners write."""

    quality: int = 80
    """Quality of the JPEG compression, 1 to 100; 80 as scanners write."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        share = self.roi_share * (self.blobs + self.decoys) / max(1, self.blobs)
        needs = {
            "width": (self.width >= 256, "at least 256"),
            "height": (self.height >= 256, "at least 256"),
            "blobs": (1 <= self.blobs <= 100, "1 to 100"),
            "decoys": (0 <= self.decoys <= 100, "0 to 100"),
            "differ_by": (self.differ_by in ("texture", "shape"), "texture or shape"),
            "tissue_share": (0 < self.tissue_share <= 0.9, "above 0 and at most 0.9"),
            "roi_share": (
                0 < share <= 0.6 * self.tissue_share,
                "above 0; with the decoys, at most six tenths of tissue_share",
            ),
            "sources": (1 <= self.sources <= 50, "1 to 50"),
            "piece_size": (self.piece_size >= 16, "at least 16"),
            "texture_size": (self.texture_size >= 32, "at least 32"),
            "mpp": (self.mpp is None or self.mpp > 0, "a positive number"),
            "tile": (self.tile in (128, 256, 512, 1024), "128, 256, 512 or 1024"),
            "quality": (1 <= self.quality <= 100, "1 to 100"),
        }
        self.check(needs)
        cell_size(self.height, self.width, _smallest_blob(self), self.tile)


def make_slides(
    folder: Path | str, config: SlideConfig | None = None, *, jobs: int = 1, progress: bool | None = None
) -> Manifest:
    """Write the slides into `slides/`, outlines of the needles into `annotations/`, and `manifest.csv`.

    Finished slides are kept: after an interruption the same call resumes, and with larger counts it adds.

    Args:
        folder: a new or an empty folder, or one with such slides.
        config: what to make.
        jobs: slides made in parallel, one process each.
        progress: show a progress bar; by default where the messages go to a terminal.

    Returns:
        The manifest, classes "negative" and "positive"; annotations are GeoJSON in level-0 pixels.

    Raises:
        ConfigError: if the tissue has no space for the blobs.
        DataError: if the folder holds other things, or sources are missing.
        ImageError: if a source cannot be read.
        WriteError: if the folder cannot be written to, another job writes to it, or the disk is too small.
    """
    config = config or SlideConfig()
    textures = _textures(config)
    config = replace(config, mpp=config.mpp or _common_mpp(textures))
    with lock_folder(folder, *_PARTS):
        return _make_all(Path(folder), config, textures, jobs, progress)


def _make_all(
    folder: Path, config: SlideConfig, textures: Sequence[Texture], jobs: int, progress: bool | None
) -> Manifest:
    _prepare(folder, config, textures)
    places = config.places
    todo = [place for place in places if not _is_done(folder, *place)]
    _check_disk(folder, config, textures, len(todo))
    rows = -(-config.height // config.tile)
    kept = (len(places) - len(todo)) * rows
    title = f"Making {len(places)} slides, rows of tiles"
    with progress_bar(title, len(places) * rows, done=kept, shown=progress) as bar:
        for done in _make(folder, config, textures, todo, jobs, bar.advance):
            bar.advance(done * rows)
    records = tuple(_record(folder, config, *place) for place in places)
    write_manifest(Manifest(records, CLASSES, folder), folder / "manifest.csv")
    return read_manifest(folder / "manifest.csv", classes=CLASSES)


def _make(
    folder: Path,
    config: SlideConfig,
    textures: Sequence[Texture],
    todo: Sequence[tuple[str, int]],
    jobs: int,
    row_done: Callable[[], object],
) -> Iterator[int]:
    """Make the slides; yields how many were finished without telling their rows."""
    if jobs <= 1 or len(todo) <= 1:
        for place in todo:
            _write(folder, config, textures, *place, row_done=row_done)
            yield 0
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(jobs, len(todo)), context, initializer=_start, initargs=(folder, config, list(textures))
    ) as pool:
        try:
            for _ in pool.map(_write_in_worker, todo):
                yield 1
        except BaseException:  # a slide takes minutes: nobody waits for the others
            end_workers(pool, 0)
            raise


_worker: dict[str, Any] = {}  # what a worker process makes slides of; empty in the main process


def _start(folder: Path, config: SlideConfig, textures: Sequence[Texture]) -> None:
    end_with_parent()
    _worker.update(folder=folder, config=config, textures=textures)


def _write_in_worker(place: tuple[str, int]) -> None:
    _write(_worker["folder"], _worker["config"], _worker["textures"], *place)


def _write(
    folder: Path,
    config: SlideConfig,
    textures: Sequence[Texture],
    split: str,
    number: int,
    row_done: Callable[[], object] | None = None,
) -> None:
    """One slide, its outlines and its record; the slide takes its name last."""
    slide, outlines, record = _files(folder, split, number)
    layout, needles, facts = _lay_out(config, [t for t in textures if t.split == split], split, number)
    if needles:
        write_json(outlines, _geojson(needles), indent=None)
    write_json(record, facts)
    with whole_file(slide) as part:
        write_pyramid(
            part,
            config.height,
            config.width,
            layout.paint,
            tile=config.tile,
            mpp=config.mpp,
            background=layout.glass,
            quality=config.quality,
            row_done=row_done,
        )


def _lay_out(
    config: SlideConfig, textures: Sequence[Texture], split: str, number: int
) -> tuple[Layout, list[Polygon], dict[str, Any]]:
    """The map and layers of a slide, the outlines of its needles, and what to record of it."""
    rng = np.random.default_rng([config.seed, SPLITS.index(split), number])
    pixels = config.width * config.height
    cell = cell_size(config.height, config.width, _smallest_blob(config), config.tile)
    needles = config.blobs * (number % 2)  # the first of the blobs; in a negative slide they are decoys too
    pieces, on_top = _choose(rng, config, textures, needles)
    values = tissue_map(
        rng,
        (config.height // cell, config.width // cell),
        config.tissue_share,
        len(pieces),
        min(config.piece_size, config.width / 4, config.height / 4) / cell,
    )
    sizes = rng.uniform(0.6, 1.4, len(on_top))
    sizes[: config.blobs] *= config.blobs / sizes[: config.blobs].sum()
    areas = sizes * config.roi_share * pixels / config.blobs
    order = len(pieces) + 1 + rng.permutation(len(on_top))  # who lies above whom
    rings = [config.differ_by == "shape" and i < needles for i in range(len(on_top))]
    blobs = [
        Blob(int(value), float(area), ring) for value, area, ring in zip(order, areas, rings, strict=True)
    ]
    outlines = place_blobs(rng, values, blobs, cell)
    sources = pieces + [on_top[i] for i in np.argsort(order)]
    layers = [Layer(t.crops, rng, config.tile, float(rng.uniform(*_EDGE))) for t in sources]
    red, green, blue = (int(v) for v in rng.integers(239, 249, 3))
    covered = [polygon_area(outline) for outline in outlines]
    facts = {
        "label": CLASSES[number % 2],
        "tissue_share": round(float((values > 0).sum() * cell**2 / pixels), 4),
        "roi_share": round(sum(covered[:needles]) / pixels, 8),
        "pieces": [t.name for t in pieces],
        "blobs": [
            {"kind": "needle" if i < needles else "decoy", "source": t.name, "pixels": round(covered[i])}
            for i, t in enumerate(on_top)
        ],
    }
    layout = Layout(values, layers, cell, config.tile, (red, green, blue))
    return layout, [polygon for outline in outlines[:needles] for polygon in outline], facts


def _choose(
    rng: np.random.Generator, config: SlideConfig, textures: Sequence[Texture], needles: int
) -> tuple[list[Texture], list[Texture]]:
    """The sources of the pieces of tissue, and those of the blobs, needles first."""
    backgrounds = [t for t in textures if t.kind == "background"]
    order = [backgrounds[i] for i in rng.permutation(len(backgrounds))]
    pieces, others = np.split(np.arange(len(order)), [min(config.sources, len(order) - 1)])
    of_needles = config.blobs + config.decoys if config.differ_by == "shape" else needles
    kinds = ["needle"] * of_needles + ["other"] * (config.blobs + config.decoys - of_needles)
    pool = {"needle": [t for t in textures if t.kind == "needle"], "other": [order[i] for i in others]}
    on_top = [pool[kind][int(rng.integers(len(pool[kind])))] for kind in kinds]
    return [order[i] for i in pieces], on_top


def _geojson(polygons: Sequence[Polygon]) -> dict[str, Any]:
    """Outlines as QuPath exchanges them."""
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": rings},
                "properties": {"objectType": "annotation", "classification": {"name": "needle"}},
            }
            for rings in polygons
        ],
    }


def _textures(config: SlideConfig) -> list[Texture]:
    given = {name: getattr(config, name) for name in ("textures", "background", "needles")}
    if not any(given.values()):
        return procedural_textures(config.texture_size, config.counts, config.seed)
    paths = {name: None if value is None else Path(value) for name, value in given.items()}
    found = textures_of(paths["textures"], paths["background"], paths["needles"])
    return load_textures(found, config.texture_size, config.counts, config.seed)


def _common_mpp(textures: Sequence[Texture]) -> float:
    known = [t.mpp for t in textures if t.mpp is not None]
    return float(np.median(known)) if known else _MPP


def _smallest_blob(config: SlideConfig) -> float:
    """About the smallest area of a blob, pixels; of a ring, of a blob that needs cells as fine."""
    area = 0.6 * config.roi_share * config.width * config.height / config.blobs
    return area / 4 if config.differ_by == "shape" else area


def _files(folder: Path, split: str, number: int) -> tuple[Path, Path, Path]:
    name = f"{split}_{number:04d}"
    return (
        folder / "slides" / f"{name}.tif",
        folder / "annotations" / f"{name}.geojson",
        folder / "records" / f"{name}.json",
    )


def _is_done(folder: Path, split: str, number: int) -> bool:
    slide, outlines, record = _files(folder, split, number)
    return slide.is_file() and record.is_file() and (number % 2 == 0 or outlines.is_file())


def _record(folder: Path, config: SlideConfig, split: str, number: int) -> Record:
    slide, outlines, _ = _files(folder, split, number)
    return Record(
        image=slide,
        label=CLASSES[number % 2],
        group=slide.stem,
        split=split,
        mpp=config.mpp,
        annotation=outlines if number % 2 else None,
    )


def _prepare(folder: Path, config: SlideConfig, textures: Sequence[Texture]) -> None:
    """Make the folders, and record the configuration and the sources of each split.

    Raises:
        DataError: if the folder holds other things, or slides of another configuration.
    """
    sources = {
        split: {kind: [t.name for t in textures if (t.split, t.kind) == (split, kind)] for kind in kinds}
        for split, count in config.counts.items()
        for kinds in [("background", "needle")]
        if count
    }
    wanted = {"config": asdict(config), "sources": sources}
    recipe = folder / _RECIPE
    if folder.is_dir() and any(child.name not in LOCKS for child in folder.iterdir()):
        found = json.loads(recipe.read_text(encoding="utf-8")) if recipe.is_file() else None
        if found is None or _fixed(found) != _fixed(wanted):
            raise DataError(
                "the folder contains something other than these slides",
                where=folder,
                remedy="Give a new or an empty folder, or the options that its slides were made with.",
            )
    write_json(recipe, wanted)  # first: a job that is killed here leaves nothing that looks foreign
    for name in _PARTS:
        (folder / name).mkdir(parents=True, exist_ok=True)


def _fixed(recipe: dict[str, Any]) -> dict[str, Any]:
    """What two calls must agree on to share a folder."""
    known = {"differ_by": "texture", **recipe["config"]}  # older folders do not say
    config = {name: value for name, value in known.items() if name not in _FREE}
    return {"config": config, "sources": recipe["sources"]}


def _check_disk(folder: Path, config: SlideConfig, textures: Sequence[Texture], slides: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        WriteError: telling how much is needed and free.
    """
    crops = [t.crops[0] for t in textures[:: max(1, len(textures) // 8)]]
    stored = sum(len(encode_tile(PillowImage.fromarray(crop), config.quality)) for crop in crops)
    each = stored / sum(crop.shape[0] * crop.shape[1] for crop in crops)
    empty = len(encode_tile(PillowImage.new("RGB", (config.tile, config.tile)), config.quality))
    pixels = config.width * config.height * 4 / 3
    tissue = min(1.0, 1.3 * config.tissue_share)
    needed = slides * pixels * (tissue * each + empty / config.tile**2)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise WriteError(
            f"{slides} {'slide needs' if slides == 1 else 'slides need'} about {needed / 1e6:,.1f} MB, "
            f"{free / 1e6:,.1f} MB are free",
            where=folder,
            remedy="Give another disk, fewer or smaller slides, less tissue_share or a lower quality.",
        )
