"""A bounded memory of what was read, opened or made: the least recently used goes first."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from ..errors import ConfigError

__all__ = ["HANDLES", "Cache"]

T = TypeVar("T")


class Cache(Generic[T]):
    """Values by key, safe in threads, empty in a forked or other process.

    A value that is let go, such as an open file, is closed by whoever holds it last: a thread that is reading
    keeps its own.

    Args:
        capacity: what the sizes of all values may add up to: bytes, pixels, or a number of values. A value
            that is larger is not kept.

    Raises:
        ConfigError: if the capacity is negative.

    Example:
        >>> cache = Cache[str](capacity=10)
        >>> cache.put("a", "first", 6), cache.put("b", "second", 6), cache.put("c", "large", 11)
        (True, True, False)
        >>> cache.get("a"), cache.get("b"), cache.filled
        (None, 'second', 6)
        >>> cache.get_or_make("d", lambda: "opened")
        'opened'
    """

    def __init__(self, capacity: int) -> None:
        """Nothing is kept yet."""
        if capacity < 0:
            raise ConfigError(f"a cache of capacity {capacity}", remedy="Give 0 (off) or more.")
        self.capacity = capacity
        self._of_parents: list[object] = []
        self._start()

    def get(self, key: Hashable) -> T | None:
        """The value of a key, None where there is none."""
        found = self._find(key)
        return None if found is None else found[0]

    def put(self, key: Hashable, value: T, size: int = 1) -> bool:
        """Keep a value of a size, where it fits; whether it does.

        The value that has the key already, if any, is replaced.
        """
        self._check_process()
        if size > self.capacity:
            return False
        with self._lock:
            released = [self._pop(key)]  # freed when this method returns, without the lock
            while self._filled + size > self.capacity:
                released.append(self._pop(next(iter(self._kept))))
            self._kept[key] = value, size
            self._filled += size
        return True

    def drop(self, key: Hashable, value: T | None = None) -> None:
        """Forget a key, or only this value of it."""
        self.drop_all(lambda other: other == key and (value is None or self._kept[other][0] is value))

    def drop_all(self, chosen: Callable[[Hashable], bool]) -> None:
        """Forget the keys that are chosen."""
        self._check_process()
        with self._lock:
            released = [self._pop(key) for key in list(self._kept) if chosen(key)]
        del released

    def get_or_make(
        self, key: Hashable, make: Callable[[], T], size: Callable[[T], int] = lambda value: 1
    ) -> T:
        """The value of a key, made if need be: once, where several threads ask for it.

        While one is made, nobody who asks for another waits. What fails is not kept.
        """
        if (found := self._find(key)) is not None:
            return found[0]
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        try:
            with making:
                if (found := self._find(key)) is not None:
                    return found[0]
                value = make()
                self.put(key, value, size(value))
                return value
        finally:
            with self._lock:
                self._making.pop(key, None)

    @property
    def filled(self) -> int:
        """The sizes of all that is kept."""
        self._check_process()
        return self._filled

    def __len__(self) -> int:
        """Number of values."""
        self._check_process()
        return len(self._kept)

    def __reduce__(self) -> tuple[type[Cache[T]], tuple[int]]:
        """Pickle the capacity alone."""
        return type(self), (self.capacity,)

    def _find(self, key: Hashable) -> tuple[T, int] | None:
        self._check_process()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _pop(self, key: Hashable) -> T | None:
        value, size = self._kept.pop(key, (None, 0))
        self._filled -= size
        return value

    def _start(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._filled = 0
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _check_process(self) -> None:
        """In a forked child: leave the parent's files and locks, which its threads may hold, alone."""
        if self._process != os.getpid():
            self._of_parents.append(self._kept)
            self._start()


HANDLES: Cache[Any] = Cache(128)  # open files of this process
