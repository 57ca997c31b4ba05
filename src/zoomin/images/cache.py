"""A bounded memory of what was read: the least recently used goes first."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from ..errors import ConfigError

__all__ = ["Cache"]

T = TypeVar("T")


class Cache(Generic[T]):
    """Values by key, of at most `budget` bytes together; safe in threads, empty in a forked or other process.

    Args:
        budget: bytes. A value that is larger is not kept.

    Raises:
        ConfigError: if the budget is negative.

    Example:
        >>> cache = Cache[str](budget=10)
        >>> cache.put("a", "first", 6), cache.put("b", "second", 6), cache.put("c", "large", 11)
        (True, True, False)
        >>> cache.get("a"), cache.get("b"), cache.bytes
        (None, 'second', 6)
    """

    def __init__(self, budget: int) -> None:
        """Nothing is kept yet."""
        if budget < 0:
            raise ConfigError(f"a cache of {budget} bytes", remedy="Give 0 (off) or more.")
        self.budget = budget
        self._start()

    def get(self, key: Hashable) -> T | None:
        """The value of a key, None where there is none."""
        self._check_process()
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: T, size: int) -> bool:
        """Keep a value of `size` bytes, where it fits; whether it does.

        The value that has the key already, if any, is replaced.
        """
        self._check_process()
        if size > self.budget:
            return False
        with self._lock:
            self._forget(key)
            released = []  # freed when this method returns, without the lock
            while self._bytes + size > self.budget:
                _, (old, old_size) = self._kept.popitem(last=False)
                released.append(old)
                self._bytes -= old_size
            self._kept[key] = value, size
            self._bytes += size
        return True

    def drop(self, key: Hashable, value: T | None = None) -> None:
        """Forget a key, or only this value of it."""
        self._check_process()
        with self._lock:
            if value is None or (key in self._kept and self._kept[key][0] is value):
                self._forget(key)

    def get_or_make(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """The value of a key, made if need be: once, where several threads ask for it."""
        self._check_process()
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        try:
            with making:
                value = self.get(key)
                if value is None:
                    value = make()
                    self.put(key, value, size(value))
                return value
        finally:
            with self._lock:
                self._making.pop(key, None)

    @property
    def bytes(self) -> int:
        """Of all that is kept."""
        self._check_process()
        return self._bytes

    def __len__(self) -> int:
        """Number of values."""
        self._check_process()
        return len(self._kept)

    def __reduce__(self) -> tuple[type[Cache[T]], tuple[int]]:
        """Pickle the budget alone."""
        return type(self), (self.budget,)

    def _forget(self, key: Hashable) -> None:
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[1]

    def _start(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _check_process(self) -> None:
        """In a forked child: leave what the parent's threads may be filling, and its locks, alone."""
        if self._process != os.getpid():
            self._start()
