"""Where the groups and arrays of a Zarr lie: a folder, a ZIP archive, or object storage."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import ImageError
from ..foreign import ZARR_NODES, zarr_folder
from ..remote import RemoteFile
from ..urls import remote_remedy, url_of

__all__ = ["ZARR_DAMAGE", "has_chunks", "looks_like_zarr", "open_node", "zarr_zip"]

_METADATA = (*ZARR_NODES, ".zmetadata")
_ZIPPED = (".zarr.zip", ".ozx")
ZARR_DAMAGE = (  # what stores and codecs raise
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    MemoryError,
)


def looks_like_zarr(path: Path, head: bytes = b"") -> bool:
    """Whether a path is a Zarr: a folder with its metadata, a ZIP archive of one, a URL that ends like one.

    Args:
        path: a file, a folder, or a URL.
        head: the first bytes, where it is a file.
    """
    if url_of(path) is not None:
        return _zipped(path) or any(part.lower().endswith(".zarr") for part in path.parts)
    if head[:4] == b"PK\x03\x04":
        return zarr_zip(path) is not None
    return not head and zarr_folder(path)


def zarr_zip(path: Path) -> str | None:
    """The folder, inside a ZIP archive, that is a Zarr: "" for its root; None where there is none."""
    try:
        with _archive(path) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] in ZARR_NODES]
    except (OSError, zipfile.BadZipFile, ValueError):
        return None
    folders = sorted({name.rpartition("/")[0] for name in names}, key=lambda name: (name.count("/"), name))
    if "" in folders:
        return ""
    return folders[0] if folders and folders[0].count("/") == 0 else None


def _zipped(path: Path) -> bool:
    """Whether a URL is that of a ZIP archive of a Zarr, by its name."""
    return path.name.lower().endswith(_ZIPPED)


def _archive(path: Path) -> zipfile.ZipFile:
    """An open ZIP archive; of a URL, the ranges that are needed."""
    return zipfile.ZipFile(path if url_of(path) is None else RemoteFile(path))


def open_node(path: Path, inner: str = "") -> Any:  # noqa: ANN401 (a zarr.Group or zarr.Array)
    """The group or array at a place inside a Zarr, by zarr-python, read-only.

    Args:
        path: a folder, a ZIP archive, or a URL.
        inner: "" for the root.

    Raises:
        ImageError: if there is none.
    """
    import zarr

    try:
        store, root = _store(path)
        place = "/".join(part for part in (root, inner) if part)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata beside Zarr's own
            return zarr.open(store=store, path=place, mode="r")
    except ImportError as error:
        raise ImageError(
            f"reading {url_of(path)} needs a package that is not installed ({error})",
            where=path,
            remedy=remote_remedy(path),
        ) from error
    except FileNotFoundError as error:
        raise ImageError(
            f"no Zarr array or group {inner!r}" if inner else "no Zarr there",
            where=path,
            remedy="Check the path, and that the Zarr was copied or written whole.",
        ) from error
    except ZARR_DAMAGE as error:
        raise ImageError(
            "the Zarr is damaged or of a kind that zarr-python does not read "
            f"({error or type(error).__name__})",
            where=path,
            remedy="Copy or write it again; codecs beyond Zarr's own need the package that defines them.",
        ) from error


def has_chunks(path: Path, inner: str) -> bool:
    """Whether any chunk of an array is stored; stores that cannot be listed are believed."""
    if url_of(path) is not None:
        return True
    return any(name.rpartition("/")[2] not in _METADATA for name in _files(path, inner))


def _files(path: Path, inner: str) -> Iterator[str]:
    if path.is_dir():
        yield from (found.name for found in (path / inner).rglob("*") if found.is_file())
        return
    below = "/".join(part for part in (zarr_zip(path), inner) if part) + "/"
    with zipfile.ZipFile(path) as archive:
        yield from (name for name in archive.namelist() if name.startswith(below) and name[-1] != "/")


def _store(path: Path) -> tuple[Any, str]:
    """The store, and the place of the root inside it."""
    from zarr.storage import FsspecStore, LocalStore, ZipStore

    from .zarr_cache import kept_store

    url = url_of(path)
    if url is not None and _zipped(path):
        from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
        from fsspec.implementations.zip import ZipFileSystem

        inside = AsyncFileSystemWrapper(ZipFileSystem(RemoteFile(path)), asynchronous=True)
        root = zarr_zip(path)
        if root is None:
            raise FileNotFoundError("no Zarr in the archive")
        return kept_store(FsspecStore(inside, read_only=True, path=root), url), ""
    if url is not None:
        return kept_store(FsspecStore.from_url(url, read_only=True), url), ""
    if path.is_dir():
        return LocalStore(path, read_only=True), ""
    return ZipStore(path, mode="r", read_only=True), zarr_zip(path) or ""
