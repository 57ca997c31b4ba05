"""One job at a time writes to a folder or a file; the error of a second job names the first."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import WriteError
from ..files import remove_leftovers, telling, write_text

__all__ = ["LOCKS", "lock_file", "lock_folder"]

LOCKS = (".zoomin.lock", ".zoomin.holder")  # in a folder while a job writes to it


@contextmanager
def lock_folder(folder: str | Path, *inside: str) -> Iterator[Path]:
    """Make a folder, and let nobody else write to it in the block; one that stays empty is removed.

    The system frees the lock of a process that died, on whichever machine; the file that it was writing is
    removed, as are those of workers that die in the block.

    Args:
        folder: to be written to.
        inside: folders in it that files are written to as well.

    Yields:
        The folder.

    Raises:
        WriteError: if it is a file, cannot be written to, or another job writes to it, naming that.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise WriteError("a file, not a folder", where=folder, remedy="Give another --out.")
    lock, holder = (folder / name for name in LOCKS)
    is_new = not folder.exists()
    try:
        with _held(folder, lock, holder):
            places = (folder, *(folder / name for name in inside))
            for place in places:
                remove_leftovers(place)
            yield folder
            for place in places:  # of workers that died
                remove_leftovers(place)
    finally:
        if is_new:
            with suppress(OSError):  # it holds something
                folder.rmdir()


@contextmanager
def lock_file(path: str | Path) -> Iterator[Path]:
    """Let nobody else write a file in the block; its folder is made.

    Yields:
        The file.

    Raises:
        WriteError: if it is a folder, cannot be written, or another job writes it, naming that.
    """
    path = Path(path)
    if path.is_dir():
        raise WriteError("a folder, not a file", where=path, remedy="Give the name of a file as --out.")
    if path.exists() and not path.is_file():  # a device or a pipe
        yield path
        return
    with _held(path, path.with_name(f".{path.name}.lock"), path.with_name(f".{path.name}.holder")):
        remove_leftovers(path.parent, path.name)
        yield path


@contextmanager
def _held(what: Path, lock: Path, holder: Path) -> Iterator[None]:
    with telling(what, lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = _acquire(what, lock, holder)
    try:
        write_text(holder, json.dumps(_self()))
        yield
    finally:
        for path in (holder, lock):
            with suppress(OSError):  # Windows removes no open file
                path.unlink(missing_ok=True)
        held.release()


def _acquire(what: Path, path: Path, holder: Path) -> FileLock:
    """The lock.

    Raises:
        WriteError: if another job has it.
    """
    while True:
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise WriteError(
                f"another job writes here{_holder_text(holder)}",
                where=what,
                remedy="Wait for it or stop it, or give another --out.",
            ) from error
        if path.exists():
            return lock
        lock.release()  # its file was removed by who had it before, between our opening and locking it


def _self() -> dict[str, object]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
    }


def _holder_text(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text(encoding="utf-8"))
        return f": process {found['process']} on {found['host']} since {found['since']} ({found['command']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun
        return ""
