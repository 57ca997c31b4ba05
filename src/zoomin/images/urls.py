"""Images that are not local files: which paths are URLs, and what reading them needs.

A URL travels through the program as a `Path`, like every image; `Path("https://host/a.tif")` drops a slash,
which `url_of` puts back.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["exists", "remote_remedy", "url_of"]

_SCHEMES = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
_URL = re.compile(rf"^({'|'.join(_SCHEMES)}):/+(.+)$", re.DOTALL)
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


def exists(path: Path) -> bool:
    """Whether a file is there; of a URL, that is found out when it is opened."""
    return url_of(path) is not None or path.exists()


def remote_remedy(path: Path) -> str:
    """How to get the package that reads the storage of a URL."""
    scheme = str(path).partition(":")[0].replace("https", "http")
    return f"pip install {_PACKAGES.get(scheme, 'adlfs')}"
