"""Pictures made on request: by a few threads, each once, kept in bounded memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ...errors import ZoomInError
from ...images.cache import Cache
from .pyramid import EncodedTile

__all__ = ["Busy", "Pictures"]

T = TypeVar("T")

_CACHE_BYTES = 64 * 2**20
_MOST_WAITING = 1024


class Busy(ZoomInError):
    """More pictures are asked for than the server lets wait."""


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
        self._cache: Cache[EncodedTile] = Cache(cache_bytes)
        self._most_waiting = most_waiting
        self._pending: dict[Hashable, tuple[Future[EncodedTile], list[object]]] = {}

    @property
    def waiting(self) -> int:
        """Pictures asked for and not made yet."""
        return len(self._pending)

    @property
    def bytes(self) -> int:
        """Of the encoded pictures that are kept."""
        return self._cache.filled

    async def run(self, make: Callable[[], T]) -> T:
        """Anything that may take long, in the pool."""
        return await asyncio.wrap_future(self._pool.submit(make))

    async def get(self, key: Hashable, make: Callable[[], EncodedTile]) -> EncodedTile:
        """The picture of this key, from the cache or made by `make` in the pool.

        Called from one event loop alone. Cancelling it gives up the wait.

        Raises:
            Busy: if too many wait already.
        """
        if (found := self._cache.get(key)) is not None:
            return found
        if key not in self._pending:
            if len(self._pending) >= self._most_waiting:
                raise Busy(f"{len(self._pending)} pictures are waiting", remedy="Ask again in a moment.")
            self._pending[key] = self._pool.submit(make), []
        future, waiters = self._pending[key]
        waiter = object()
        waiters.append(waiter)
        try:
            picture = await asyncio.shield(asyncio.wrap_future(future))
            self._cache.put(key, picture, len(picture.body))
            return picture
        finally:
            waiters.remove(waiter)
            if not waiters:
                future.cancel()
                self._pending.pop(key, None)

    def close(self) -> None:
        """Stop the threads; what waits is not made."""
        self._pool.shutdown(wait=False, cancel_futures=True)
