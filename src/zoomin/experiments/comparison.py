"""The default of `zoomin train` against other methods: one trunk, the same images, seeds and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..metrics.intervals import wilson
from .columns import COLUMNS
from .experiment import PLANNED, Changes, Experiment, Outcome, Setting
from .figures import COLOURS, new_figure, nothing, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COMPARISON"]

_FROZEN = "gated_abmil"  # the recipe whose trunk, images and training all baselines share
_TRUNK: Changes = {
    "model.features": "timm:tf_efficientnet_lite0",
    "model.pretrained": True,
    "model.mean": [0.5, 0.5, 0.5],
    "model.std": [0.5, 0.5, 0.5],
    "model.chunk_size": 32,
}
_METHODS: Mapping[str, tuple[str, str, Changes]] = {
    "zoom-in": ("default of zoomin train", PLANNED, {}),
    "all-read": ("the same, attention not taught, all sub-tiles read", PLANNED, {"frozen.teach": False}),
    "cnn": (
        "CNN, image shrunk to 448, frozen trunk",
        _FROZEN,
        {"model.name": "cnn", "model.side": 448, "train.learning_rate": 1e-2},
    ),
    "gated": ("gated attention, all crops", _FROZEN, {}),
    "clam": ("CLAM, all crops", _FROZEN, {"model.name": "clam"}),
    "abmilx": ("ABMILX, all crops", _FROZEN, {"model.name": "abmilx", "model.mlp": False}),
    "ips": ("IPS, M = 10, frozen trunk", _FROZEN, {"model.name": "ips", "train.learning_rate": 3e-4}),
    "cnn-tuned": (
        "CNN, image shrunk to 448, learned end to end",
        _FROZEN,
        {"model.name": "cnn", "model.side": 448, "train.freeze_trunks": False, "train.learning_rate": 1e-4},
    ),
}
_BRIEF: Changes = {"frozen.copies": 1, "frozen.fold_copies": 1, "frozen.folds": 2, "frozen.epochs": 2}
_MINI: Mapping[str, Changes] = {  # one small network, so that a miniature takes a minute
    "zoom-in": _BRIEF,
    "all-read": _BRIEF,
    "cnn": {"model.side": 64},
    "cnn-tuned": {"model.side": 64},
    "gated": {"model.crop_size": 112},
    "clam": {"model.crop_size": 112, "model.width": 32, "model.hidden": 16},
    "abmilx": {"model.crop_size": 112, "model.width": 32, "model.heads": 4},
    "ips": {"model.tile_size": 112, "model.memory": 2, "model.scanned": 4},
}
_TASKS = {
    "colon-cancer": "colon cancer",
    "gtsdb-any": "German road scenes, any sign",
    "gtsdb": "German road scenes, four classes",
    "hei-med": "fundus photographs, exudates",
    "deep-pcb": "circuit boards, defects",
}
_MARKERS = "os^DvPX*"  # of the methods, hollow, so that none hides another
_IN_MINI = "gtsdb-any"
_CROPS = {"colon-cancer": 250, "deep-pcb": 214}  # of all methods, pixels; else what the trunk was trained on
_TRUNKS_OWN = 224
_READ = {"gtsdb-any": 4, "gtsdb": 4, "hei-med": 16}  # so that the default reads a quarter of an image


def _setting(task: str, method: str) -> Setting:
    what, recipe, changes = _METHODS[method]
    own: dict[str, Any] = dict(changes)
    if recipe != PLANNED and "model.name" in changes:
        own = {**_TRUNK, **own}
    side = _CROPS.get(task, _TRUNKS_OWN)
    if recipe == PLANNED:
        own |= {"model.tile_size": side, "model.sub_tile_size": side}
        own |= {"model.n_samples": _READ[task]} if task in _READ else {}
    elif method == "ips":
        own["model.tile_size"] = side
    elif not method.startswith("cnn"):
        own["model.crop_size"] = side
    own["data.resident"] = "never"  # pixels are read once, for the trunk
    mini = {"train.epochs": 2, "model.features": "lenet_released", "model.pretrained": False}
    if recipe == PLANNED:
        mini = {}
    return Setting(
        f"{task}-{method}",
        f"{_TASKS[task]}: {what}",
        recipe,
        own,
        {**mini, **_MINI[method]},
        data_set=task,
        in_mini=task == _IN_MINI,
    )


def _held_out(outcome: Outcome) -> int:
    """Images that a seed evaluates, in all folds together."""
    first = outcome.results[0]["seed"]
    return sum(result["n_held"] for result in outcome.results if result["seed"] == first)


def _draw(outcomes: Sequence[Outcome]) -> Figure:
    """Accuracy over the share of pixels that are read, with its interval over images; a panel per task."""
    tasks = [task for task in _TASKS if any(o.setting.data_set == task and o.results for o in outcomes)]
    figure = new_figure(4.6 * max(1, len(tasks)), 4.4)
    panels = figure.subplots(1, max(1, len(tasks)), squeeze=False, sharex=True, sharey=True)[0]
    for axes, task in zip(panels, tasks, strict=False):
        for place, (method, (what, *_)) in enumerate(_METHODS.items()):
            for outcome in outcomes:
                if outcome.setting.name != f"{task}-{method}":
                    continue
                share, accuracy = (COLUMNS[name].measure(outcome) for name in ("read", "accuracy"))
                if share is not None and accuracy is not None:
                    style = {"fmt": _MARKERS[place], "color": COLOURS[place], "mfc": "none", "label": what}
                    low, high = wilson(accuracy.mean / 100, _held_out(outcome))
                    around = [[accuracy.mean - 100 * low], [100 * high - accuracy.mean]]
                    axes.errorbar(share.mean, accuracy.mean, yerr=around, lw=0.8, **style)
        axes.set_title(_TASKS[task], fontsize=9)
        axes.set_xlabel("pixels read, % of the image")
        axes.set_xlim(0, None)
        tidy(axes, "both")
    panels[0].set_ylabel("accuracy, % (95 % interval over images)")
    if tasks:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=8)
    else:
        nothing(panels[0])
    return figure


COMPARISON = Experiment(
    name="comparison",
    title="The default of zoomin train against what people use today",
    source="EfficientNet-Lite0 with ImageNet weights as the trunk of all",
    data_set=_IN_MINI,
    settings=tuple(_setting(task, method) for task in _TASKS for method in _METHODS),
    columns=(
        "accuracy",
        "balanced_accuracy",
        "auroc",
        "pooled_auroc",
        "read",
        "decoded",
        "train_cpu",
        "predict_cpu",
        "peak_rss",
    ),
    draw=_draw,
    seeds=(0, 1, 2, 3, 4),
    measures=("prediction",),
    notes=(
        "Nothing is chosen on the images evaluated: last epoch, epochs fixed beforehand, all settings the "
        "same on every task. All methods see the same crops: 224 pixels, what the trunk was pretrained on; "
        "250 and 214 on the small images of colon cancer and circuit boards.",
        "Where a data set has a test split, it is evaluated once, and all other images are learned from.",
        "Pixels read are those of all views that networks saw; pixels decoded those of the stored blocks "
        "that hold them: all of a file that has no blocks, such as JPEG.",
        "AUROC is a mean over folds where there are folds; pooled it ranks the held-out images of all folds "
        "together. Where a data set has a test split, the two are one.",
        "CPU seconds of training are those of learning and of what the trunk made of the training images, "
        "which all methods share; of prediction, a mean over four images, from their files, by PyTorch. Peak "
        "is the memory of the whole process.",
        "The trunk is frozen but for the CNN that is learned end to end.",
    ),
    learns_from_all=True,
)
