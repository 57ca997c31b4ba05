"""A Zarr store on the network whose chunks and metadata are kept in a bounded memory (see `remote`)."""

from __future__ import annotations

from typing import Any

from zarr.storage import WrapperStore

from ..remote import remote_cache

__all__ = ["kept_store"]


class _KeptStore(WrapperStore[Any]):  # type: ignore[misc]  # zarr is not followed
    """A store that asks for each chunk, each part of a shard, and each piece of metadata once."""

    def __init__(self, store: Any, url: str) -> None:  # noqa: ANN401 (a zarr Store)
        super().__init__(store)
        self._url = url

    def _with_store(self, store: Any) -> _KeptStore:  # noqa: ANN401
        return type(self)(store, self._url)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:  # noqa: ANN401
        cache, name = remote_cache(), (self._url, key, repr(byte_range))
        kept = cache.get(name)
        if kept is None:
            found = await self._store.get(key, prototype, byte_range)
            kept = b"" if found is None else found.to_bytes()  # nothing that is stored is empty
            cache.put(name, kept, len(kept) + len(key))
        return prototype.buffer.from_bytes(kept) if kept else None


def kept_store(store: Any, url: str) -> Any:  # noqa: ANN401
    """The store, read through the memory of this process.

    Args:
        store: read-only.
        url: that distinguishes it from others.
    """
    return _KeptStore(store, url)
