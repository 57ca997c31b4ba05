"""Names of a package that are imported from their files on first use, so that importing it stays light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from .extras import extra_named

__all__ = ["lazily"]


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The `__getattr__` of a package.

    Args:
        package: its name.
        homes: by module, relative to the package, the names that it holds.

    Example:
        >>> lazily("zoomin", {".geometry": "Region TileGrid"})("Region").__name__
        'Region'
    """
    module = {name: home for home, names in homes.items() for name in names.split()}

    def find(name: str) -> object:
        if name not in module:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with extra_named():
            home = import_module(module[name], package)
        return getattr(home, name)

    return find
