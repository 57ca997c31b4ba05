"""Bytes of files on the network: ranges of them, in blocks that are kept in a bounded memory.

fsspec names the storage (https, s3, gs, az ...). Files are taken to stay what they are while a program reads
them; what is opened again is compared by size and by the tag or time that the server gives.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import tifffile

from ..errors import ConfigError, ImageError
from .cache import Cache
from .urls import remote_remedy, url_of

__all__ = ["RemoteFile", "remote_cache", "remote_identity", "remote_range", "tiff_file"]

T = TypeVar("T")

_BLOCK = 1 << 15
_TAGS = ("ETag", "etag", "LastModified", "last_modified", "mtime")
_VARIABLE = "ZOOMIN_REMOTE_MB"
_MEGABYTES = 256
_caches: list[Cache[bytes]] = []


def remote_cache() -> Cache[bytes]:
    """What this process keeps of files on the network: up to $ZOOMIN_REMOTE_MB megabytes, by default 256.

    Raises:
        ConfigError: if the variable holds no number.
    """
    if not _caches:
        given = os.environ.get(_VARIABLE, "")
        if given and not given.isdigit():
            raise ConfigError(
                f"{given!r} is not a number of megabytes", where=_VARIABLE, remedy="Give a whole number."
            )
        _caches.append(Cache(int(given or _MEGABYTES) << 20))
    return _caches[0]


def remote_identity(path: Path) -> tuple[str, int, int]:
    """URL, size and a number made of the tag or time that the server gives.

    Raises:
        ImageError: if there is no such file, or it cannot be reached.
    """
    url = _url(path)
    info = _asked(lambda: _files(path).info(url), path)
    parts = [
        str(info[key]) for key in ("ETag", "etag", "LastModified", "last_modified", "mtime") if key in info
    ]
    return url, int(info.get("size") or 0), zlib.crc32("|".join(parts).encode())


def remote_range(path: Path, start: int, stop: int) -> bytes:
    """Some bytes of a file.

    Raises:
        ImageError: if they cannot be had, or the server only sends whole files.
    """
    data: bytes = _asked(lambda: _files(path).cat_file(_url(path), start=start, end=stop), path)
    if len(data) > stop - start:
        raise ImageError(
            "the server sends whole files, not ranges of them",
            where=_url(path),
            remedy="Download the file, or serve it from object storage or a server with range requests.",
        )
    return data


def tiff_file(path: Path) -> Any:  # noqa: ANN401 (tifffile is not typed)
    """A TIFF, local or not, opened by tifffile."""
    if url_of(path) is None:
        return tifffile.TiffFile(path)
    return tifffile.TiffFile(RemoteFile(path), name=path.name)


@contextmanager
def reading_tiff(path: Path, ome: str | None = None) -> Iterator[Any]:
    """A TIFF opened by tifffile, whose tables go when it is closed.

    Its parts refer to each other, and the tables of a slide are megabytes: they would stay until Python looks
    for such circles.

    Args:
        path: local or not.
        ome: OME-XML in place of that of a local file.
    """
    with tiff_file(path) if ome is None else tifffile.TiffFile(path, omexml=ome) as file:
        yield file
    for series in vars(file).get("series", ()):
        series.levels.clear()
    vars(file).clear()


class RemoteFile(io.RawIOBase):
    """A file on the network that is read like a local one; not safe in threads.

    Args:
        path: of a URL.

    Raises:
        ImageError: if it cannot be reached.
    """

    def __init__(self, path: Path) -> None:
        """Ask for its size."""
        super().__init__()
        self.path = path
        self.identity = remote_identity(path)
        self.size = self.identity[1]
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Choose where the next read begins."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 (any writable buffer)
        """Fill a buffer as far as the file goes."""
        view = memoryview(buffer).cast("B")
        stop = min(self._at + len(view), self.size)
        count = max(0, stop - self._at)
        if count:
            self._fetch(self._at // _BLOCK, -(-stop // _BLOCK))
            first = self._at // _BLOCK
            found = b"".join(self._block(number) for number in range(first, -(-stop // _BLOCK)))
            start = self._at - first * _BLOCK
            view[:count] = found[start : start + count]
        self._at += count
        return count

    def _block(self, number: int) -> bytes:
        kept = remote_cache().get((self.identity, number))
        if kept is None:  # driven out already
            kept = remote_range(self.path, number * _BLOCK, min((number + 1) * _BLOCK, self.size))
        return kept

    def _fetch(self, first: int, last: int) -> None:
        """Get the blocks that are not kept, neighbours by one request."""
        cache, number = remote_cache(), first
        while number < last:
            stop = number
            while stop < last and cache.get((self.identity, stop)) is None:
                stop += 1
            if stop > number:
                data = remote_range(self.path, number * _BLOCK, min(stop * _BLOCK, self.size))
                for place in range(number, stop):
                    part = data[(place - number) * _BLOCK : (place - number + 1) * _BLOCK]
                    cache.put((self.identity, place), part, len(part))
            number = stop + 1


def _url(path: Path) -> str:
    return url_of(path) or str(path)


def _files(path: Path) -> Any:  # noqa: ANN401 (fsspec is not typed)
    import fsspec

    return fsspec.filesystem(_url(path).partition(":")[0])


def _asked(call: Callable[[], T], path: Path) -> T:
    """What the network answers.

    Raises:
        ImageError: saying what is wrong, and what to do.
    """
    try:
        return call()
    except (ImportError, ValueError) as error:
        raise ImageError(
            f"reading it needs a package that is not installed ({error})",
            where=_url(path),
            remedy=f"{remote_remedy(path)}.",
        ) from error
    except FileNotFoundError as error:
        raise ImageError("no such file", where=_url(path), remedy="Check the address.") from error
    except PermissionError as error:
        raise ImageError(
            f"the storage refuses access ({error})",
            where=_url(path),
            remedy="Check the credentials and their rights; a public bucket is read without any by "
            "FSSPEC_S3_ANON=true (s3fs) and AWS_NO_SIGN_REQUEST=YES (GDAL).",
        ) from error
    except Exception as error:  # each storage has its own errors
        raise ImageError(
            f"the file cannot be reached ({type(error).__name__}: {error})",
            where=_url(path),
            remedy="Check the address, the network and the credentials of the storage.",
        ) from error
