"""Training keeps the memory that its steps free, and gives it back at the end."""

import os
import platform
import resource
import subprocess
import sys

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


THREADS = """
import ctypes, threading
from zoomin.runtime.allocator import share_arenas
if {share}:
    share_arenas()
ready, kept = threading.Barrier(4), []
def allocate():
    kept.append(bytearray(100_000))
    ready.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if hasattr(ctypes.CDLL(None), "malloc_stats"):
    ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.parametrize("share", [True, False])
def test_threads_share_what_they_allocate_from(share: bool) -> None:
    names = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    command = [sys.executable, "-c", THREADS.format(share=share)]
    done = subprocess.run(command, capture_output=True, text=True, env=plain, check=True)
    if platform.libc_ver()[0] == "glibc":
        assert (done.stderr.count("Arena") == 1) == share, done.stderr
