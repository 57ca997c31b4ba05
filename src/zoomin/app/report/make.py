"""Make the report of a run, of a cross-validation, or of predictions and labels."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...classifiers import Classifier, load_model
from ...errors import CheckpointError, ConfigError, DataError, require_all
from ...explanation import Explanation
from ...files import write_text
from ...inference.attention_on_roi import gather
from ...inference.config import InferenceConfig
from ...inference.run_images import run_images
from ...model.targets import target_of
from ...progress import progress_bar
from ...runtime.extras import need
from ...runtime.locks import lock_file
from .answers import kept_predictions, predictions_of
from .collect import (
    answers_of,
    caution,
    crossval_findings,
    is_crossval,
    origin_of_run,
    read_predictions,
    read_truth,
)
from .findings import Answer, Findings
from .gallery import Explain, choose, make_cards
from .page import render
from .saved import Explainer, saved_explanations

__all__ = ["ReportConfig", "ReportResult", "write_report"]


@dataclass(frozen=True)
class ReportConfig:
    """What a report is made of."""

    run: str | None = None
    """Folder of a finished run or cross-validation; null where predictions are given."""

    predictions: str | None = None
    """A CSV that predict or evaluate wrote, reported as it is."""

    labels: str | None = None
    """True labels for these predictions: a manifest CSV, or images in any layout that train accepts."""

    root: str | None = None
    """Images to evaluate the run on; by default the run's own."""

    split: str | None = None
    """train, val, test or all; by default test, or val if there is no test split, otherwise all."""

    images: int = 24
    """Maximum number of images in the gallery."""

    panels: bool = False
    """Draw every step of each answer too, for a click to open; drawing takes three times as long."""

    annotated: int = 100
    """Maximum number of annotated images whose attention is compared with their ROI; each is read again."""

    def __post_init__(self) -> None:
        """Check what goes together."""
        if self.run is None and self.predictions is None:
            raise ConfigError(
                "nothing to report on", where="--run", remedy="Give the folder of a run, or --predictions."
            )
        if self.labels is not None and self.predictions is None:
            raise ConfigError(
                "labels without predictions",
                where="--labels",
                remedy="Give --predictions too, or other images of a run by --data.root.",
            )
        if self.predictions is not None and (self.root is not None or self.split is not None):
            raise ConfigError(
                "predictions are used as they are",
                where="--predictions",
                remedy="Leave --data.root and --split out.",
            )
        names = ("images", "annotated")
        require_all(self, {name: (getattr(self, name) >= 0, "at least 0") for name in names})


@dataclass(frozen=True)
class ReportResult:
    """What was made.

    Attributes:
        path: of the page.
        findings: what it shows.
        explained: images of the gallery that are explained.
    """

    path: Path
    findings: Findings
    explained: int


def write_report(
    config: ReportConfig,
    out: str | Path | None = None,
    *,
    inference: InferenceConfig | None = None,
    device: str = "cpu",
    known: Sequence[Explanation] = (),
    title: str | None = None,
    evaluated: str | None = None,
    extra: str = "",
    progress: bool = False,
) -> ReportResult:
    """Evaluate, explain the best and the worst answers, and write one HTML file that needs no other.

    Predictions of a run's own images are kept beside the run (`predictions-SPLIT.csv`); a second report does
    not look at these images again.

    Args:
        config: what to report on.
        out: the file; by default `report.html` in the run's folder, or beside the predictions.
        inference: the settings.
        device: where to compute.
        known: explanations already made of these images by this model; others are made as needed.
        title: of the report; by default the name of the folder or file.
        evaluated: which images these are, as text.
        extra: a sentence for the head of the report.
        progress: show progress bars on stderr.

    Raises:
        CheckpointError: if the run has no model and no kept predictions, or has not finished.
        DataError: if images, labels or predictions cannot be used.
        ConfigError: if settings do not fit together.
        WriteError: if the file cannot be written, or another job writes it.
    """
    need("report", "matplotlib", "sklearn", "jinja2", "markupsafe")
    _check_run(config)
    with lock_file(Path(out) if out is not None else _default_out(config)) as path:
        return _write(
            config, path, inference or InferenceConfig(), device, known, title, evaluated, extra, progress
        )


def _write(
    config: ReportConfig,
    path: Path,
    inference: InferenceConfig,
    device: str,
    known: Sequence[Explanation],
    title: str | None,
    evaluated: str | None,
    extra: str,
    progress: bool,
) -> ReportResult:
    findings, explainer = _gather(config, inference, device, progress)
    findings = replace(findings, title=title or findings.title, evaluated=evaluated or findings.evaluated)
    shown = choose(findings, config.images)
    measured = _annotated(findings, config.annotated) if explainer is not None else []
    count = len({a.image for a in [*shown, *measured]})
    with (
        _opened(explainer if count else None, known) as explain,
        progress_bar("Explaining", count, shown=progress and bool(count)) as bar,
    ):
        cards = make_cards(shown, measured, explain, bar.advance, panels=config.panels)
    page = render(findings, cards[: len(shown)], gather(card.roi for card in cards), extra=extra)
    write_text(path, page)
    return ReportResult(path, findings, sum(bool(card.start) for card in cards[: len(shown)]))


def _opened(
    explainer: Explainer | Explain | None, known: Sequence[Explanation]
) -> AbstractContextManager[Explain | None]:
    return explainer.opened(known) if isinstance(explainer, Explainer) else nullcontext(explainer)


def _check_run(config: ReportConfig) -> None:
    """Refuse a run that is not there before anything is made in its place."""
    run = None if config.run is None else Path(config.run)
    if run is not None and not run.is_dir():
        kind = "a file, not a folder" if run.exists() else "no such folder"
        raise CheckpointError(kind, where=run, remedy="Give the folder of a run.")


def _default_out(config: ReportConfig) -> Path:
    if config.run is not None:
        return Path(config.run) / "report.html"
    return Path(str(config.predictions)).with_suffix(".html")


def _gather(
    config: ReportConfig, inference: InferenceConfig, device: str, progress: bool
) -> tuple[Findings, Explainer | Explain | None]:
    run = None if config.run is None else Path(config.run)
    if config.predictions is not None:
        return _of_predictions(config, run, inference, device)
    assert run is not None
    if is_crossval(run):
        if config.root is not None or config.split is not None:
            raise ConfigError(
                "a cross-validation is evaluated on the images that it held out",
                where="--data.root or --split",
                remedy="Leave them out.",
            )
        return crossval_findings(run), None
    return _of_run(config, run, inference, device, progress)


def _of_run(
    config: ReportConfig, run: Path, inference: InferenceConfig, device: str, progress: bool
) -> tuple[Findings, Explainer | Explain | None]:
    explainer: Explainer | Explain | None
    model, lost = _model_of(run, device)
    asked = None if model is None else model.config
    manifest, split, _ = run_images(
        run, config.root, config.split, asked, preferred=("test", "val"), files_required=False
    )
    name = split if config.root is None else None
    known = caution(split) if config.root is None else None
    notes = [known] if known else []
    if model is None:
        kept = None
        if name is not None and (len(manifest.classes) > 1 or manifest.target != "classes"):
            kept = kept_predictions(run, manifest, name)
        if kept is None:
            assert lost is not None
            raise lost
        notes.append(
            f"The predictions are those kept by an earlier report, because the model is gone: {lost}"
        )
        target, predictions, explainer = manifest.kind(), kept, saved_explanations(run, None)
    else:
        target = target_of(model.config)
        manifest = manifest.with_classes(target.names)
        predictions = predictions_of(run, manifest, model, inference, name, progress=progress)
        explainer = _explainer(run, model, inference)
    evaluated = f"{len(manifest)} images" if split == "all" else f"{len(manifest)} {_SPLITS[split]} images"
    findings = Findings(
        title=run.resolve().name,
        target=target,
        answers=answers_of(predictions, manifest),
        evaluated=evaluated if config.root is None else f"{evaluated} of {config.root}",
        origin=origin_of_run(run, target),
        notes=tuple(notes),
    )
    return findings, explainer


def _model_of(run: Path, device: str) -> tuple[Classifier | None, CheckpointError | None]:
    """The model of a run, or why there is none."""
    try:
        return load_model(run, device), None
    except CheckpointError as error:
        return None, error


_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def _of_predictions(
    config: ReportConfig, run: Path | None, inference: InferenceConfig, device: str
) -> tuple[Findings, Explainer | Explain | None]:
    path = Path(str(config.predictions))
    model = None if run is None else load_model(run, device)
    labels = config.labels
    target, answers = read_predictions(
        path,
        None if labels is None else partial(read_truth, labels),
        None if model is None else target_of(model.config),
    )
    if not answers:
        raise DataError("no prediction is listed", where=path, remedy="Give a file with one row per image.")
    findings = Findings(
        title=path.stem if run is None else run.resolve().name,
        target=target,
        answers=answers,
        evaluated=f"{len(answers)} images of {path.name}",
    )
    if run is not None:
        findings = replace(findings, origin=origin_of_run(run, target))
    return findings, None if run is None or model is None else _explainer(run, model, inference)


def _explainer(run: Path, model: Classifier, inference: InferenceConfig) -> Explainer | None:
    """Baselines other than ats explain nothing."""
    return Explainer(run, model, inference) if model.explains else None


def _annotated(findings: Findings, most: int) -> Sequence[Answer]:
    """Images that name an annotation and have an answer; where there are more, some of them by lot."""
    there = [
        a
        for a in findings.answers
        if a.probabilities and a.record is not None and (a.record.annotation or a.record.mask)
    ]
    return there if len(there) <= most else random.Random(0).sample(there, most)
