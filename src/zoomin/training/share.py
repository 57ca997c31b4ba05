"""Share a model: a folder that says what it is, or a repository on the Hugging Face hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .._version import __version__
from ..classifiers import Classifier, load_model
from ..errors import ConfigError, WriteError
from ..files import markdown_table, read_json, write_json, write_text
from ..images.image import reader_words
from ..model.hub import CARD, TRAINING, hub_model, push
from ..model.storage import model_fingerprint
from ..model.targets import score_names
from ..runtime.extras import install
from .recipe_files import load_recipe

__all__ = ["share"]

_SECTIONS = ("train", "frozen")  # of a run's settings; those of its data may name people and places
_NAMING = ("skipped", "failed", "no_foreground")  # of its metrics: these list images


def share(model: str | Path, to: str | Path, *, private: bool = True) -> str:
    """Write a trained model with a card and a summary of its training into a folder or to the hub.

    Weights (safetensors), settings and classes are those of the model. The summary gives scores, numbers of
    images and settings of training, and no name of an image or a folder.

    Args:
        model: a run folder, or that of a model.
        to: a new or empty folder, or "hf://USER/NAME", with "@BRANCH" for another branch than main.
        private: whether a new repository is.

    Returns:
        The folder, or the address of the commit on the hub.

    Raises:
        CheckpointError: if there is no model, or the hub refuses.
        ConfigError: if the folder holds something, or the address is none.
        WriteError: if it is a file, or cannot be written to.
    """
    target = hub_model(to)
    if hub_model(model) is not None:
        raise ConfigError("this model is shared already", where=model, remedy="Give a folder.")
    net = load_model(model)
    if target is None:
        folder = Path(to)
        if folder.exists() and not folder.is_dir():
            raise WriteError("a file, not a folder", where=folder, remedy="Give a new folder.")
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError("the folder is not empty", where=folder, remedy="Give a new folder.")
        _write(net, Path(model), folder, str(to))
        return str(to)
    with tempfile.TemporaryDirectory() as name:
        _write(net, Path(model), Path(name), str(target))
        return str(push(Path(name), target, private=private))


def _write(net: Classifier, model: Path, folder: Path, address: str) -> None:
    """The files of a model. Its settings come from it: those of the run may name files of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    net.save_pretrained(folder)
    known = model / TRAINING
    summary = read_json(known) or _summary(model)
    write_json(folder / TRAINING, summary)
    write_text(folder / CARD, _card(net, summary, address))


def _summary(run: Path) -> dict[str, Any]:
    """What a run folder says of the training; little of a folder that holds a model alone."""
    config = run / "config.yaml"
    settings = load_recipe(config) if config.is_file() else {}
    software = read_json(run / "versions.json")
    return {
        "zoomin": software.get("zoomin", __version__),
        "packages": software.get("packages", {}),
        "images": {name: len(images) for name, images in read_json(run / "splits.json").items()},
        "seed": settings.get("seed"),
        "settings": {name: _plain(settings.get(name) or {}) for name in _SECTIONS if name in settings},
        "metrics": _anonymous(read_json(run / "metrics.json")),
    }


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that name no file."""
    return {
        name: _plain(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if not (isinstance(value, str) and ("/" in value or "\\" in value))
    }


def _anonymous(metrics: Any) -> Any:  # noqa: ANN401 (JSON)
    """Metrics without names of images."""
    if isinstance(metrics, dict):
        return {name: _anonymous(value) for name, value in metrics.items() if name not in _NAMING}
    return metrics


def _card(net: Classifier, summary: Mapping[str, Any], address: str) -> str:
    """The README.md of a model: what it is, how to use it, how it was trained."""
    from huggingface_hub import ModelCardData

    tags = ["zoomin", "whole-slide-imaging", "attention-sampling", "multiple-instance-learning"]
    data = ModelCardData(library_name="zoomin", pipeline_tag="image-classification", tags=tags)
    name = address.removeprefix("hf://").rpartition("/")[2].partition("@")[0] or "model"
    lines = ["---", data.to_yaml(), "---", "", f"# {name}", "", *_about(net, summary), "", "## Use", ""]
    lines += ["```sh", install("all"), f"zoomin predict IMAGES --run {address}", "```", ""]
    lines += ["```python", "import zoomin", "", f"model = zoomin.load_model({address!r})"]
    lines += ['rows = zoomin.predict(["image.tif"], model)', "```", "", *_training(summary)]
    lines += ["", "Research software: its answers are not a diagnosis."]
    return "\n".join(lines) + "\n"


def _about(net: Classifier, summary: Mapping[str, Any]) -> Iterator[str]:
    config = net.config
    kind = "Zoom-In" if net.zooms else type(net).__name__
    what = "A classifier" if config.target == "classes" else "A model"
    yield f"{what} of very large images ({kind}, zoomin {summary['zoomin']})."
    yield ""
    yield f"- {config.target}: {', '.join(config.classes)}"
    mpp = config.resolution
    yield "- resolution: " + (f"{mpp:g} microns per pixel" if mpp else "full resolution of the images")
    for setting, text in {"tile_size": "tiles", "sub_tile_size": "sub-tiles"}.items():
        if side := getattr(config, setting, None):
            yield f"- {text}: {side} pixels at full resolution"
    yield f"- fingerprint: `{model_fingerprint(net, config)}`"
    if readers := getattr(net, "readers", ()):
        yield f"- training images were decoded by: {', '.join(map(reader_words, readers))}"


def _training(summary: Mapping[str, Any]) -> Iterator[str]:
    yield "## Training"
    yield ""
    if images := summary["images"]:
        yield "Images: " + ", ".join(f"{count} {name}" for name, count in images.items()) + "."
    scores = {name: values for name, values in summary["metrics"].items() if _scored(values)}
    if scores:
        found = score_names(set().union(*scores.values()))
        yield ""
        rows = ([part, *(_score(values, name) for name in found)] for part, values in scores.items())
        yield from markdown_table(["images", *found.values()], rows, numbers=True)
    yield ""
    if scores:
        yield "In brackets: 95 % intervals."
    yield f"Settings, software and all scores: `{TRAINING}`."


def _score(values: Mapping[str, Any], name: str) -> str:
    """A score with its 95 % interval.

    Example:
        >>> _score({"accuracy": 0.9, "accuracy_interval": [0.85, 0.94]}, "accuracy")
        '0.900 (0.850 to 0.940)'
    """
    value, interval = values.get(name), values.get(f"{name}_interval")
    if not _number(value):
        return ""
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _scored(values: object) -> bool:
    return isinstance(values, dict) and any(_number(values.get(name)) for name in score_names(values))


def _number(value: object) -> bool:
    return isinstance(value, int | float)
