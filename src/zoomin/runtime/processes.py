"""Processes that stop when they are asked to, and workers that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from ..errors import ConfigError

__all__ = ["Stop", "end_with_parent", "end_workers", "one_process", "stoppable"]

_GRACE = 3.0  # seconds that a worker has to end by itself
_SIGNALS = (
    "SIGTERM",
    "SIGUSR1",
    "SIGHUP",
)  # of kill and of clusters, of SLURM --signal, of a closed terminal


class Stop:
    """Which signal asked the process to stop.

    Attributes:
        number: of the signal; that of Ctrl-C until another one comes.
    """

    def __init__(self) -> None:
        """Nobody has asked yet."""
        self.number: int = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended.

        Example:
            >>> Stop().exit_code
            130
        """
        return 128 + self.number

    def __str__(self) -> str:
        """In words."""
        return (
            "interrupted"
            if self.number == signal.SIGINT
            else f"stopped by {signal.Signals(self.number).name}"
        )

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Take a signal as Ctrl-C is taken.

        Raises:
            KeyboardInterrupt: always.
        """
        self.number = number
        raise KeyboardInterrupt


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Let SIGTERM, SIGUSR1 and SIGHUP raise KeyboardInterrupt in the block, as Ctrl-C does.

    Signals that the process was started to ignore (nohup) stay ignored; outside the main thread nothing
    changes.

    Yields:
        What knows afterwards which signal came.
    """
    stop = Stop()
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, stop)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        # CPython (`python -m`) remembers an interruption of source that was run as text, such as that of data
        # classes while modules are imported, although it is caught, and would end as if by Ctrl-C.
        exec("")


def one_process() -> None:
    """Refuse to cross-validate the same run several times at once.

    Raises:
        ConfigError: if torchrun or srun has started this process as one of several.
    """
    for name, starter in (("WORLD_SIZE", "torchrun"), ("SLURM_STEP_NUM_TASKS", "srun")):
        count = os.environ.get(name, "")
        if count.isdigit() and int(count) > 1:
            raise ConfigError(
                f"{starter} has started {count} processes, and each would train all folds",
                where=name,
                remedy="Start it without torchrun and srun; --cv.jobs trains several folds at a time.",
            )


def end_workers(pool: ProcessPoolExecutor, seconds: float = _GRACE) -> None:
    """End the processes of a pool whose work nobody waits for any more; those that do not end are killed."""
    processes = multiprocessing.active_children()
    pool.shutdown(wait=False, cancel_futures=True)
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()


def end_with_parent() -> None:
    """Watch the parent of a worker process: when it dies, however it dies, the worker ends at once."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="zoomin-parent", daemon=True).start()
