"""Explain many images into a folder: one that cannot be read is recorded, the others continue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..annotations.annotation import Annotation
from ..annotations.open_annotation import open_annotation
from ..data.manifest import Record
from ..errors import DataError, ZoomInError
from ..explanation import Entry, Explanation, Index, read_index
from ..explanation.export_config import ExportConfig
from ..explanation.exports import is_exported, remove_exports, write_exports
from ..explanation.index import INDEX, folder_name, write_index
from ..geometry import Region
from ..model.sampling import design
from ..model.storage import model_fingerprint
from ..model.zoom_in import ZoomIn
from ..progress import track
from ..runtime.locks import lock_folder
from .config import InferenceConfig
from .explanations import iter_explanations
from .run_images import evaluation_manifest
from .sources import Unreadable, find_images, name_of

__all__ = ["ExplainSummary", "explain_into", "images_to_explain"]

_PAUSE = 5.0  # seconds between two writings of the index


@dataclass(frozen=True)
class ExplainSummary:
    """What became of a list of images.

    Attributes:
        folder: where the explanations are.
        explained: images explained now.
        kept: images whose explanations were there already.
        failed: images that could not be read, each with its error.
        warnings: what could not be done for images that were explained, each with its image.
        with_bounds: images of which only a part was scanned, whose GeoJSON counts from the whole canvas.
    """

    folder: Path
    explained: int
    kept: int
    failed: tuple[tuple[str, str], ...]
    warnings: tuple[tuple[str, str], ...]
    with_bounds: int


def explain_into(
    images: Sequence[str | Path | Record],
    model: ZoomIn,
    out: str | Path,
    config: InferenceConfig | None = None,
    exports: ExportConfig | None = None,
    *,
    resume: bool = False,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> ExplainSummary:
    """Explain images, each into its own folder below `out`; index.json lists them.

    Explanations of other images that are there stay; those of the same images are replaced.

    Args:
        images: paths, or records of a manifest: their labels and annotations are used where they have them.
        model: what `load_model` gave.
        out: the folder of the explanations.
        config: how to sample and run.
        exports: what to write beside the numbers.
        resume: keep explanations of unchanged images that were made by this model in this way.
        device: move the model there first.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: if the folder holds explanations of another model.
        DataError: if its index is damaged.
        WriteError: if it cannot be written to, or another job writes to it.
        Exception: an unexpected error that many images fail with, one after another: see `faults.Faults`.
    """
    with lock_folder(out):
        return _explain_into(images, model, Path(out), config, exports, resume, device, progress)


def _explain_into(
    images: Sequence[str | Path | Record],
    model: ZoomIn,
    out: Path,
    config: InferenceConfig | None,
    exports: ExportConfig | None,
    resume: bool,
    device: str | torch.device | None,
    progress: bool,
) -> ExplainSummary:
    job = _Job(out, model, config or InferenceConfig(), exports or ExportConfig())
    kept = [image for image in images if resume and job.keeps(image)]
    left = [image for image in images if not any(image is other for other in kept)]
    try:
        found = iter_explanations(left, model, job.config, device=device)
        for image, one in track(zip(left, found, strict=True), "Explaining", total=len(left), shown=progress):
            job.take(image, one)
    finally:
        job.write()
    names = [name_of(image) for image in images]
    entries = [job.entries[name] for name in names]
    return ExplainSummary(
        folder=job.out,
        explained=sum(entry.status == "ok" for entry in entries) - len(kept),
        kept=len(kept),
        failed=tuple((entry.image, entry.error) for entry in entries if entry.status != "ok"),
        warnings=tuple((entry.image, entry.warning) for entry in entries if entry.warning),
        with_bounds=job.with_bounds,
    )


def images_to_explain(
    patterns: Sequence[str | Path],
    run: str | Path,
    manifest: str | Path | None = None,
    split: str | None = None,
) -> Sequence[str | Path | Record]:
    """The images that a user means.

    Args:
        patterns: image files, folders, or glob patterns.
        run: folder of the run, whose own images `split` takes where there is no manifest.
        manifest: a CSV, or another layout of images; labels are not needed without `split`.
        split: "train", "val", "test" or "all" of the labelled images.

    Raises:
        DataError: if there are none.
    """
    if split is None:
        return find_images(patterns, manifest)
    chosen = evaluation_manifest(run, manifest, split).records
    return [*find_images(patterns), *chosen] if patterns else chosen


class _Job:
    """The folder while it fills."""

    def __init__(self, out: Path, model: ZoomIn, config: InferenceConfig, exports: ExportConfig) -> None:
        self.out, self.config, self.exports = out, config, exports
        self.model, self.classes = model_fingerprint(model, model.config), model.config.classes
        self.n_samples = config.n_samples or model.config.n_samples
        self.auto = model.config.prediction_sampling
        self.entries: dict[str, Entry] = {}
        self.with_bounds = 0
        if (out / INDEX).is_file():
            there = read_index(out)
            there.check_model(self.model, out)
            self.entries = {entry.image: entry for entry in there.entries}
        out.mkdir(parents=True, exist_ok=True)
        self.written = time.monotonic()

    def keeps(self, image: str | Path | Record) -> bool:
        """Whether an image needs no new explanation; what is missing beside the old one is written."""
        folder = folder_name(name_of(image))
        try:
            one = Explanation.load(self.out / folder)
        except DataError:
            return False
        if not self._made_alike(one) or one.source.changed() is not None or one.image != name_of(image):
            return False
        known = self.entries.get(one.image)
        if known is None or known.status != "ok" or not is_exported(self.out / folder, self.exports):
            self._export(image, replace(one, truth=_truth(image)), folder)
        return True

    def take(self, image: str | Path | Record, found: Explanation | Unreadable) -> None:
        """Save what was found."""
        if isinstance(found, Unreadable):
            name = name_of(image)
            self.entries[name] = Entry(name, _truth(image), None, {}, None, None, "error", str(found.error))
        else:
            one, folder = replace(found, truth=_truth(image)), folder_name(name_of(image))
            remove_exports(self.out / folder)
            one.save(self.out / folder)
            self._export(image, one, folder)
        if time.monotonic() - self.written > _PAUSE:
            self.write()

    def write(self) -> None:
        """Write the index."""
        write_index(Index(self.model, self.classes, tuple(self.entries.values())), self.out)
        self.written = time.monotonic()

    def _export(self, image: str | Path | Record, one: Explanation, folder: str) -> None:
        warnings: list[str] = []
        try:
            roi = _roi(image, one)
        except ZoomInError as error:
            roi, warnings = None, [f"{error} The pictures show no ROI."]
        try:
            write_exports(one, self.out / folder, self.exports, roi)
        except ZoomInError as error:
            warnings.append(str(error))
        shifted = one.source.bounds is not None and self.exports.geojson and not self.exports.bounds_offset
        self.with_bounds += shifted
        self.entries[one.image] = Entry.of(one, folder, " ".join(warnings))

    def _made_alike(self, one: Explanation) -> bool:
        how, config = one.provenance, self.config
        enumerable = one.attention.numel() * one.beta[0].numel() <= config.exact_budget
        auto = self.auto or ("exact" if enumerable else "systematic")
        if (how.model, how.sampling) != (self.model, auto if config.sampling == "auto" else config.sampling):
            return False
        if not design(how.sampling).random:
            return how.sampling == "exact" or how.n_samples == self.n_samples
        return (how.n_samples, how.replicates, how.seed) == (self.n_samples, config.replicates, config.seed)


def _roi(image: str | Path | Record, one: Explanation) -> Annotation | None:
    if not isinstance(image, Record):
        return None
    roi = open_annotation(image, *one.size, place=one.source.georeference)
    if roi is not None:  # a damaged one is found here, not while a picture is drawn
        height, width = one.size
        roi.read([Region(0, 0, width, height)], min(1.0, 256 / max(height, width)))
    return roi


def _truth(image: str | Path | Record) -> str | None:
    return image.label if isinstance(image, Record) else None
