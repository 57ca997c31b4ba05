"""Training keeps the memory that its steps free, and gives it back at the end."""

import os
import platform
import resource

import pytest
import torch

from zoomin.runtime.allocator import memory_kept

BLOCK = 24 << 20


def faults_of_steps() -> int:
    """Pages that twenty steps touch for the first time: each allocates four blocks and frees them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [torch.ones(BLOCK, dtype=torch.uint8) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_an_allocator_that_was_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    with memory_kept() as kept:
        assert not kept


def test_steps_touch_their_pages_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """mallopt(3): without, each step would touch 24,576 pages anew, or 96 MiB of them."""
    for name in list(os.environ):
        if name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")):
            monkeypatch.delenv(name)
    with memory_kept() as kept:
        assert kept == (platform.libc_ver()[0] == "glibc")
        faults_of_steps()
        again = faults_of_steps()
    assert not kept or again < 20 * 4 * BLOCK / 4096 / 10
