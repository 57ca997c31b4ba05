"""Signals, workers that end with their parent, and locks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from zoomin.errors import WriteError
from zoomin.runtime.locks import LOCKS, lock_file, lock_folder
from zoomin.runtime.processes import end_workers, stoppable

PARENT = """
import multiprocessing, sys, time
sys.path[:0] = {path!r}
from zoomin.runtime.processes import end_with_parent

def work(path):
    end_with_parent()
    open(path, "w").close()
    time.sleep(600)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work, args=(sys.argv[1],))
    child.start()
    print(child.pid, flush=True)
    child.join()
"""
HOLDER = """
import sys, time
sys.path[:0] = {path!r}
from zoomin.runtime.locks import lock_folder
with lock_folder(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def until(true, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(text.format(path=[str(Path(__file__).parents[1] / "src")]))
    return path


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_signals_stop_like_ctrl_c_and_are_told_apart(name: str) -> None:
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)  # nohup has SIGHUP ignored
    try:
        with stoppable() as stop:
            assert (stop.exit_code, str(stop)) == (130, "interrupted")
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
                time.sleep(5)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert (stop.exit_code, str(stop)) == (128 + number, f"stopped by {name}")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the process in /proc")
def test_workers_end_with_their_parent_however_it_dies(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    parent = subprocess.Popen(
        [sys.executable, script(tmp_path, PARENT), ready], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    until(ready.exists)
    parent.kill()
    parent.wait()
    until(lambda: not alive(child))


def test_workers_that_do_not_end_are_killed() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        work = pool.submit(time.sleep, 600)
        (child,) = multiprocessing.active_children()
        end_workers(pool, 0.1)  # it may not even have started
        assert not child.is_alive() and not multiprocessing.active_children()
    assert work.exception() is not None


def test_who_comes_second_is_told_who_was_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = subprocess.Popen(
        [sys.executable, script(tmp_path, HOLDER), out], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    with pytest.raises(WriteError, match=rf"another job writes here: process {first.pid} on .* since 2"):
        with lock_folder(out):
            pass
    first.kill()  # leaves its files behind, and its lock is free
    first.wait()
    assert {path.name for path in out.iterdir()} == set(LOCKS)
    (out / "model").mkdir()
    for leftover in ("a.h5.0123abcd.part", "model/model.safetensors.89abcdef.part"):
        (out / leftover).touch()
    with lock_folder(out, "model", "not there") as folder:
        (out / "model").rmdir()
        (out / "b.h5.0123abcd.part").touch()  # by a worker that died
        assert folder == out
    assert not list(out.iterdir())
    with lock_folder(tmp_path / "nothing"):
        pass
    assert not (tmp_path / "nothing").exists()


def test_files_are_locked_one_by_one(tmp_path: Path) -> None:
    with lock_file(tmp_path / "new" / "a.csv"), lock_file(tmp_path / "new" / "b.csv"):
        with pytest.raises(WriteError, match="another job"), lock_file(tmp_path / "new" / "a.csv"):
            pass
    assert not list((tmp_path / "new").iterdir())


def test_what_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"a folder, not a file\. Give the name"), lock_file(tmp_path):
        pass
    with pytest.raises(WriteError, match="a file, not a folder"), lock_folder(tmp_path / "file"):
        pass
    with pytest.raises(WriteError, match="cannot be written"), lock_file(tmp_path / "file" / "a.csv"):
        pass
    with lock_file("/dev/null"):
        pass


def test_an_interrupted_import_does_not_change_the_exit_code(tmp_path: Path) -> None:
    """`python -m` of CPython ends as if by Ctrl-C after an interruption of source that was run as text."""
    (tmp_path / "job.py").write_text(
        "from zoomin.runtime.processes import stoppable\n"
        "with stoppable() as stop:\n"
        "    try:\n"
        "        exec('import os, signal; os.kill(os.getpid(), signal.SIGTERM); pause = list(range(9999))')\n"
        "    except KeyboardInterrupt:\n"
        "        code = stop.exit_code\n"
        "raise SystemExit(code)\n"
    )
    assert subprocess.run([sys.executable, "-m", "job"], cwd=tmp_path).returncode == 128 + signal.SIGTERM
