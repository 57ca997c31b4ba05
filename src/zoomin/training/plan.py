"""Look at images and plan how to learn from them, by the rules that docs/learning.md explains."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import yaml
from docstring_parser import parse_from_object

from ..data.config import DataConfig
from ..data.find import open_dataset
from ..data.labels import sounds_negative
from ..data.manifest import Manifest
from ..data.opening import open_record
from ..errors import DataError, ZoomInError
from ..files import plain
from ..images.foreground import Foreground
from ..model.choices import TargetKind
from ..model.config import ZoomInConfig
from ..model.engine import has_openvino
from ..model.networks import has_cells
from ..runtime.extras import install
from .frozen_config import FrozenConfig

__all__ = ["ImageSummary", "Plan", "negative_class", "plan", "plan_recipe"]

TRUNK = "tf_efficientnet_lite0"
_SIDES = (224, 112, 56)  # of sub-tiles: the largest of which an image has `_LEAST` along its shorter side
_LEAST = 2
_DEPARTURE = 0.3  # cost of a side e times another, in shares of the image read in vain
_SHARE = 0.25  # of the pixels of an image that prediction reads
_OVERVIEW = 0.25  # the scale at which the tile attention sees
_SLIVER = 0.125  # of a side: less of a sub-tile inside an image is next to nothing
_CONTEXT = 448  # side of the view of the whole image, where images have few sub-tiles
_SAMPLED = 24  # images whose size is read
_FROM_DATA = {("model", "n_classes"), ("model", "target")}  # a run takes these from the data
_SLIDE = 2000  # sub-tiles of an image from which most are taken for background to be left out
_SECONDS = (0.045, 0.015)  # to embed a sub-tile of 224 on one core: PyTorch, OpenVINO
_CELL_SECONDS = (0.25, 0.038)  # to embed its cells
_TARGETS = {
    "labels": "several labels per image: {}",
    "value": "a value per image: {}",
    "grade": "grades, the lowest first: {}",
    "survival": "survival: the log hazard, from times and events",
}
_LEARN_SECONDS = 0.0065  # to learn from one of 224 once, from pixels


@dataclass(frozen=True)
class ImageSummary:
    """What the images look like.

    Attributes:
        count: images of each class to learn from.
        labelled: images to learn from.
        test: images held out for testing or validation by the data itself.
        groups: number of groups, 0 where the images have none.
        height: median, of the images inspected.
        width: likewise.
        formats: how many files of each suffix.
        sizes: height and width of each image inspected.
    """

    count: dict[str, int]
    labelled: int
    test: int
    groups: int
    height: int
    width: int
    formats: dict[str, int]
    sizes: tuple[tuple[int, int], ...]

    @property
    def images(self) -> int:
        """To learn from."""
        return self.labelled


@dataclass(frozen=True)
class Plan:
    """A training that fits the images.

    Attributes:
        summary: what the images look like.
        data: settings of the data.
        model: settings of the network.
        frozen: settings of the steps.
        lines: what is planned and why, to be printed.
    """

    summary: ImageSummary
    data: DataConfig
    model: ZoomInConfig
    frozen: FrozenConfig
    lines: tuple[str, ...]

    def changes(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as `section.name`, in plain values."""
        found: dict[str, Any] = {}
        sections = {"data": (self.data, DataConfig("")), "model": (self.model, ZoomInConfig())}
        sections["frozen"] = self.frozen, FrozenConfig()
        for section, (own, default) in sections.items():
            for name, value in vars(own).items():
                if value != getattr(default, name) and (section, name) not in _FROM_DATA:
                    found[f"{section}.{name}"] = plain(value)
        return found


def plan_recipe(found: Plan) -> str:
    """A plan as a recipe: every setting that it makes, with what it does."""
    lines = [f"# {line}" for line in ("Planned by `zoomin plan`.", *found.lines)]
    steps = {f"frozen.{name}": plain(value) for name, value in vars(found.frozen).items()}
    for section, kind in (("data", DataConfig), ("model", ZoomInConfig), ("frozen", FrozenConfig)):
        texts = {
            one.arg_name: " ".join((one.description or "").split()) for one in parse_from_object(kind).params
        }
        lines += ["", f"{section}:"]
        for name, value in {**found.changes(), **steps}.items():
            if name.startswith(f"{section}."):
                own = name.partition(".")[2]
                lines += [f"  # {line}" for line in textwrap.wrap(texts.get(own, ""), 100)]
                lines += textwrap.indent(yaml.safe_dump({own: value}), "  ").splitlines()
    return "\n".join(lines) + "\n"


def plan(
    data: DataConfig, frozen: FrozenConfig | None = None, model: Mapping[str, Any] | None = None
) -> Plan:
    """Plan a training on some images.

    Args:
        data: where they are.
        frozen: settings of the steps; by default, theirs.
        model: settings of the network that are given, such as {"sub_tile_size": 224}: the plan follows them.

    Raises:
        ConfigError: if the network cannot have those settings.
        DataError: if the images cannot be learned from, or none of those inspected can be read.
    """
    manifest = open_dataset(data.root, classes=data.classes, columns=data.columns, target=data.target)
    summary = _summarise(manifest, data)
    frozen, given = replace(frozen or FrozenConfig(), enabled=True), dict(model or {})
    side = given.get("sub_tile_size") or given.get("tile_size") or _sub_tile(summary)
    tiles = -(-summary.height // side) * -(-summary.width // side)
    few = tiles < frozen.few_tiles
    reads = tiles if few else _samples(summary, side)
    is_slide = tiles >= _SLIDE
    planned = ZoomInConfig(
        n_classes=max(1 if manifest.target != "classes" else 2, len(manifest.classes)),
        target=cast("TargetKind", manifest.target),
        tile_size=side,
        sub_tile_size=side,
        tile_scale=_OVERVIEW,
        sub_tile_scale=1 / side,
        n_samples=reads,
        sampling="top",
        tile_attention="uniform" if few else f"pyramid:{TRUNK}",
        position_attention="uniform",
        features=f"timm:{TRUNK}",
        pretrained=True,
        normalize_features=False,
        std=(0.5, 0.5, 0.5),
        context_side=_CONTEXT if few else 0,
        foreground=Foreground("otsu") if is_slide else Foreground(),
        chunk_size=32,
    )
    network = replace(planned, **given)
    data = replace(data, val_fraction=0.0)
    return Plan(summary, data, network, frozen, tuple(_lines(summary, manifest, network, frozen, tiles)))


def negative_class(classes: Sequence[str], wanted: str | None) -> int | None:
    """The class whose images hold nothing to find.

    Args:
        classes: names.
        wanted: the name of one of them; "auto": the first with a name such as none, normal or negative, else
            the first of two classes; None: there is none.

    Raises:
        DataError: if there is no class of that name.

    Example:
        >>> negative_class(("exudate", "healthy"), "auto"), negative_class(("a", "b", "c"), "auto")
        (1, None)
    """
    if wanted is None:
        return None
    if wanted in classes:
        return list(classes).index(wanted)
    if wanted != "auto":
        raise DataError(
            f"no class {wanted!r}, but {', '.join(classes)}",
            where="frozen.negative_class",
            remedy="Give one of them, or null where every class has something to find.",
        )
    named = [place for place, name in enumerate(classes) if sounds_negative(name)]
    return named[0] if named else 0 if len(classes) == 2 else None


def _summarise(manifest: Manifest, data: DataConfig) -> ImageSummary:
    """Count the images, and open some of them."""
    learned = [record for record in manifest if record.split in (None, "train")]
    sizes, error = [], None
    for record in learned[:: max(1, len(learned) // _SAMPLED)][:_SAMPLED]:
        try:
            image = open_record(record, channels=data.channels or ())
        except (ZoomInError, OSError) as failure:
            error = failure
        else:
            sizes.append((image.height, image.width))
    if not sizes:
        raise DataError(
            f"none of the inspected images can be read; the last: {error}",
            where=data.root,
            remedy="Run `zoomin data check` on them.",
        )
    heights, widths = zip(*sizes, strict=True)
    return ImageSummary(
        count=replace(manifest, records=tuple(learned)).counts(),
        labelled=sum(record.label is not None for record in learned),
        test=len(manifest) - len(learned),
        groups=len({record.group for record in learned} - {None}),
        height=int(statistics.median(heights)),
        width=int(statistics.median(widths)),
        formats=dict(Counter(record.image.suffix.lower() for record in learned)),
        sizes=tuple(sizes),
    )


def _sub_tile(summary: ImageSummary) -> int:
    """The side near that of the trunk's pretraining whose grid reaches least beyond the borders.

    The mean over images counts: a side that divides one size leaves slivers of slightly larger images.
    """
    short = min(summary.height, summary.width)
    base = next((side for side in _SIDES if short >= _LEAST * side), _SIDES[-1])

    def cost(side: int) -> float:
        covered = [-(-h // side) * -(-w // side) * side**2 / (h * w) for h, w in summary.sizes]
        return statistics.fmean(covered) + _DEPARTURE * abs(math.log(side / base))

    return min(range(round(0.75 * base), round(1.15 * base) + 1), key=cost)


def _samples(summary: ImageSummary, side: int) -> int:
    """N, so that prediction reads the configured share of an image, the overview counted in."""
    return max(4, min(256, int((_SHARE - _OVERVIEW**2) * summary.height * summary.width / side**2)))


def _lines(
    summary: ImageSummary, manifest: Manifest, model: ZoomInConfig, frozen: FrozenConfig, tiles: int
) -> list[str]:
    """The plan in words."""
    classes, is_classes, side = manifest.classes, manifest.target == "classes", model.sub_tile_size
    balance = ", ".join(f"{name} {count}" for name, count in summary.count.items())
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in summary.formats.items())
    balance = f" ({balance})" if manifest.kind().has_probabilities else ""
    lines = [
        f"images     {summary.images} to learn from{balance}; "
        f"{summary.width} x {summary.height} pixels; {kinds}"
    ]
    if summary.groups:
        lines.append(f"groups     {summary.groups}, kept whole in every fold")
    if not is_classes:
        lines.append(f"target     {_TARGETS[manifest.target].format(', '.join(classes))}")
    negative = negative_class(classes, frozen.negative_class) if is_classes else None
    if negative is not None:
        lines.append(f"negative   {classes[negative]!r} is taken as the class without an object")
    trunk = model.features.removeprefix("timm:")
    lines.append(f"sub-tiles  {side} pixels, about {tiles} per image, encoded by a frozen {trunk}")
    sub_tiles = (summary.images + summary.test) * tiles * (side / 224) ** 2
    cells, is_few = sub_tiles * _CELL_SECONDS[has_openvino()], tiles < frozen.few_tiles
    lines += _reading(summary, model, frozen, tiles)
    if frozen.head == "auto" and tiles <= frozen.cell_tiles and is_classes and has_cells(model.features):
        lines.append(f"cells      if AUROC of images held out is below {frozen.trunk_below}, finer maps of")
        lines.append(f"           the trunk join the choice (about {_minutes(cells)} more)")
    seconds = sub_tiles * _SECONDS[has_openvino()] * (1.0 if is_few else 1.25) + 60
    engine = "OpenVINO" if has_openvino() else f"PyTorch; `{install('fast')}` makes it three times as fast"
    pixels = _pixel_seconds(summary, side, tiles) if is_classes else None
    if pixels is not None and frozen.trunk == "pretrained":
        lines.append(
            f"pixels     if AUROC of the images held out is below {frozen.trunk_below}, try "
            "--frozen.trunk auto: a small"
        )
        lines.append(f"           trunk is learned from pixels too (about {_minutes(pixels)} more)")
    lines.append(
        f"time       about {_minutes(seconds + cells * (frozen.head == 'cells'))} on one core ({engine})"
    )
    lines += _slivers(summary, side)
    rarest, few = min(summary.count.items(), key=lambda each: each[1])
    if few < 20:
        what = {"classes": "of the class", "labels": "with the label", "grade": "of the grade"}
        named = f" {what[manifest.target]} {rarest}" if manifest.target in what else ""
        images = f"{few} image{'' if few == 1 else 's'}{named}"
        lines.append(f"warning    only {images}: expect wide intervals")
    return lines


def _slivers(summary: ImageSummary, side: int) -> list[str]:
    """A warning where the last sub-tiles of many images hold next to nothing of them."""
    narrow = _SLIVER * side
    found = [[size % side for size in image if 0 < size % side <= narrow < size] for image in summary.sizes]
    count = sum(map(bool, found))
    if count <= len(found) // 4:
        return []
    better = _sub_tile(summary)
    hint = "" if better == side else f": --model.tile_size {better} --model.sub_tile_size {better}"
    return [
        f"warning    at the border of {count} of {len(found)} images inspected, sub-tiles hold as little as",
        f"           {min(map(min, filter(None, found)))} pixels of the image{hint}",
    ]


def _reading(summary: ImageSummary, model: ZoomInConfig, frozen: FrozenConfig, tiles: int) -> list[str]:
    """How prediction reads an image, and what decides."""
    attention = "gated, over all sub-tiles"
    if frozen.head == "cells":
        attention = "gated, over cells of about 80 pixels in finer maps of the trunk"
    if tiles < frozen.few_tiles and frozen.head == "auto" and model.context_side:
        return [
            "reading    all of them and a view of the whole image; gated attention or a linear head,",
            "           whichever is better on images held out",
        ]
    if frozen.head == "linear":
        return ["reading    all of them and a view of the whole image; a linear head"]
    if tiles < frozen.few_tiles or not frozen.teach or model.tile_attention == "uniform":
        return ["reading    all of them", f"attention  {attention}"]
    area, side = summary.height * summary.width, model.sub_tile_size
    share = model.tile_scale**2 + min(model.n_samples, tiles) * side**2 / area
    return [
        f"reading    the image at 1/{round(1 / model.tile_scale)}, then {model.n_samples} sub-tiles: "
        f"{share:.0%} of it",
        f"attention  {attention}; the tile attention is taught where it looks",
    ]


def _pixel_seconds(summary: ImageSummary, side: int, tiles: int) -> float | None:
    """How long a trunk is learned from pixels on one core; None where there are too few images."""
    if summary.images < FrozenConfig.trunk_images:
        return None
    passes, views = FrozenConfig().passes(summary.images) * 4 / 3, min(tiles, FrozenConfig.trunk_tiles)
    return summary.images * passes * views * _LEARN_SECONDS * (side / 224) ** 2


def _minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"
