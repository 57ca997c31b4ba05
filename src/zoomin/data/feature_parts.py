"""Join the folders that the jobs of `zoomin data features --shard` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..files import cell, unquoted, write_csv
from ..runtime.ledger import read_lines
from ..runtime.locks import lock_folder
from ..runtime.parts import check_all_there, join_tables, link_file
from .feature_extraction import TABLE, EncodedImage, row_of

__all__ = ["merge_features"]

_COMMAND = "zoomin data features"


def merge_features(parts: Sequence[str | Path], out: str | Path) -> list[EncodedImage]:
    """Put the features of the parts of a list into one folder; files are linked where that can be.

    Args:
        parts: folders that `encode_images` wrote for the shards of a list, the first one first.
        out: the folder of the whole list.

    Returns:
        What became of each image, in the order of the list.

    Raises:
        DataError: if a part is missing or incomplete, an image or the name of a file is in two, or they were
            made with other settings.
        WriteError: if the folder cannot be written to, or another job writes to it.
    """
    folders = [Path(part) for part in parts]
    check_all_there(folders, _COMMAND)
    tables = [folder / TABLE for folder in folders]
    header, *lines = join_tables(tables, _COMMAND, ("image", "file", "crops", "status", "error"))
    place = header.index("file")
    rows = [row_of(line) for line in lines]
    own = {unquoted(line[0]): table.parent for table in tables for line in read_lines(table)}
    with lock_folder(out):
        files: dict[str, str] = {}
        for row, line in zip(rows, lines, strict=True):
            if row.status == "error":
                continue
            name = Path(row.file).name
            if name in files:
                raise DataError(
                    f"{files[name]} and this image share a file of features",
                    where=row.image,
                    remedy="Rename one of them, and make its part again.",
                )
            files[name] = row.image
            target = Path(out).resolve() / name
            link_file(own[row.image] / name, target)
            line[place] = str(cell(str(target)))
        write_csv(Path(out) / TABLE, header, lines, exact=True)
    return rows
