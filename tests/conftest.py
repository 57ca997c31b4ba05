"""Fixtures for every test: real data, a seeded generator; and the threads that fit the machine."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """One thread a process when tests run in parallel, at most two otherwise."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    torch.set_num_threads(1 if parallel else min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session", autouse=True)
def readers() -> None:
    """Import the readers before threads do: the checks of shapes parse each module as it is imported, and
    Python 3.11 may lose count of its recursion where two threads parse at once (CPython issue 106905).
    """
    for name in ("slide", "raster"):
        import_module(f"zoomin.images.{name}")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data: $ZOOMIN_DATA, else shared/data beside the repository."""
    given = os.environ.get("ZOOMIN_DATA")
    root = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not root.is_dir():
        looked = "named by ZOOMIN_DATA" if given else "ZOOMIN_DATA is not set"
        pytest.fail(
            f"no real data: {root} is not a folder ({looked}). "
            "Set ZOOMIN_DATA to the folder of data sets (CONTRIBUTING.md, Data).",
            pytrace=False,
        )
    return root


@pytest.fixture
def generator() -> torch.Generator:
    """Randomness is an argument: a CPU generator seeded 0, new for each test."""
    return torch.Generator().manual_seed(0)
