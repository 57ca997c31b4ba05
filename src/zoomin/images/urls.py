"""Images that are not local files: which paths are URLs, and what reading them needs.

A URL travels through the program as a `Path`, like every image; `Path("https://host/a.tif")` drops a slash,
which `url_of` puts back.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from ..runtime.extras import PACKAGES, install

__all__ = ["SCHEMES_REMEDY", "exists", "local_path", "path_text", "remote_remedy", "unread_scheme", "url_of"]

_SCHEMES = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
_URL = re.compile(rf"^({'|'.join(_SCHEMES)}):/+(.+)$", re.DOTALL)
_FILE = re.compile(r"^file:(?:/{1,2}localhost)?(/.+)$", re.DOTALL | re.IGNORECASE)
_ANY = re.compile(r"^([a-z][a-z0-9+.-]+):/+.", re.IGNORECASE)  # a single letter is a drive of Windows
SCHEMES_REMEDY = "Use https, s3, gs or az, or download the file."
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "http": "aiohttp",
    "https": "aiohttp",
}


def url_of(path: Path | str) -> str | None:
    """The URL that a path stands for; None for a local file.

    Example:
        >>> url_of(Path("https://host/folder/a.tif")), url_of(Path("data/a.tif"))
        ('https://host/folder/a.tif', None)
    """
    found = _URL.match(str(path))
    if found is None:
        return None
    scheme, rest = found.groups()
    return f"{scheme}://{rest}"


def local_path(path: Path | str) -> Path:
    """The path that a person means: of an address `file://`, the file itself.

    Example:
        >>> local_path("file:///data/a%20b.tif").as_posix(), local_path("data/a%20b.tif").as_posix()
        ('/data/a b.tif', 'data/a%20b.tif')
    """
    found = _FILE.match(str(path))
    return Path(path) if found is None else Path(unquote(re.sub("^/+", "/", found[1])))


def unread_scheme(path: Path | str) -> str | None:
    """The scheme of an address that is not read; None for URLs that are, and for local files.

    Example:
        >>> unread_scheme("ftp://host/a.tif"), unread_scheme("https://host/a.tif"), unread_scheme("a.tif")
        ('ftp', None, None)
    """
    found = _ANY.match(str(path))
    return None if found is None or url_of(path) is not None or _FILE.match(str(path)) else found[1]


def path_text(path: Path) -> str:
    """A path as people write it: the URL, where it stands for one."""
    if (scheme := unread_scheme(path)) is not None:
        return re.sub("^.*?:/+", f"{scheme}://", str(path))
    return url_of(path) or str(path)


def exists(path: Path) -> bool:
    """Whether a file is there; of a URL, that is found out when it is opened."""
    return url_of(path) is not None or path.exists()


def remote_remedy(path: Path) -> str:
    """How to get the package that reads the storage of a URL."""
    scheme = str(path).partition(":")[0].replace("https", "http")
    package = _PACKAGES.get(scheme, "adlfs")
    return install(PACKAGES[package].extra) if package in PACKAGES else f"pip install {package}"
