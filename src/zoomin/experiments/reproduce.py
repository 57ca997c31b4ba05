"""Run an experiment of the paper, or resume it, and write its table and figure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from ..data.config import DataConfig
from ..data.find import open_dataset
from ..data.manifest import Manifest
from ..errors import ConfigError, ZoomInError
from ..files import plain, write_text
from ..progress import Bar, progress_bar
from ..training.config import RunConfig
from ..training.folds import deal_folds
from ..training.recipe import planned_recipe, read_recipe, recipe_model
from .all import EXPERIMENTS
from .crops import with_crops
from .data_sources import SOURCES, make_ready
from .experiment import PLANNED, Changes, Experiment, Outcome, Scale, Setting, Trial
from .result_tables import write_tables
from .trials import Job, error_of, note_error, read_trial, run_trial

__all__ = ["Reproduced", "ReproductionConfig", "reproduce"]

_MINI_FOLDS = 2
_FOLDS = 10  # where the authors' are not there


@dataclass(frozen=True)
class ReproductionConfig:
    """What of an experiment to run, and how."""

    scale: Scale = "mini"
    """Choose "mini": a miniature with made-up images, in a minute; "paper": the real data, all
    hyper-parameters of the paper."""

    data: str | None = None
    """Folder of the download, or of a data set prepared before; if an experiment needs several data sets, a
    folder with one folder each, named as for `zoomin reproduce`."""

    out: str | None = None
    """Folder for all output; by default reproduced/NAME-SCALE."""

    only: tuple[str, ...] = ()
    """Settings to run now; by default all."""

    seed: tuple[int, ...] = ()
    """Seeds to run now; by default all of the experiment."""

    fold: tuple[int, ...] = ()
    """Folds to run now, counted from 1; by default all."""

    epochs: int | None = None
    """Epochs instead of the recipes'; a setting of fewer keeps its own. The table says so."""

    set: tuple[str, ...] = ()
    """Changes of every recipe, NAME=VALUE."""

    prepare: tuple[str, ...] = ()
    """Settings of the preparation of the data, NAME=VALUE, such as canvas=512."""

    partial: bool = False
    """Continue if parts of a download are missing."""

    gather: bool = False
    """Run nothing: write the table and figure of the finished trainings."""


@dataclass(frozen=True)
class Reproduced:
    """What was written.

    Attributes:
        folder: of table.md, table.csv, table.json, figure.png, figure.svg and config.yaml.
        outcomes: a row a setting.
    """

    folder: Path
    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> dict[str, str]:
        """Errors of trainings, by name."""
        return {name: error for outcome in self.outcomes for name, error in outcome.failed.items()}


def reproduce(name: str, plan: ReproductionConfig | None = None, *, progress: bool = False) -> Reproduced:
    """Run an experiment of the paper.

    Trainings that are done stay in OUT/runs and are not run again, interrupted ones resume; one that fails is
    recorded, and the others continue. Table and figure are written of all that are done, whoever ran them.

    Args:
        name: key of `EXPERIMENTS`.
        plan: what to run, and how.
        progress: show a progress bar.

    Raises:
        ConfigError: if the experiment, a setting or a change is not known.
        DataError: if a data set that all settings need is not there.
        CheckpointError: if the folder holds trainings with other settings.
    """
    plan = plan or ReproductionConfig()
    if name not in EXPERIMENTS:
        raise ConfigError(
            f"unknown experiment {name!r}", where="NAME", remedy=f"Choose one of {', '.join(EXPERIMENTS)}."
        )
    bench = _Bench(EXPERIMENTS[name], plan, Path(plan.out or f"reproduced/{name}-{plan.scale}"))
    rows = [bench.row(setting) for setting in bench.experiment.settings if bench.takes(setting)]
    chosen = bench.chosen(rows)
    left = [job for job in chosen if read_trial(job) is None]
    bench.write_config(rows)
    if not plan.gather:
        epochs, rest = (sum(job.run.train.epochs for job in jobs) for jobs in (chosen, left))
        title = f"{name}: {len(chosen)} trainings, epochs"
        with progress_bar(title, epochs, done=epochs - rest, shown=progress) as bar:
            for job in left:
                bar.show(note=job.trial.name)
                _run(job, bench.manifests[job.run.data.root], bar)
    outcomes = tuple(_outcome(row, not plan.only or row.setting.name in plan.only) for row in rows)
    write_tables(bench.out, bench.experiment, outcomes, plan.scale)
    figure = bench.experiment.draw([outcome for outcome in outcomes if outcome.to_show])
    if plan.scale == "mini":
        figure.text(0.005, 0.005, "miniature: made-up images, few epochs", fontsize=7, color="0.5")
    for kind in ("png", "svg"):
        figure.savefig(bench.out / f"figure.{kind}")
    return Reproduced(bench.out, outcomes)


@dataclass(frozen=True)
class _Row:
    """A setting with all its trainings; `error` says why there can be none."""

    setting: Setting
    run: RunConfig
    jobs: tuple[Job, ...]
    error: str | None
    folder: Path


class _Bench:
    """Reads recipes, makes data sets ready, lays out the trainings."""

    def __init__(self, experiment: Experiment, plan: ReproductionConfig, out: Path) -> None:
        self.experiment, self.plan, self.out = experiment, plan, out
        self.manifests: dict[str, Manifest] = {}
        self._roots: dict[str, Path | ZoomInError] = {}
        names = [setting.name for setting in experiment.settings]
        if unknown := sorted(set(plan.only) - set(names)):
            raise ConfigError(
                f"unknown settings {', '.join(unknown)}",
                where="--only",
                remedy=f"Choose from {', '.join(names)}.",
            )
        out.mkdir(parents=True, exist_ok=True)

    def takes(self, setting: Setting) -> bool:
        """Whether a setting takes part at this scale."""
        return setting.in_mini or self.plan.scale == "paper" or setting.name in self.plan.only

    def row(self, setting: Setting) -> _Row:
        """A setting with its trainings."""
        changes = self._changes(setting)
        folder = self.out / "runs" / setting.name
        try:
            root = self._root(setting)
        except ZoomInError as error:
            is_main = setting.data_set in ("", self.experiment.data_set)
            if is_main and (not self.plan.only or setting.name in self.plan.only):
                raise  # nothing could be run at all
            run = _run_of(setting, {**changes, "data.root": "."})
            return _Row(setting, run, (), str(error), folder)
        run = _run_of(setting, {**changes, "data.root": str(root)})
        is_frozen = setting.recipe == PLANNED or run.train.freeze_trunks is True
        if is_frozen and run.frozen.cache is None:  # where all trainings find what the trunk sees
            run = replace(run, frozen=replace(run.frozen, cache=str(self.out / "features")))
        folds = self._folds(setting, run.data)
        seeds = (0,) if self.plan.scale == "mini" else self.experiment.seeds
        seeds = tuple(dict.fromkeys((*seeds, *self.plan.seed)))
        places = range(1, len(folds) + 1) if folds else (0,)
        trials = [Trial(setting, seed, fold) for seed in seeds for fold in places]
        brief = self.plan.scale == "mini"
        jobs = [Job(trial, run, folder, folds, self.experiment.measures, brief) for trial in trials]
        return _Row(setting, run, tuple(jobs), None, folder)

    def chosen(self, rows: Sequence[_Row]) -> list[Job]:
        """The trainings that were asked for."""
        plan = self.plan
        return [
            job
            for row in rows
            for job in row.jobs
            if (not plan.only or job.trial.setting.name in plan.only)
            and (not plan.seed or job.trial.seed in plan.seed)
            and (not plan.fold or not job.trial.fold or job.trial.fold in plan.fold)
        ]

    def write_config(self, rows: Sequence[_Row]) -> None:
        """Write the configuration of every setting, the data set by its folder's name."""
        settings = {}
        for row in rows:
            settings[row.setting.name] = plain(replace(row.run, resume=False))
            settings[row.setting.name]["data"]["root"] = Path(row.run.data.root).name
            del settings[row.setting.name]["out"]
        plan = {**plain(self.plan), "data": self.plan.data and Path(self.plan.data).name}
        plan.pop("out")
        whole = {"experiment": self.experiment.name, "plan": plan, "settings": settings}
        write_text(self.out / "config.yaml", yaml.safe_dump(whole, sort_keys=False))

    def _changes(self, setting: Setting) -> dict[str, Any]:
        mini = self.plan.scale == "mini"
        source = SOURCES[self.experiment.data_of(setting)]
        model = _model_settings(setting, dict(source.mini)) if mini else {}
        changes = {
            **setting.changes,
            **model,
            **(setting.mini if mini else {}),
            **_pairs(self.plan.set, "--set"),
        }
        if self.plan.epochs is not None:
            own = setting.changes.get("train.epochs", self.plan.epochs)
            changes["train.epochs"] = min(self.plan.epochs, own)
        return changes

    def _root(self, setting: Setting) -> Path:
        """The data set of a setting, prepared once."""
        name = self.experiment.data_of(setting)
        key = name if setting.crops is None else f"{name}-crops"
        if key not in self._roots:
            try:
                self._roots[key] = self._prepared(name, setting)
            except ZoomInError as error:
                self._roots[key] = error
        found = self._roots[key]
        if isinstance(found, ZoomInError):
            raise found
        return found

    def _prepared(self, name: str, setting: Setting) -> Path:
        given = Path(self.plan.data) if self.plan.data else None
        names = SOURCES[name].folders(name)
        if found := [given / own for own in names if given is not None and (given / own).is_dir()]:
            given = found[0]
        elif name != self.experiment.data_set:
            given = None
        options = _pairs(self.plan.prepare, "--prepare") if name == self.experiment.data_set else {}
        root = make_ready(name, self.plan.scale, self.out / "data" / name, given, options, self.plan.partial)
        if setting.crops is not None:
            root = with_crops(root, self.out / "data" / f"{name}-crops", *setting.crops)
        return root

    def _folds(self, setting: Setting, config: DataConfig) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The folds of the data set, none where it has a test split."""
        if config.root not in self.manifests:
            self.manifests[config.root] = open_dataset(config.root, classes=config.classes)
        manifest = self.manifests[config.root]
        if not SOURCES[self.experiment.data_of(setting)].folds:
            return [_test_fold(manifest)] if self.experiment.learns_from_all else []
        if self.plan.scale == "mini":
            return deal_folds(manifest, config, _MINI_FOLDS)
        beside = Path(self.plan.data or config.root)
        places = [p / "colon_cancer_folds" for p in (beside, beside.parent, beside.parent.parent)]
        found = next((str(place) for place in places if place.is_dir()), None)
        return deal_folds(manifest, config, "authors" if found else _FOLDS, folds_dir=found)


def _test_fold(manifest: Manifest) -> tuple[torch.Tensor, torch.Tensor]:
    """The images to learn from, those of a validation split among them, and the test images."""
    is_test = torch.tensor([record.split == "test" for record in manifest])
    return (~is_test).nonzero()[:, 0], is_test.nonzero()[:, 0]


def _run_of(setting: Setting, changes: Changes) -> RunConfig:
    """A setting's run; of one that is planned and whose images are missing, the default."""
    if setting.recipe != PLANNED:
        return read_recipe(setting.recipe, changes)
    return RunConfig(DataConfig(".")) if changes["data.root"] == "." else planned_recipe(changes)


def _model_settings(setting: Setting, mini: dict[str, Any]) -> dict[str, Any]:
    """Without the settings of Zoom-In's model where the setting is of a baseline, or planned."""
    if setting.recipe == PLANNED:
        return {}
    baseline = recipe_model(setting.recipe, setting.changes) is not None
    return {key: value for key, value in mini.items() if not (baseline and key.startswith("model."))}


def _run(job: Job, manifest: Manifest, bar: Bar) -> None:
    """A training, its error recorded."""
    done = bar.done
    try:
        run_trial(job, manifest, bar.advance)
    except (ZoomInError, RuntimeError, ValueError, OSError) as error:
        note_error(job, error)
        print(f"{job.trial.name}: {error}", file=sys.stderr)
    bar.advance(done + job.run.train.epochs - bar.done)


def _outcome(row: _Row, wanted: bool) -> Outcome:
    """What there is of a setting; that its data set is missing is reported where it was wanted."""
    results, failed = [], {}
    for job in row.jobs:
        if (result := read_trial(job)) is not None:
            results.append(result)
        elif (error := error_of(job)) is not None:
            failed[job.trial.name] = error
    if row.error is not None and wanted:
        failed[row.setting.name] = row.error
    planned = max(1, len(row.jobs))
    return Outcome(row.setting, results, planned, failed, row.run.train.epochs, row.folder)


def _pairs(words: Sequence[str], where: str) -> dict[str, Any]:
    """NAME=VALUE as a dictionary, values as YAML reads them.

    Raises:
        ConfigError: if a word is not such a pair.
    """
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise ConfigError(
                f"{word!r} is not NAME=VALUE", where=where, remedy="Write, for example, canvas=512."
            )
        found[name] = yaml.safe_load(value)
    return found
