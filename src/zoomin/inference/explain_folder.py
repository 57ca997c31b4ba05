"""Explain many images into a folder: one that cannot be read is recorded, the others continue."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from ..annotations.annotation import Annotation
from ..annotations.open_annotation import open_annotation
from ..classifiers import Classifier, check_explains
from ..data.manifest import Record
from ..data.opening import record_key
from ..errors import DataError, WriteError, ZoomInError
from ..explanation import Entry, Explanation, Index, read_index
from ..explanation.export_config import ExportConfig
from ..explanation.exports import is_exported, remove_exports, write_exports
from ..explanation.files import JSON
from ..explanation.index import INDEX, append_entry, folder_name, read_added, write_index
from ..files import telling
from ..geometry import Region
from ..model.sampling import design
from ..model.storage import model_fingerprint
from ..progress import progress_bar
from ..runtime.executor import Executor
from ..runtime.extras import need
from ..runtime.image_work import check_shared
from ..runtime.locks import lock_folder
from .config import InferenceConfig
from .distributed import iter_found
from .explanations import explainer
from .pipeline import made_by
from .run_images import evaluation_manifest
from .sources import find_images, name_of

__all__ = ["ExplainSummary", "explain_into", "images_to_explain", "keeping"]

_PAUSE = 5.0  # seconds between two writings of the index
_SHARE = 20.0  # times as long as it takes: an index of 100,000 images takes seconds


@dataclass(frozen=True)
class ExplainSummary:
    """What became of a list of images.

    Attributes:
        folder: where the explanations are.
        explained: images explained now.
        kept: images whose explanations were there already.
        failed: images that could not be read, each with its error.
        kept_failures: those of them that failed before, and were not tried again.
        warnings: what could not be done for images that were explained, each with its image.
        with_bounds: images of which only a part was scanned, whose GeoJSON counts from the whole canvas.
    """

    folder: Path
    explained: int
    kept: int
    failed: tuple[tuple[str, str], ...]
    warnings: tuple[tuple[str, str], ...]
    with_bounds: int
    kept_failures: int = 0


def explain_into(
    images: Sequence[str | Path | Record],
    model: Classifier,
    out: str | Path,
    config: InferenceConfig | None = None,
    exports: ExportConfig | None = None,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    executor: Executor | None = None,
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
        resume: keep explanations of unchanged images that were made by this model in this way, and what is
            known of those that failed.
        retry_failed: of these, try images again that failed.
        executor: who computes; by default this process. Each worker writes the folders of its images, this
            process the index.
        device: move the model there first.
        progress: show a progress bar on stderr.

    Raises:
        ConfigError: if answers of the model cannot be explained, the folder holds explanations of another
            model, pictures are wanted and matplotlib is not installed, workers cannot start, there is no such
            cluster, or its machines do not share the folder.
        DataError: if its index is damaged.
        WriteError: if it cannot be written to, or another job writes to it.
        Exception: an unexpected error that many images fail with, one after another: see `faults.Faults`.
    """
    check_explains(model)
    executor, exports = executor or Executor(), exports or ExportConfig()
    if exports.pictures:
        need("report", "matplotlib", where="pictures")
    with lock_folder(out):
        job = _Job(Path(out), model, config or InferenceConfig(), exports)
        kept = {name_of(image) for image in images if resume and job.keeps(image)}
        failed = {name_of(image) for image in images if resume and job.failed(image)} - kept
        known = kept | (set() if retry_failed else failed)
        left = [image for image in images if name_of(image) not in known]
        finished = False
        try:
            found = iter_found(
                left, model, job.config, executor, explainer(model, job.config), job.writer, device
            )
            lost = 0
            with progress_bar("Explaining", len(left), shown=progress) as bar:
                for number, one in found:
                    job.take(left[number], one, executor)
                    lost += isinstance(one, ZoomInError)
                    bar.advance(note=f"{lost} failed" if lost else None)
            finished = True
        finally:
            job.write(finished=finished)
    entries = [job.entries[name] for name in dict.fromkeys(map(name_of, images))]
    return ExplainSummary(
        folder=job.out,
        explained=sum(entry.status == "ok" for entry in entries) - len(kept),
        kept=len(kept),
        failed=tuple((entry.image, entry.error) for entry in entries if entry.status != "ok"),
        warnings=tuple((entry.image, entry.warning) for entry in entries if entry.warning),
        with_bounds=job.with_bounds,
        kept_failures=0 if retry_failed else len(failed),
    )


@contextmanager
def keeping(
    model: Classifier, out: str | Path, config: InferenceConfig
) -> Iterator[Callable[[str | Path | Record, Explanation], None]]:
    """Keep explanations that something else made, without the pictures and files of `explain_into`.

    An image that is explained there already keeps what it has.

    Args:
        model: that was explained.
        out: the folder of the explanations.
        config: how they were made.

    Yields:
        Keeps the explanation of an image.

    Raises:
        ConfigError: if the folder holds explanations of another model.
        DataError: if its index is damaged.
        WriteError: if it cannot be written to, or another job writes to it.
    """
    with lock_folder(out):
        job = _Job(Path(out), model, config, ExportConfig(geojson=False, heat_map=False, pictures=False))

        def keep(image: str | Path | Record, found: Explanation) -> None:
            known = job.entries.get(name_of(image))
            if known is None or known.folder is None:
                job.keep(image, found)

        try:
            yield keep
        finally:
            job.write(finished=True)


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


class Written(NamedTuple):
    """What was written of an image.

    Attributes:
        entry: in the index.
        is_shifted: whether its GeoJSON counts from the whole canvas, and only a part was scanned.
    """

    entry: Entry
    is_shifted: bool


@dataclass(frozen=True)
class _Writer:
    """Writes the folders of images, in whichever process.

    Attributes:
        out: the folder of all.
        exports: what to write beside the numbers.
    """

    out: Path
    exports: ExportConfig

    def __call__(self, image: str | Path | Record, found: Explanation) -> Written:
        """Save what was found."""
        one, folder = replace(found, truth=_truth(image)), self.out / folder_name(name_of(image))
        with telling(folder, folder):
            remove_exports(folder)
            one.save(folder)
        return self.export(image, one)

    def export(self, image: str | Path | Record, one: Explanation) -> Written:
        """Write what stands beside the numbers.

        Raises:
            WriteError: if the disk is full or the folder cannot be written to.
        """
        warnings: list[str] = []
        try:
            roi = _roi(image, one)
        except ZoomInError as error:
            roi, warnings = None, [f"{error} The pictures show no ROI."]
        folder = folder_name(name_of(image))
        try:
            write_exports(one, self.out / folder, self.exports, roi)
        except WriteError:
            raise
        except ZoomInError as error:
            warnings.append(str(error))
        shifted = one.source.bounds is not None and self.exports.geojson and not self.exports.bounds_offset
        return Written(Entry.of(one, folder, " ".join(warnings)), shifted)


class _Job:
    """The folder while it fills."""

    def __init__(self, out: Path, model: Classifier, config: InferenceConfig, exports: ExportConfig) -> None:
        self.out, self.config = out, config
        self.writer = _Writer(out.resolve(), exports)
        self.model, self.classes = model_fingerprint(model, model.config), model.config.classes
        self.maker = made_by(model, config)
        self.n_samples = config.n_samples or model.n_samples
        self.auto = getattr(model.config, "prediction_sampling", None)
        self.entries: dict[str, Entry] = {}
        self.with_bounds = 0
        if (out / INDEX).is_file():
            there = read_index(out)
            there.check_model(self.model, out)
            self.entries = {entry.image: entry for entry in (*there.entries, *read_added(out))}
        self.write()

    def keeps(self, image: str | Path | Record) -> bool:
        """Whether an image needs no new explanation; what is missing beside the old one is written."""
        folder = self.out / folder_name(name_of(image))
        try:
            one = Explanation.load(folder)
        except DataError:
            return False
        if not self._made_alike(one) or one.source.changed() is not None or one.image != name_of(image):
            return False
        known = self.entries.get(one.image)
        if known is None or known.status != "ok" or not is_exported(folder, self.writer.exports):
            self._note(image, self.writer.export(image, replace(one, truth=_truth(image))))
        return True

    def failed(self, image: str | Path | Record) -> bool:
        """Whether this has been tried with an image, and failed, and nothing has changed since."""
        known = self.entries.get(name_of(image))
        return known is not None and known.status == "error" and known.made_from == self._key(image)

    def take(self, image: str | Path | Record, found: Written | ZoomInError, executor: Executor) -> None:
        """Remember what came of an image."""
        if isinstance(found, ZoomInError):
            name = name_of(image)
            found = Written(Entry(name, _truth(image), None, {}, None, None, "error", str(found)), False)
        else:
            check_shared(self.out / str(found.entry.folder) / JSON, executor)
        self._note(image, found)

    def keep(self, image: str | Path | Record, found: Explanation) -> None:
        """Save what was found of an image, in this process."""
        self._note(image, self.writer(image, found))

    def write(self, *, finished: bool = False) -> None:
        """Write the index."""
        begin = time.monotonic()
        write_index(
            Index(self.model, self.classes, tuple(self.entries.values())), self.out, finished=finished
        )
        now = time.monotonic()
        self.due = now + max(_PAUSE, _SHARE * (now - begin))

    def _note(self, image: str | Path | Record, found: Written) -> None:
        entry = replace(found.entry, made_from=self._key(image))
        self.entries[entry.image] = entry
        self.with_bounds += found.is_shifted
        append_entry(entry, self.out)
        if time.monotonic() > self.due:
            self.write()

    def _key(self, image: str | Path | Record) -> str:
        return f"{self.maker}-{record_key(image)}"

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
