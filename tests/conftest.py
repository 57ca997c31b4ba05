"""What holds for every test: what is left out, fixtures, the threads that fit the machine."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from importlib import import_module
from importlib.machinery import SourceFileLoader
from types import CodeType
from unittest.mock import patch

import pytest
import torch
from jaxtyping import _import_hook

import outside
from outside import data_root  # noqa: F401 (a fixture)


def _get_code(loader: _import_hook._JaxtypingLoader, name: str) -> CodeType:
    """Checked modules are cached under names of their own, but not what they import: torch and Lightning are
    compiled in each process if jaxtyping renames caches while a module runs.
    """
    rename = partial(_import_hook._optimized_cache_from_source, loader._typechecker.get_hash())
    with patch("importlib._bootstrap_external.cache_from_source", rename):
        return SourceFileLoader.get_code(loader, name)


_import_hook._JaxtypingLoader.exec_module = SourceFileLoader.exec_module
_import_hook._JaxtypingLoader.get_code = _get_code


def pytest_configure(config: pytest.Config) -> None:
    """Leave out what cannot run here; one thread per process in parallel runs, at most two otherwise.

    All processes share a cache that starts empty: what an earlier run left in the user's would hide faults.
    """
    outside.register(config)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        cache = tempfile.TemporaryDirectory(prefix="zoomin-cache-", ignore_cleanup_errors=True)
        config.add_cleanup(cache.cleanup)
        os.environ["ZOOMIN_CACHE"] = cache.name
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    torch.set_num_threads(1 if parallel else min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session", autouse=True)
def readers() -> None:
    """Import the readers before threads do: the checks of shapes parse each module as it is imported, and
    Python 3.11 may lose count of its recursion where two threads parse at once (CPython issue 106905).
    """
    for name in ("slide", "raster"):
        import_module(f"zoomin.images.formats.{name}")


@pytest.fixture
def generator() -> torch.Generator:
    """Randomness is an argument: a CPU generator seeded 0, new for each test."""
    return torch.Generator().manual_seed(0)
