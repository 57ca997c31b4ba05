"""Convert features between the layouts of toolkits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ConfigError, WriteError
from ..model.feature_files import feature_path, read_features
from ..model.feature_stores import find_store, split_table
from ..runtime.faults import Faults, image_error
from ..runtime.locks import lock_folder
from .feature_extraction import EncodedImage
from .feature_layouts import LAYOUTS, Slide, write_layout
from .manifest import Record
from .opening import open_record

__all__ = ["convert_features"]


def convert_features(
    records: Sequence[Record],
    folder: str | Path,
    out: str | Path,
    layout: str,
    *,
    crop_size: float | None = None,
    network: str = "zoomin",
) -> Iterator[EncodedImage]:
    """Write the features of every image in the layout of another toolkit.

    Args:
        records: the images; their microns per pixel convert coordinates between pixels and microns.
        folder: of the features, in any layout; "FOLDER@TABLE" for stores of several networks.
        out: where the files go; those that are there are replaced.
        layout: one of `LAYOUTS`.
        crop_size: side of a crop in level-0 pixels, where the files do not tell it.
        network: name of the network that made the features, which some layouts tell.

    Raises:
        ConfigError: if the layout is unknown, or `out` is `folder`.
        WriteError: if the folder cannot be written to, or another job writes to it.
        Exception: an unexpected error that many images fail with, one after another: see `Faults`.
    """
    if layout not in LAYOUTS:
        raise ConfigError(
            f"unknown layout {layout!r}", where="to", remedy=f"Choose one of {', '.join(LAYOUTS)}."
        )
    source, table = split_table(folder)
    if source.resolve() == Path(out).resolve():
        raise ConfigError(
            "the features would replace those that they come from",
            where="out",
            remedy="Give another folder.",
        )
    with lock_folder(out):
        yield from _convert(records, source, table, Path(out), layout, crop_size, network)


def _convert(
    records: Sequence[Record],
    source: Path,
    table: str | None,
    out: Path,
    layout: str,
    crop_size: float | None,
    network: str,
) -> Iterator[EncodedImage]:
    faults = Faults()
    for record in records:
        try:
            image = open_record(record)
            path = find_store(source, record.image) or feature_path(source, record.image)
            found = read_features(path, mpp=image.mpp, table=table)
            if crop_size is not None:
                found = found._replace(side=crop_size)
            slide = Slide(record.image.absolute(), image.width, image.height, image.mpp, network)
            written = write_layout(layout, out, slide, found)
        except WriteError:
            raise
        except Exception as error:
            failure = image_error(error, record.image)
            faults.note(failure)
            yield EncodedImage(str(record.image), status="error", error=str(failure))
        else:
            faults.note(None)
            yield EncodedImage(str(record.image), str(written), len(found.features))
