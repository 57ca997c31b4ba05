"""A table that remembers what is done: a row per image, written at once, from which a stopped job resumes.

While a job runs, rows go to the table's name with ".part" added, each flushed at once. The last column,
made_from, tells of what a row was made, in hexadecimal digits: of which model and settings, of which file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..files import telling, unquoted, write_csv
from ..progress import progress_bar

__all__ = ["KEY", "Ledger", "Line", "part_of", "read_lines"]

KEY = "made_from"

Line = list[str]  # a row of the CSV as it is written
Add = Callable[[str, Iterable[object]], None]


class Ledger:
    """The rows of a job, those that are kept first.

    Attributes:
        lines: the rows so far, by image.
        before: images that had a row, of whatever it was made.
        kept: rows that were there when the work began.

    Args:
        path: of the table; whoever calls holds its lock.
        columns: of the table, but for made_from; the first one is the image, "status" is among them.
        keys: of what the row of each image would be made, in the order of the table.
        resume: keep the rows of an interrupted or a finished job that were made of the same.
        retry_failed: of these, do not keep the rows of images that failed.
    """

    def __init__(
        self,
        path: str | Path,
        columns: Sequence[str],
        keys: Mapping[str, str],
        *,
        resume: bool = False,
        retry_failed: bool = False,
    ) -> None:
        """Look for the rows that are there."""
        self.path, self.columns, self.keys = Path(path), [*columns, KEY], keys
        self.lines: dict[str, Line] = {}
        self.kept = 0
        known = self._known() if resume else {}
        self.before = frozenset(known)
        for name, key in keys.items():
            line = known.get(name)
            if line and line[-1] == key and not (retry_failed and self.is_error(line)):
                self.lines[name] = line

    def is_error(self, line: Line) -> bool:
        """Whether an image has failed."""
        return line[self.columns.index("status")] == "error"

    def put(self, name: str, cells: Iterable[object]) -> Line:
        """Set the row of an image: its cells, without made_from."""
        line = ["" if value is None else str(value) for value in [*cells, self.keys[name]]]
        self.lines[name] = line
        return line

    @contextmanager
    def filling(self, title: str, *, shown: bool) -> Iterator[Add]:
        """Add rows in the block, behind a bar; each is in the file when the call returns.

        Args:
            title: of the bar.
            shown: whether it is shown.

        Yields:
            What takes the name of an image and the cells of its row, without made_from.

        Raises:
            WriteError: if the table cannot be written.
        """
        part, self.kept = part_of(self.path), len(self.lines)
        write_csv(part, self.columns, self.lines.values(), exact=True)
        failed = sum(map(self.is_error, self.lines.values()))
        bar = progress_bar(title, len(self.keys), done=self.kept, shown=shown)
        with telling(self.path, part), part.open("a", encoding="utf-8", newline="") as file, bar as counted:
            writer = csv.writer(file, lineterminator="\n")

            def add(name: str, cells: Iterable[object]) -> None:
                nonlocal failed
                line = self.put(name, cells)
                writer.writerow(line)
                file.flush()
                failed += self.is_error(line)
                counted.advance(note=f"{failed} failed" if failed else None)

            yield add

    def finish(self) -> list[Line]:
        """Write the table in its order, in place of an older one; its rows.

        Raises:
            WriteError: if it cannot be written.
        """
        ordered = [self.lines[name] for name in self.keys]
        write_csv(self.path, self.columns, ordered, exact=True)
        part_of(self.path).unlink()
        return ordered

    def _known(self) -> dict[str, Line]:
        """The rows of a finished and of an interrupted job, the newer ones of these, by image."""
        found: dict[str, Line] = {}
        for table in (self.path, part_of(self.path)):
            lines = read_lines(table) if table.is_file() else []
            if lines and lines[0] == self.columns:
                width = len(self.columns)
                found.update({unquoted(line[0]): line for line in lines[1:] if len(line) == width})
        return found


def part_of(path: Path) -> Path:
    """Where the rows of an unfinished table are."""
    path = path.resolve()
    return path.with_name(path.name + ".part")


def read_lines(path: Path) -> list[Line]:
    """The rows that were written whole: a killed job leaves half of one at the end."""
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1].decode(errors="replace")
    try:
        return list(csv.reader(io.StringIO(whole, newline="")))
    except csv.Error:  # no table that the program wrote
        return []
