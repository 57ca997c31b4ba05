"""Actors of a Ray cluster, each at one task at a time, on this machine or on many."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, TextIO, cast

from .._version import __version__
from ..errors import ConfigError, ZoomInError
from .extras import install
from .workers import DIED, DONE, FAILED, READY, Event

__all__ = ["RayWorkers"]

LOCAL = "local"
_ABSENT = "No module named 'zoomin"
_STORE = 200 << 20  # bytes of Ray's shared memory, beside the model
_TRIES = 3  # to start a cluster: Ray gives a node 30 seconds, which a busy machine may exceed
_LONG = 40  # characters of a folder from which on Ray's sockets in it get too long a name


class RayWorkers:
    """Actors of a Ray cluster.

    Args:
        start: a pickled call that takes the number of a worker, and gives what answers tasks. Actors see one
            GPU each, so that number is 0.
        address: "local", a cluster of this machine that ends with this process; "auto", the one that this
            machine is part of; HOST:PORT of its first node; "ray://HOST:PORT".
        jobs: the actors that will be started; None: as many as there are GPUs or processors.
        gpus: whether each needs a GPU, or its share of one.

    Raises:
        ConfigError: if Ray is not installed, there is no such cluster, or it has no GPU.
    """

    def __init__(self, start: bytes, address: str, jobs: int | None, gpus: bool) -> None:
        """Connect to the cluster, or start one."""
        if find_spec("ray") is None:
            raise ConfigError(
                "Ray is not installed",
                where="cluster",
                remedy=f"{install('distributed')}, or use --jobs on one machine.",
            )
        import ray

        self._ray = ray
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}  # the answers that are waited for, and whose they are
        self._begun = 0
        self._folder: Path | None = None
        self._quiet = _quiet()
        self._quiet.__enter__()
        try:
            self._own = not ray.is_initialized()
            if self._own:
                self._connect(address, jobs, len(start))
            self.count, share = self._count(jobs, gpus)
            self._start = ray.put(start)
            self._actor = ray.remote(_Actor).options(num_cpus=1, num_gpus=share, max_restarts=0)
        except BaseException:
            self.close()
            raise

    def _connect(self, address: str, jobs: int | None, held: int) -> None:
        how: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": "ERROR"}
        if address == LOCAL:
            parent = tempfile.gettempdir() if len(tempfile.gettempdir()) < _LONG else "/tmp"
            self._folder = Path(tempfile.mkdtemp(prefix="zoomin-ray-", dir=parent))
            how |= {"num_cpus": jobs or os.cpu_count(), "include_dashboard": False}
            how |= {"object_store_memory": _STORE + 2 * held, "_temp_dir": str(self._folder)}
        for left in reversed(range(_TRIES if address == LOCAL else 1)):
            try:
                with _own_signals():
                    self._ray.init(address, **({} if address.startswith("ray://") else how))
                return
            except Exception as error:  # Ray raises its own, and bare ones
                self._ray.shutdown()
                if left:
                    continue
                remedy = "Start one with ray start --head, and check the address."
                if address == LOCAL:
                    remedy = "Try again where the machine is less busy; or use --jobs, which needs no Ray."
                why = str(error).splitlines()[0].rstrip(".")
                raise ConfigError(
                    f"no Ray cluster at {address} ({why})", where="cluster", remedy=remedy
                ) from error

    def _count(self, jobs: int | None, gpus: bool) -> tuple[int, float]:
        """How many actors there will be, and the GPUs of each."""
        there = self._ray.cluster_resources()
        devices = int(there.get("GPU", 0))
        if gpus and not devices and jobs is None:
            raise ConfigError(
                "the cluster has no GPU",
                where="device",
                remedy="Use --device cpu; or give --jobs, to wait until nodes with GPUs have joined.",
            )
        count = jobs or max(1, devices if gpus else int(there.get("CPU", 1)))
        return count, (min(1.0, max(1, devices) / count) if gpus else 0.0)

    def begin(self) -> int:
        """Start another one, which reports when it is ready; its number."""
        number, self._begun = self._begun, self._begun + 1
        actor = self._actors[number] = self._actor.remote(self._start)
        self._asked[actor.check.remote(__version__)] = number
        return number

    def give(self, worker: int, task: object) -> None:
        """Give a task to a worker that has none."""
        self._asked[self._actors[worker].answer.remote(task)] = worker

    def events(self, seconds: float) -> list[Event]:
        """What has happened; waits for it at most so long."""
        done, _ = self._ray.wait(list(self._asked), timeout=seconds)
        return [self._event(one, self._asked.pop(one)) for one in done]

    def _event(self, done: Any, worker: int) -> Event:  # noqa: ANN401 (of Ray, which is not typed)
        from ray.exceptions import RayActorError, RayError, RayTaskError

        try:
            kind, value = self._ray.get(done)
            return Event(worker, kind, value)
        except RayTaskError as error:
            return Event(worker, FAILED, error.cause if isinstance(error.cause, ZoomInError) else str(error))
        except RayActorError as error:
            if _ABSENT in str(error):
                return Event(worker, FAILED, _version_error(str(error).splitlines()[-1]))
            if "creation task" in str(error):
                return Event(worker, FAILED, str(error))
            self._kill(worker)
            return Event(worker, DIED, f"or its node was lost ({_reason(error)})")
        except RayError as error:
            self._kill(worker)
            return Event(worker, DIED, f"({_reason(error)})")

    def _kill(self, worker: int) -> None:
        with suppress(Exception):  # whatever Ray says of an actor that is gone
            self._ray.kill(self._actors.pop(worker))

    def close(self) -> None:
        """End all actors, and the cluster if it is our own."""
        for worker in list(self._actors):
            self._kill(worker)
        try:
            if self._own:
                with redirect_stdout(StringIO()):  # it prints what its threads have kept back
                    self._ray.shutdown()
        finally:
            self._quiet.__exit__(None, None, None)
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)


class _Actor:
    """A worker; imported by its name on each node."""

    def __init__(self, start: bytes) -> None:
        import pickle

        self._answer = pickle.loads(start)(0)

    def check(self, version: str) -> tuple[str, object]:
        """Whether this node has the version of zoomin that asks.

        Raises:
            ConfigError: if not.
        """
        if version != __version__:
            raise _version_error(f"it has {__version__}, and the job {version}")
        return READY, None

    def answer(self, task: object) -> tuple[str, object]:
        return DONE, self._answer(task)


def _version_error(why: str) -> ConfigError:
    return ConfigError(
        f"zoomin cannot be used on the node {platform.node()} ({why})",
        where="cluster",
        remedy="Install the same version of zoomin-net on all nodes.",
    )


def _reason(error: Exception) -> str:
    """The sentence of a message of Ray that says what has happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith("The actor is dead because")), lines[0])
    return reason.split(". ")[0].removeprefix("The actor is dead because ").rstrip(".")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what the program does on SIGTERM, which Ray replaces."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


class _ButRay:
    """A stream that leaves out what Ray's threads print about workers that died: results go there too."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's lines out of ours."""
    log = logging.getLogger("ray")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with redirect_stdout(cast(TextIO, _ButRay(sys.stdout))):
            yield
    finally:
        log.setLevel(before)
