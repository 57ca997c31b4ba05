"""What an interrupted preparation has written, so that the next one can resume."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..data.manifest import Record
from ..errors import DataError

__all__ = ["UNFINISHED", "Journal"]

UNFINISHED = "unfinished.jsonl"
_PATHS = ("image", "annotation", "mask", "foreground")


class Journal:
    """One line per completely written image, in a file beside them; one thread writes at a time.

    The first line holds the settings that the images are made by. The file goes when all is done.
    """

    def __init__(
        self,
        folder: Path,
        source: Path | str,
        config: Any,  # noqa: ANN401 (a dataclass)
        contents: Iterable[str],
    ) -> None:
        """Read what is there, or start.

        Args:
            folder: that is prepared into.
            source: what is prepared.
            config: the settings, a dataclass.
            contents: what the source holds, on which every image depends.

        Raises:
            DataError: if the folder was begun with other settings, or the source held something else.
        """
        self._folder, self._path, self._lock = folder, folder / UNFINISHED, threading.Lock()
        self._done: dict[str, Record] = {}
        described = {"source": str(Path(source).resolve()), "content of the source": list(contents)}
        settings = json.loads(json.dumps(described | asdict(config)))
        text = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        begun, *images = map(_parsed, text.splitlines() or [""])
        if begun is None:
            for done in ("manifest.csv", "data_set.json"):  # the images that they tell of are written again
                (folder / done).unlink(missing_ok=True)
            self._path.write_text(json.dumps(settings) + "\n", encoding="utf-8")
            return
        if changed := sorted(k for k in begun.keys() | settings.keys() if begun.get(k) != settings.get(k)):
            raise DataError(
                f"the folder was started with another {', '.join(changed)}",
                where=folder,
                remedy="Give the same settings as before, or another --out, or delete the folder.",
            )
        self._done = {found.pop("name"): self._record(found) for found in images if found is not None}
        if not text.endswith("\n"):
            self._write("\n")  # behind a line that was cut off

    def get(self, name: str) -> Record | None:
        """The record of an image that is done, by its name."""
        return self._done.get(name)

    def add(self, name: str, record: Record) -> Record:
        """Note an image that is done; the record is given back."""
        values: dict[str, Any] = {
            f.name: getattr(record, f.name) for f in fields(record) if getattr(record, f.name) is not None
        }
        for key in _PATHS:
            if key in values:
                values[key] = str(values[key].relative_to(self._folder))
        self._write(json.dumps({"name": name, **values}) + "\n")
        return record

    def _write(self, text: str) -> None:
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _record(self, values: dict[str, Any]) -> Record:
        return Record(**{k: self._folder / v if k in _PATHS else v for k, v in values.items()})


def _parsed(line: str) -> dict[str, Any] | None:
    """None where a line was cut off."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
