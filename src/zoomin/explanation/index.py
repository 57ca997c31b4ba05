"""A folder of explanations: one folder per image, and index.json that lists them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..files import parse_json, telling, write_json, write_text
from .evidence import Evidence

__all__ = [
    "INDEX",
    "Entry",
    "Index",
    "append_entry",
    "folder_name",
    "is_finished",
    "read_added",
    "read_index",
    "write_index",
]

INDEX = "index.json"
ADDED = f"{INDEX}.part"  # entries since it was written; until the end of the job, if none
SCHEMA, VERSION = "zoomin-explanations", 1


@dataclass(frozen=True)
class Entry:
    """One image of the list.

    Attributes:
        image: its path, or name.
        truth: its true class, None where unknown.
        prediction: the class of highest probability, or another answer in a word; None where it failed.
        probabilities: of each class, or the one number; empty where the image failed.
        standard_error: of the predicted class's probability; None where the image failed or nothing gives it.
        folder: of its explanation, below that of the index; None where the image failed.
        status: "ok" or "error".
        error: why the image failed.
        warning: what could not be done for an image that was explained.
        made_from: which settings and which file, in hexadecimal digits; "" where an earlier version wrote it.
        abstained: why no answer is given, "" where one is, or where an earlier version wrote it.
    """

    image: str
    truth: str | None
    prediction: str | None
    probabilities: Mapping[str, float]
    standard_error: float | None
    folder: str | None
    status: str = "ok"
    error: str = ""
    warning: str = ""
    made_from: str = ""
    abstained: str = ""

    @property
    def names_something(self) -> bool:
        """Whether the prediction names classes or labels: of a number, it is not the name of an answer."""
        parts = [] if self.prediction is None else self.prediction.split(";")
        return self.prediction in ("none", *self.probabilities) or any(p in self.probabilities for p in parts)

    def fits(self) -> bool:
        """Whether the values are of the kinds that they should be."""
        return (
            isinstance(self.image, str)
            and all(isinstance(text, str) for text in (self.status, self.error, self.warning, self.made_from))
            and isinstance(self.abstained, str)
            and all(isinstance(text, str | None) for text in (self.truth, self.prediction, self.folder))
            and isinstance(self.standard_error, int | float | None)
            and isinstance(self.probabilities, dict)
            and all(isinstance(share, int | float) for share in self.probabilities.values())
        )

    @classmethod
    def of(cls, explanation: Evidence, folder: str, warning: str = "") -> Entry:
        """The entry of an explanation."""
        error = explanation.standard_error
        return cls(
            image=explanation.image,
            truth=explanation.truth,
            prediction=explanation.prediction,
            probabilities=dict(zip(explanation.classes, explanation.probabilities.tolist(), strict=True)),
            standard_error=None if error != error else error,
            folder=folder,
            warning=warning,
            abstained=explanation.abstained,
        )


@dataclass(frozen=True)
class Index:
    """All explanations of a folder, by one model.

    Attributes:
        model: its fingerprint.
        classes: names of the classes, in the model's order.
        entries: one per image.
    """

    model: str
    classes: tuple[str, ...]
    entries: tuple[Entry, ...] = ()

    def check_model(self, fingerprint: str, where: str | Path) -> None:
        """Refuse to mix explanations of two models.

        Raises:
            ConfigError: if the fingerprint is another one.
        """
        if fingerprint != self.model:
            raise ConfigError(
                f"these explanations are from another model ({self.model}; this one is {fingerprint})",
                where=where,
                remedy="Give the run that made them, or another --out; or delete the folder.",
            )


def folder_name(image: str | Path) -> str:
    """A name for the folder of an image's explanation: safe everywhere, the same every time, unique.

    Example:
        >>> folder_name("slides/a b.svs").startswith("a_b-"), len(folder_name("x" * 300))
        (True, 69)
    """
    path = Path(image)
    digest = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", path.name.removesuffix(path.suffix)).strip("._") or "image"
    return f"{stem[:60]}-{digest}"


def read_index(folder: str | Path) -> Index:
    """The list of the explanations in a folder.

    Raises:
        DataError: if there is none, or it is damaged.
    """
    path = Path(folder) / INDEX
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA or document["version"] != VERSION:
            raise ValueError(f"schema {document['schema']}, version {document['version']}")
        entries = [_entry(dict(row)) for row in document["images"]]
        return Index(document["model"], tuple(document["classes"]), tuple(entries))
    except FileNotFoundError as error:
        raise DataError(
            "there are no explanations here", where=folder, remedy="Make them with zoomin explain."
        ) from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"damaged ({error})", where=path, remedy="Delete the folder, then use zoomin explain again."
        ) from error


def _entry(row: Mapping[str, Any]) -> Entry:
    """One image of the list.

    Raises:
        ValueError: if its values are of other kinds.
    """
    known = {f.name for f in fields(Entry)}
    entry = Entry(**{name: value for name, value in row.items() if name in known})
    if not entry.fits():
        raise ValueError("an entry of the list has values of the wrong types")
    return entry


def append_entry(entry: Entry, folder: str | Path) -> None:
    """Remember an entry until the index is written again: a line of JSON, on the disk's way at once.

    Raises:
        WriteError: if the disk is full or the folder cannot be written to.
    """
    path = Path(folder) / ADDED
    with telling(path, path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(entry)) + "\n")


def read_added(folder: str | Path) -> list[Entry]:
    """The entries that were remembered since the index was written; half a line of a killed job is none."""
    path = Path(folder) / ADDED
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(ValueError, TypeError, KeyError):
            found.append(_entry(parse_json(line)))
    return found


def is_finished(folder: str | Path) -> bool:
    """Whether the job that wrote the index came to its end."""
    return not (Path(folder) / ADDED).exists()


def write_index(index: Index, folder: str | Path, *, finished: bool = True) -> None:
    """Write index.json, whole or not at all; it holds what was remembered until now.

    Args:
        index: the list.
        folder: of the explanations.
        finished: whether no more will come.
    """
    path = Path(folder) / INDEX
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "model": index.model,
        "classes": list(index.classes),
        "images": [asdict(entry) for entry in index.entries],
    }
    write_json(path, document, indent=1)
    if finished:
        (Path(folder) / ADDED).unlink(missing_ok=True)
    else:
        write_text(Path(folder) / ADDED, "", sync=False)
