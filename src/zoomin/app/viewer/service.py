"""Pictures made on request: by a few threads, each once, kept in bounded memory."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

from ...errors import ZoomInError
from .pyramid import Encoded

__all__ = ["Busy", "Kept", "Pictures"]

T = TypeVar("T")

_CACHE_BYTES = 64 * 2**20
_MOST_WAITING = 1024


class Busy(ZoomInError):
    """More pictures are asked for than the server lets wait."""


class Kept(Generic[T]):
    """The things used last, at most so many; making one blocks nobody who wants another.

    Args:
        most: things kept.
    """

    def __init__(self, most: int) -> None:
        """Keep nothing yet."""
        self._most = most
        self._things: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """Things kept."""
        return len(self._things)

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The thing of this key; made by the first who asks, while the others who ask for it wait.

        What fails is not kept: its error goes to all who waited, and the next who asks tries again.
        """
        with self._lock:
            found = self._things.get(key)
            is_first = found is None
            if found is None:
                found = self._things[key] = Future()
                while len(self._things) > self._most:
                    self._things.popitem(last=False)
            else:
                self._things.move_to_end(key)
        if is_first:
            try:
                found.set_result(make())
            except BaseException as error:
                with self._lock:
                    if self._things.get(key) is found:
                        del self._things[key]
                found.set_exception(error)
        return found.result()


class Pictures:
    """A pool of threads that makes pictures, and the cache of those made last.

    A picture asked for twice at once is made once. One that nobody waits for any more, and that no thread has
    begun, is not made at all.

    Args:
        threads: by default the processors, at most four.
        cache_bytes: of encoded pictures.
        most_waiting: pictures asked for and not made yet.
    """

    def __init__(
        self,
        threads: int | None = None,
        cache_bytes: int = _CACHE_BYTES,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        """Start no thread before the first picture."""
        self._pool = ThreadPoolExecutor(
            threads or min(4, os.cpu_count() or 1), thread_name_prefix="zoomin-view"
        )
        self._cache: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._most_waiting = most_waiting
        self._pending: dict[Hashable, tuple[Future[Encoded], list[object]]] = {}
        self.bytes = 0
        self.made = 0

    @property
    def waiting(self) -> int:
        """Pictures asked for and not made yet."""
        return len(self._pending)

    async def run(self, make: Callable[[], T]) -> T:
        """Anything that may take long, in the pool."""
        return await asyncio.wrap_future(self._pool.submit(make))

    async def get(self, key: Hashable, make: Callable[[], Encoded]) -> Encoded:
        """The picture of this key, from the cache or made by `make` in the pool.

        Called from one event loop alone. Cancelling it gives up the wait.

        Raises:
            Busy: if too many wait already.
        """
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if key not in self._pending:
            if len(self._pending) >= self._most_waiting:
                raise Busy(f"{len(self._pending)} pictures are waiting", remedy="Ask again in a moment.")
            self._pending[key] = self._pool.submit(make), []
        future, waiters = self._pending[key]
        waiter = object()
        waiters.append(waiter)
        try:
            picture = await asyncio.shield(asyncio.wrap_future(future))
            self._keep(key, picture)
            return picture
        finally:
            waiters.remove(waiter)
            if not waiters:
                future.cancel()
                self._pending.pop(key, None)

    def close(self) -> None:
        """Stop the threads; what waits is not made."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _keep(self, key: Hashable, picture: Encoded) -> None:
        if key in self._cache:
            return
        self.made += 1
        self._cache[key] = picture
        self.bytes += len(picture.body)
        while self.bytes > self._cache_bytes and self._cache:
            self.bytes -= len(self._cache.popitem(last=False)[1].body)
