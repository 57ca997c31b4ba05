"""Join the folders that the jobs of `zoomin explain --shard` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError, DataError
from ..runtime.locks import lock_folder
from ..runtime.parts import check_all_there, dealt_back, link_file
from .index import Entry, Index, is_finished, read_index, write_index

__all__ = ["merge_explanations"]

_COMMAND = "zoomin explain"


def merge_explanations(parts: Sequence[str | Path], out: str | Path) -> Index:
    """Put the explanations of the parts of a list into one folder; files are linked where that can be.

    Args:
        parts: folders that `explain_into` wrote for the shards of a list, the first one first.
        out: the folder of the whole list.

    Returns:
        The list of all, in its order.

    Raises:
        ConfigError: if the parts are of different models or settings, or `out` is one of them.
        DataError: if a part is missing or incomplete, or an image is in two.
        WriteError: if the folder cannot be written to, or another job writes to it.
    """
    folders = [Path(part) for part in parts]
    check_all_there(folders, _COMMAND)
    indexes = [_read_part(folder) for folder in folders]
    for folder, index in zip(folders, indexes, strict=True):
        if folder.resolve() == Path(out).resolve():
            raise ConfigError("this is one of the parts", where=out, remedy="Give another --out.")
        index.check_model(indexes[0].model, folder)
    makers = {entry.made_from.split("-")[0] for index in indexes for entry in index.entries}
    if len(makers) > 1:
        raise ConfigError(
            "the parts were made with different settings", where=out, remedy="Make all parts with the same."
        )
    owned = [
        [(entry, folder) for entry in index.entries] for folder, index in zip(folders, indexes, strict=True)
    ]
    listed = dealt_back(owned, lambda one: one[0].image)
    with lock_folder(out):
        for entry, folder in listed:
            _link(entry, folder, Path(out))
        merged = Index(indexes[0].model, indexes[0].classes, tuple(entry for entry, _ in listed))
        write_index(merged, out)
    return merged


def _read_part(folder: Path) -> Index:
    index = read_index(folder)
    if not is_finished(folder):
        remedy = "Let its job end, or run the same command again with --resume true."
        raise DataError("it is not complete", where=folder, remedy=remedy)
    return index


def _link(entry: Entry, part: Path, out: Path) -> None:
    if entry.folder is None:
        return
    source = part / Path(entry.folder).name
    if not source.is_dir():
        raise DataError("this folder of a part is missing", where=source, remedy="Make this part again.")
    for path in sorted(source.rglob("*")):
        if path.is_file():
            link_file(path, out / source.name / path.relative_to(source))
