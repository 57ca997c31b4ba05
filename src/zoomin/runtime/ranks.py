"""Several processes that train one network: which of them this is, what they tell each other, how they end.

Processes are started by `torchrun`, by SLURM's `srun`, or by the command itself on one machine (`launch`),
which sets the variables that torchrun sets. They are numbered by rank; rank 0 alone writes.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from ..errors import ConfigError, PeerError, ZoomInError

__all__ = ["PEER_LOST", "Ranks", "check_ranks", "joined", "launch", "launched", "started_ranks"]

T = TypeVar("T")
PEER_LOST = 75  # exit code of a process that ends because another one has ended
_GRACE = 20.0  # seconds that the others have to end by themselves when one has died
_WAIT = timedelta(hours=6)  # for one that computes alone; one that has died is noticed at once
_LOST = re.compile(r"peer|connect|gloo|nccl|socket|timed? ?out|store|abort", re.IGNORECASE)
_RUN = "zoomin"  # the name of the job for who looks at the variables of torchrun
_SECONDS = 1.0  # between looks at the parent


class Ranks(NamedTuple):
    """The processes of a training, and which of them this is.

    Attributes:
        rank: number of this process, from 0.
        world: how many there are.
        local_rank: number of this process on its machine.
        per_node: processes on each machine.
        starter: what has started them: "torchrun", "srun", or "" for a process alone.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    per_node: int = 1
    starter: str = ""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def first(self, call: Callable[[], T]) -> T:
        """What the call gives on rank 0; the other processes wait for it and get the same.

        Raises:
            PeerError: on the others, where it fails on rank 0.
        """
        return self.each(call if self.is_first else lambda: None)[0]  # type: ignore[return-value]

    def each(self, call: Callable[[], T]) -> list[T]:
        """What the call gives on each process, by rank; all wait for all.

        Raises:
            PeerError: where it fails on another process and not on this one.
        """
        if self.world == 1:
            return [call()]
        import torch.distributed as dist

        failed: ZoomInError | None = None
        found: T | None = None
        try:
            found = call()
        except ZoomInError as error:
            failed = error
        gathered: list[Any] = [None] * self.world
        dist.all_gather_object(gathered, (found, "" if failed is None else str(failed)))
        if failed is not None:
            raise failed
        for rank, (_, why) in enumerate(gathered):
            if why:
                raise PeerError(f"process {rank} of {self.world} has failed ({why.removesuffix('.')})")
        return [value for value, _ in gathered]


def started_ranks(environment: Mapping[str, str] | None = None) -> Ranks:
    """Which of several processes this is, as the variables of torchrun or srun tell it."""
    environment = os.environ if environment is None else environment

    def number(name: str, default: int) -> int:
        text = environment.get(name, "")
        return int(text) if text.isdigit() else default

    world = number("WORLD_SIZE", 1)
    if world > 1:
        per_node = number("LOCAL_WORLD_SIZE", world)
        return Ranks(number("RANK", 0), world, number("LOCAL_RANK", 0), per_node, "torchrun")
    world = number("SLURM_STEP_NUM_TASKS", 1)
    if world > 1:
        per_node = world // max(1, number("SLURM_STEP_NUM_NODES", 1))
        return Ranks(number("SLURM_PROCID", 0), world, number("SLURM_LOCALID", 0), per_node, "srun")
    return Ranks()


def launched() -> bool:
    """Whether `launch` has started this process, and tells what becomes of it."""
    return os.environ.get("TORCHELASTIC_RUN_ID") == _RUN


@contextmanager
def joined(ranks: Ranks, backend: str, address: tuple[str, int] | None = None) -> Iterator[Ranks]:
    """Connect the processes for the block; where another one ends early, so does this.

    Processes but the first say nothing below an error, since the first says the same.

    Args:
        ranks: the processes; of one alone nothing is done.
        backend: "gloo" or "nccl".
        address: of the first process; by default the variables MASTER_ADDR and MASTER_PORT name it.

    Yields:
        The processes.

    Raises:
        PeerError: if another process has ended.
    """
    if ranks.world == 1:
        yield ranks
        return
    import torch.distributed as dist

    _end_with(os.getppid())
    if address is not None:
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address[0], str(address[1])
    log = logging.getLogger("zoomin")
    before = log.level
    if not ranks.is_first:
        log.setLevel(logging.ERROR)
    try:
        dist.init_process_group(backend, rank=ranks.rank, world_size=ranks.world, timeout=_WAIT)
        yield ranks
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        raise PeerError(
            f"another process of this training has ended ({str(error).splitlines()[0][:160]})",
            remedy="Its own error is printed above; --resume true resumes from the last complete epoch.",
        ) from error
    finally:
        log.setLevel(before)
        if dist.is_initialized():
            dist.destroy_process_group()


def launch(words: Sequence[str], count: int) -> int:
    """Run `zoomin` with these words in several processes of this machine, and wait for them.

    Where one dies, however it dies, the others are ended. Signals that ask this process to stop are handed
    on.

    Returns:
        The exit code: 0 where all ended well, else that of the first that failed by itself; 128 and the
        signal's number for one that was killed.
    """
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(_free_port()), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": _RUN}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "zoomin", *words],
            env={**threads, **os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    try:
        codes = _first_failures(children)
    except KeyboardInterrupt:
        _end(children, signal.SIGTERM)
        raise
    finally:
        _end(children, signal.SIGKILL)
    for rank, code in codes:
        if code < 0:
            name = signal.Signals(-code).name
            print(
                f"zoomin: process {rank} of {count} was ended by {name}; so are the others.", file=sys.stderr
            )
    known = [code for _, code in codes if code != PEER_LOST] or [code for _, code in codes]
    return 0 if not known else 128 - known[0] if known[0] < 0 else known[0]


def _first_failures(children: Sequence[subprocess.Popen[bytes]]) -> list[tuple[int, int]]:
    """Wait until all have ended, or one has failed and the others had time; ranks and codes of failures."""
    since: float | None = None
    codes: dict[int, int] = {}
    while len(codes) < len(children) and (since is None or time.monotonic() - since < _GRACE):
        for rank, child in enumerate(children):
            if rank not in codes and (code := child.poll()) is not None:
                codes[rank] = code
                since = time.monotonic() if code and since is None else since
        time.sleep(0.05)
    return [(rank, code) for rank, code in codes.items() if code]


def _end(children: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    """Send a signal to those that live, and wait for them."""
    for child in children:
        if child.poll() is None:
            child.send_signal(number)
    for child in children:
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end_with(parent: int) -> None:
    """End at once when the process that has started this one has died: nobody would end it else."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS)
        os._exit(PEER_LOST)

    threading.Thread(target=watch, name="zoomin-starter", daemon=True).start()


def check_ranks(ranks: Ranks, asked: int) -> None:
    """Refuse processes that nobody asked for: each would train the whole run.

    Args:
        ranks: the processes that were started.
        asked: how many the settings ask for.

    Raises:
        ConfigError: if the numbers differ.
    """
    if ranks.world == asked:
        return
    if asked == 1:
        raise ConfigError(
            f"{ranks.starter} has started {ranks.world} processes, and each would train the whole run",
            where="train.devices",
            remedy="Set train.devices to the devices per machine, and train.num_nodes to the machines; or "
            "start it without torchrun and srun.",
        )
    raise ConfigError(
        f"train.devices times train.num_nodes is {asked}, and {ranks.world} processes were started",
        where="train.devices",
        remedy="Start one process for each device, or change the two settings.",
    )
