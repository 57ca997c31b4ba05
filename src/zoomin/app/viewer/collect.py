"""Which images to show: those that a run explained, or those that the user names."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ...data.manifest import Record, read_manifest
from ...errors import DataError, ZoomInError
from ...explanation.index import INDEX, Entry, Index, read_index
from ...model.storage import model_fingerprint
from .collection import Collection, ShownImage

__all__ = ["OTHER_MODEL", "collect"]

OTHER_MODEL = "These explanations are from another model than that of the run"


def collect(
    run: str | Path,
    images: Sequence[str] = (),
    *,
    explanations: str | Path | None = None,
    manifest: str | Path | None = None,
) -> Collection:
    """The images to show, with what was found out about each.

    Args:
        run: folder of the run.
        images: files, folders or glob patterns; by default all that are explained.
        explanations: folder that `zoomin explain` wrote; by default that of the run.
        manifest: a CSV with labels, annotations and MPP; by default that of the run.

    Raises:
        DataError: if there is no such run, nothing to show, or a list is damaged.
    """
    run = Path(run)
    if not run.is_dir():
        raise DataError("no such folder", where=run, remedy="Give --run the folder of a finished run.")
    folder = run / "explanations" if explanations is None else Path(explanations)
    index = _index(folder, run, needed=not images or explanations is not None)
    explained = {_key(one.image): one for one in index.entries}
    records = {_key(record.image): record for record in _records(run, manifest)}
    asked = _find(images) if images else [Path(key) for key in explained]
    entries = [_entry(path, folder, explained, records) for path in asked]
    return Collection(run, entries, _doubt(run, index))


def _doubt(run: Path, index: Index) -> str:
    """What to say where the explanations are not of the run's model; "" where they are, or nobody can say."""
    if not index.entries or not (run / "model").is_dir():
        return ""
    from ...classifiers import load_model

    try:
        model = load_model(run)
    except (ZoomInError, ImportError):  # explanations can be seen without the model
        return ""
    return "" if model_fingerprint(model, model.config) == index.model else OTHER_MODEL


def _find(images: Sequence[str]) -> list[Path]:
    from ...inference.sources import find_images, path_of

    return [path_of(image) for image in find_images(images)]


def _index(folder: Path, run: Path, *, needed: bool) -> Index:
    if not needed and not (folder / INDEX).is_file():
        return Index("", ())
    if not (folder / INDEX).is_file():
        raise DataError(
            "no image of this run has been explained yet",
            where=folder,
            remedy=_remedy(run),
        )
    index = read_index(folder)
    if not index.entries and needed:
        raise DataError("the list of explanations is empty", where=folder, remedy=_remedy(run))
    return index


def _remedy(run: Path) -> str:
    name = shlex.quote(str(run))
    return f"Explain its own: zoomin report --run {name}; or any: zoomin explain IMAGES --run {name}"


def _records(run: Path, manifest: str | Path | None) -> tuple[Record, ...]:
    """Images that have gone meanwhile are reported on the page, not here."""
    path = run / "manifest.csv" if manifest is None else Path(manifest)
    if manifest is None and not path.is_file():
        return ()
    return read_manifest(path, labels_required=False, files_required=False).records


def _entry(path: Path, folder: Path, explained: dict[str, Entry], records: dict[str, Record]) -> ShownImage:
    record, one = records.get(_key(path)), explained.get(_key(path))
    label = record.label if record else None
    return ShownImage(
        path=path,
        mpp=record.mpp if record else None,
        label=one.truth if one and one.truth else label,
        prediction=one.prediction if one else None,
        probability=one.probabilities.get(one.prediction) if one and one.prediction else None,
        names=() if one is None else tuple(one.probabilities),
        names_something=one is None or one.names_something,
        abstained=one is not None and bool(one.abstained),
        explanation=folder / one.folder if one and one.folder else None,
        annotation=record.annotation if record else None,
        mask=record.mask if record else None,
    )


def _key(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 (links stay)
