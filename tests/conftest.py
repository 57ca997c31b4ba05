"""What holds for every test: what is left out, fixtures, the threads that fit the machine."""

from __future__ import annotations

import os
from importlib import import_module

import pytest
import torch

import outside
from outside import data_root  # noqa: F401 (a fixture)


def pytest_configure(config: pytest.Config) -> None:
    """Leave out what cannot run here; one thread per process in parallel runs, at most two otherwise."""
    outside.register(config)
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    torch.set_num_threads(1 if parallel else min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session", autouse=True)
def readers() -> None:
    """Import the readers before threads do: the checks of shapes parse each module as it is imported, and
    Python 3.11 may lose count of its recursion where two threads parse at once (CPython issue 106905).
    """
    for name in ("slide", "raster"):
        import_module(f"zoomin.images.{name}")


@pytest.fixture
def generator() -> torch.Generator:
    """Randomness is an argument: a CPU generator seeded 0, new for each test."""
    return torch.Generator().manual_seed(0)
