"""Open files of this process: opened when first read, a bounded number, let go when long unused.

A handle is never carried into another process: a forked child opens its own. Letting one go drops the pool's
reference; a thread that is reading keeps its own, and the library closes the file with the last one.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["HANDLES", "Handles"]

_MOST = 128


class Handles:
    """A bounded set of open handles; the least recently used is let go first.

    Args:
        most: how many to keep open.

    Example:
        >>> handles = Handles(most=1)
        >>> handles.get("a", lambda: "opened a"), handles.get("b", lambda: "opened b"), len(handles)
        ('opened a', 'opened b', 1)
    """

    def __init__(self, most: int = _MOST) -> None:
        """Nothing is open yet."""
        self._most = most
        self._of_parents: list[Any] = []
        self._start()

    def get(self, key: Hashable, opener: Callable[[], Any]) -> Any:  # noqa: ANN401 (any library's handle)
        """The handle of a key, opened if it is not open in this process."""
        self._check_process()
        with self._lock:
            if key in self._open:
                self._open.move_to_end(key)
                return self._open[key]
        handle = opener()  # without the lock: other files need not wait for this one
        with self._lock:
            handle = self._open.setdefault(key, handle)
            released = [self._open.popitem(last=False)[1] for _ in range(len(self._open) - self._most)]
        del released  # closing happens here, without the lock
        return handle

    def discard(self, key: Hashable, handle: object) -> None:
        """Let go of a handle that is of no more use, unless another has taken its place."""
        self._check_process()
        with self._lock:
            if self._open.get(key) is handle:
                del self._open[key]

    def drop(self, chosen: Callable[[Any], bool]) -> None:
        """Let go of the handles whose keys are chosen."""
        self._check_process()
        with self._lock:
            released = [self._open.pop(key) for key in list(self._open) if chosen(key)]
        del released

    def __len__(self) -> int:
        """Number of open handles."""
        self._check_process()
        return len(self._open)

    def _start(self) -> None:
        self._open: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _check_process(self) -> None:
        """In a forked child: leave the parent's handles, whose locks may be held, alone and start anew."""
        if self._process != os.getpid():
            self._of_parents.append(self._open)
            self._start()


HANDLES = Handles()
