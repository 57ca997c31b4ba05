"""Workers in other processes: every task is answered once, whatever kills the worker that had it."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from zoomin.errors import ConfigError, ImageError
from zoomin.runtime import ray_workers
from zoomin.runtime.executor import Executor, Lost


def squares(number: int) -> Callable[[int | Path], int]:
    """Squares numbers; a file makes it die, one that ends on .once the first time only."""

    def answer(task: int | Path) -> int:
        if isinstance(task, Path):
            if not (task.suffix == ".once" and task.exists()):
                task.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return -1
        return task * task

    return answer


def fails_at_two(number: int) -> Callable[[int], float]:
    return lambda task: 1 / (task - 2)


def unwilling(number: int) -> Callable[[int], int]:
    raise ImageError("no weights", where=f"worker {number}")


def stillborn(number: int) -> Callable[[int], int]:
    os._exit(7)


@pytest.mark.parametrize(
    "executor", [Executor(jobs=2), Executor(jobs=2, cluster="local")], ids=["processes", "ray"]
)
def test_a_worker_that_dies_costs_its_task_at_most(
    executor: Executor, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))  # actors import `squares`
    before = signal.getsignal(signal.SIGTERM)
    tasks = [1, 2, tmp_path / "a.once", 3, tmp_path / "b.always", 4, 5]
    found = list(executor.work(squares, tasks))
    answers = dict(found)
    assert len(found) == len(answers) == 7
    lost = answers.pop(4)
    assert answers == {0: 1, 1: 4, 2: -1, 3: 9, 5: 16, 6: 25}
    assert isinstance(lost, Lost)
    error = str(lost.error("b.svs"))
    assert error.startswith("b.svs: the worker process that read it died ") and "2 times" in error
    assert signal.getsignal(signal.SIGTERM) is before
    assert capfd.readouterr().out == ""


def test_whoever_is_not_interested_any_more_ends_the_workers() -> None:
    found = Executor(jobs=2).work(os_pid, range(100))
    place, worker = next(found)
    assert place in (0, 1)
    found.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def os_pid(number: int) -> Callable[[int], int]:
    return lambda task: os.getpid()


def test_errors_of_the_program_are_not_those_of_a_task() -> None:
    with pytest.raises(RuntimeError, match=r"a worker process failed:\nTraceback (.|\n)*ZeroDivisionError"):
        list(Executor(jobs=2).work(fails_at_two, [1, 2, 3]))
    with pytest.raises(ImageError, match=r"worker \d: no weights"):
        list(Executor(jobs=2).work(unwilling, [1, 2, 3]))
    with pytest.raises(ConfigError, match=r"die before they are ready \(with exit code 7\)\. Use fewer"):
        list(Executor(jobs=2).work(stillborn, [1, 2, 3]))
    assert list(Executor(jobs=2).work(stillborn, [])) == []


def test_what_cannot_be_a_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="jobs is 0"):
        Executor(jobs=0)
    with pytest.raises(ConfigError, match="'there' is not the address of a Ray cluster"):
        Executor(cluster="there")
    with pytest.raises(ConfigError, match=r"zoomin cannot be used on the node .*it has .*, and the job 0\.0"):
        ray_workers._Actor(pickle.dumps(squares)).check("0.0")
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"Ray is not installed\. pip install 'zoomin-net\[distributed\]'"):
        list(Executor(cluster="auto").work(squares, [1]))
