"""What an experiment is: its settings, the published numbers, and the figure of what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

__all__ = [
    "PLANNED",
    "PRETRAINED_TRUNKS",
    "Changes",
    "Experiment",
    "Outcome",
    "Scale",
    "Setting",
    "Spread",
    "Trial",
]

Scale = Literal["mini", "paper"]
Changes = Mapping[str, Any]
PLANNED = ""  # instead of a recipe: what `zoomin plan` makes of the images
PRETRAINED_TRUNKS: Changes = {  # their ImageNet weights come with a package
    "model.tile_attention": "timm:tf_efficientnet_lite0",
    "model.position_attention": "timm:tf_efficientnet_lite0",
    "model.features": "timm:tf_efficientnet_lite0",
    "model.pretrained": True,
}


@dataclass(frozen=True)
class Setting:
    """A row of an experiment's table: a recipe, and what is changed in it.

    Attributes:
        name: short, for files and for `--only`.
        what: a description.
        recipe: name of the recipe; or `PLANNED`.
        changes: of the recipe's settings, such as {"model.n_samples": 5}.
        mini: further changes in a miniature.
        published: the paper's numbers by column (`columns.COLUMNS`), accuracies in percent.
        data_set: key of `data_sources.SOURCES`; by default the experiment's.
        in_mini: whether it runs in a miniature without being named by `--only`.
        crops: share of training images that are replaced by crops around their ROI, and their side in level-0
            pixels; none by default.
    """

    name: str
    what: str
    recipe: str
    changes: Changes = field(default_factory=dict)
    mini: Changes = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    data_set: str = ""
    in_mini: bool = True
    crops: tuple[float, int] | None = None


@dataclass(frozen=True)
class Trial:
    """One training of an experiment.

    Attributes:
        setting: which row it belongs to.
        seed: among those repeated.
        fold: from 1; 0 where the data set has a test split.
    """

    setting: Setting
    seed: int
    fold: int = 0

    @property
    def name(self) -> str:
        """Of its files."""
        fold = f"_fold{self.fold:02d}" if self.fold else ""
        return f"{self.setting.name}/seed{self.seed}{fold}"


@dataclass(frozen=True)
class Spread:
    """A number measured once per seed.

    Attributes:
        seeds: the value of each seed, a mean over its folds.
        digits: after the point, in tables.
    """

    seeds: tuple[float, ...]
    digits: int = 1

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.seeds)

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds, None for one."""
        return stdev(self.seeds) if len(self.seeds) > 1 else None

    def __str__(self) -> str:
        """The mean, and the standard deviation where there is one.

        Example:
            >>> str(Spread((90.0, 94.0))), str(Spread((1.5,), 2))
            ('92.0 ± 2.8', '1.50')
        """
        text = f"{self.mean:.{self.digits}f}"
        return text if self.sd is None else f"{text} ± {self.sd:.{self.digits}f}"


@dataclass(frozen=True)
class Outcome:
    """What came out of one setting.

    Attributes:
        setting: the row.
        results: of its finished trainings; see `trials.run_trial`.
        planned: number of trainings of the whole row.
        failed: errors of trainings that failed, by the name of the trial.
        epochs: of each training.
        folder: of the setting's runs.
    """

    setting: Setting
    results: Sequence[dict[str, Any]]
    planned: int
    failed: Mapping[str, str]
    epochs: int
    folder: Path

    @property
    def to_show(self) -> bool:
        """Whether there is anything to tell of it: results, errors, published numbers."""
        return bool(self.results or self.failed or self.setting.published)

    def by_seed(self, value: Callable[[dict[str, Any]], float | None], digits: int = 1) -> Spread | None:
        """A number of every training, averaged over the folds of a seed; None where it was never measured."""
        seeds: dict[int, list[float]] = {}
        for result in self.results:
            if (found := value(result)) is not None:
                seeds.setdefault(result["seed"], []).append(found)
        return Spread(tuple(fmean(values) for values in seeds.values()), digits) if seeds else None

    def curve(self, name: str) -> list[float]:
        """A number of every epoch, averaged over the trainings that have it."""
        rows = [[v for v in r["history"].get(name, []) if v is not None] for r in self.results]
        rows = [row for row in rows if row]
        return [fmean(column) for column in zip(*rows, strict=False)]


@dataclass(frozen=True)
class Experiment:
    """A table and a figure of the paper.

    Attributes:
        name: the word after `zoomin reproduce`.
        title: of the table.
        source: where in the paper.
        settings: the rows.
        columns: of the table, keys of `columns.COLUMNS`.
        draw: the figure of the outcomes.
        data_set: of the settings that do not name their own.
        seeds: of the full scale.
        measures: what is measured of each trained network, keys of `measures.MEASURES`.
        notes: what a reader of the table must know.
        learns_from_all: whether a test split is taken for the one fold, so that validation images are
            learned from and all methods are evaluated by the same steps.
    """

    name: str
    title: str
    source: str
    settings: tuple[Setting, ...]
    columns: tuple[str, ...]
    draw: Callable[[Sequence[Outcome]], Figure]
    data_set: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    measures: tuple[str, ...] = ("cost",)
    notes: tuple[str, ...] = ()
    learns_from_all: bool = False

    def data_of(self, setting: Setting) -> str:
        """Key of the data set of a setting."""
        return setting.data_set or self.data_set
