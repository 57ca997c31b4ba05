"""A folder of explanations: one folder per image, and index.json that lists them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import ConfigError, DataError
from ..files import parse_json, write_json
from .evidence import Evidence

__all__ = ["INDEX", "Entry", "Index", "folder_name", "read_index", "write_index"]

INDEX = "index.json"
SCHEMA, VERSION = "zoomin-explanations", 1


@dataclass(frozen=True)
class Entry:
    """One image of the list.

    Attributes:
        image: its path, or name.
        truth: its true class, None where unknown.
        prediction: the class of highest probability, or another answer in a word; None where it failed.
        probabilities: of each class, or the one number; empty where the image failed.
        standard_error: of the predicted class's probability; None where the image failed or nothing tells.
        folder: of its explanation, below that of the index; None where the image failed.
        status: "ok" or "error".
        error: why the image failed.
        warning: what could not be done for an image that was explained.
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

    @property
    def names_something(self) -> bool:
        """Whether the prediction names classes or labels: of a number, it is no name of an answer."""
        parts = [] if self.prediction is None else self.prediction.split(";")
        return self.prediction in ("none", *self.probabilities) or any(p in self.probabilities for p in parts)

    def fits(self) -> bool:
        """Whether the values are of the kinds that they should be."""
        return (
            isinstance(self.image, str)
            and all(isinstance(text, str) for text in (self.status, self.error, self.warning))
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
        known = {f.name for f in fields(Entry)}
        rows = [dict(row) for row in document["images"]]
        entries = [Entry(**{k: v for k, v in row.items() if k in known}) for row in rows]
        if not all(entry.fits() for entry in entries):
            raise ValueError("an entry of the list has values of the wrong types")
        return Index(document["model"], tuple(document["classes"]), tuple(entries))
    except FileNotFoundError as error:
        raise DataError(
            "there are no explanations here", where=folder, remedy="Make them with zoomin explain."
        ) from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"damaged ({error})", where=path, remedy="Delete the folder, then use zoomin explain again."
        ) from error


def write_index(index: Index, folder: str | Path) -> None:
    """Write index.json, whole or not at all."""
    path = Path(folder) / INDEX
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "model": index.model,
        "classes": list(index.classes),
        "images": [asdict(entry) for entry in index.entries],
    }
    write_json(path, document, indent=1)
