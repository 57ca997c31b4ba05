"""Read damaged files of every kind: each ends with an answer or with an error of zoomin's own.

    python benchmarks/mutations.py --count 2000 --seed 0
    python benchmarks/mutations.py --count 1 --first 1234 --seed 0 --show   # one again, with its traceback

Small valid files (mutation_samples.py) are damaged at random (mutate.py) and read in child processes, many
one after another, each child under a limit of memory and each file under a limit of time. Number and seed
decide the damage. Counted are answers, errors of zoomin, other exceptions, failures of memory (also those
that an error of zoomin tells of), hangs, and deaths of a child; the exit code is 1 where there are any of the
last four.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mutate import mutated
from mutation_samples import READS, Sample, copy_sample, make_samples, read_samples

_GIGABYTE = 1 << 30
_PATIENCE = 20  # times the limit of a file that a child may wait for its turn
_FINE = ("answer", "error")


class Limits(NamedTuple):
    """What a child may take.

    Attributes:
        gigabytes: of memory, beyond what it has taken before the first file.
        seconds: of the processor for one file.
    """

    gigabytes: float = 3.0
    seconds: float = 60.0


class Told(NamedTuple):
    """What came of a file.

    Attributes:
        number: of the file.
        kind: what read it.
        sample: what it was.
        found: answer, error, exception, memory, hang or death.
        why: where an exception came from.
        seconds: that it took.
    """

    number: int
    kind: str
    sample: str
    found: str
    why: str
    seconds: float


def damage(folder: Path, samples: list[Sample], seed: int, number: int) -> tuple[Sample, Path]:
    """Write the damaged copy of a number; what it is of, and where it lies."""
    rng = random.Random(f"{seed}/{number}")
    sample = rng.choice(samples)
    path, file = copy_sample(folder / "samples", sample, folder / "damaged")
    file.write_bytes(mutated(file.read_bytes(), file.name, rng))
    return sample, path


def outcome_of(sample: Sample, path: Path) -> tuple[str, str]:
    """Read a file: what came of it, and where an unforeseen exception came from."""
    from zoomin.errors import ZoomInError

    try:
        READS[sample.kind](path)
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError):
                return "memory", _origin(cause)
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, ZoomInError):
            return "error", ""
        return "exception", _origin(error)
    return "answer", ""


def _origin(error: BaseException) -> str:
    """The exception and the last place of the program that it went through."""
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if "zoomin" in frame.filename]
    place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
    return f"{type(error).__name__} at {place}: {str(error)[:120]!r}"


def child(folder: Path, options: argparse.Namespace) -> int:
    """Damage and read one after another; a line before and a line after each."""
    import zoomin.classifiers
    import zoomin.images.formats.open_tiff
    import zoomin.training.checkpoints
    import zoomin.training.recipe  # noqa: F401 (the limit counts from here)

    warnings.simplefilter("ignore")
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = taken + int(options.gigabytes * _GIGABYTE)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    samples = [s for s in read_samples(folder / "samples") if not options.kinds or s.kind in options.kinds]
    answer = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # libraries write there
    for number in range(options.first, options.first + options.count):
        sample, path = damage(folder, samples, options.seed, number)
        begin = time.perf_counter()
        print(
            json.dumps([number, sample.kind, f"{sample.name} {sample.part}".strip()]), file=answer, flush=True
        )
        found, why = outcome_of(sample, path)
        if options.show and found not in _FINE:
            READS[sample.kind](path)
        print(json.dumps([found, why, time.perf_counter() - begin]), file=answer, flush=True)
    return 0


def _processor_seconds(process: int) -> float:
    """What a process has taken of the processors: waiting for its turn is no hang."""
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def watch(folder: Path, options: argparse.Namespace, first: int, last: int) -> Iterator[Told]:
    """Run a child until it ends, dies or hangs; what it tells of each file."""
    words = [sys.executable, __file__, "--child", str(folder), "--seed", str(options.seed)]
    words += ["--first", str(first), "--count", str(last - first), "--gigabytes", str(options.gigabytes)]
    words += ["--kinds", *options.kinds] if options.kinds else []
    environment = {**os.environ, "ZOOMIN_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    with (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, env=environment)
    asked: tuple[int, str, str] | None = None
    before = 0.0
    for line, idle in _lines(process):
        if line is None:
            if asked is not None and _hangs(process.pid, before, idle, options.seconds):
                process.kill()
                process.wait()
                yield Told(*asked, "hang", "", idle)
                return
        elif asked is None:
            asked, before = tuple(json.loads(line)), _processor_seconds(process.pid)
        else:
            yield Told(*asked, *json.loads(line))
            asked = None
    code = process.wait()
    if code and asked is None:
        said = (folder / "stderr").read_bytes()[-2000:].decode(errors="replace")
        raise RuntimeError(f"a child ended with {code}: {said}")
    if code and asked is not None:
        yield Told(*asked, "death", f"exit code {code}", 0.0)


def _lines(process: subprocess.Popen[bytes]) -> Iterator[tuple[bytes | None, float]]:
    """The lines of a child; None after each second without one, and how many these are."""
    assert process.stdout is not None
    idle, waiting = 0.0, b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(1.0):
                idle += 1
                yield None, idle
                continue
            more = os.read(process.stdout.fileno(), 1 << 16)
            if not more:
                return
            idle = 0.0
            *lines, waiting = (waiting + more).split(b"\n")
            yield from ((line, 0.0) for line in lines)


def _hangs(process: int, before: float, idle: float, seconds: float) -> bool:
    """Whether a file has taken too long: of the processor, or while nothing moves."""
    return _processor_seconds(process) - before > seconds or idle > _PATIENCE * seconds


def main(words: list[str] | None = None) -> int:
    """Run them; the exit code is 1 where something else came than an answer or an error of zoomin."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="damaged files")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(READS), default=[], help="by default all")
    parser.add_argument("--per-process", type=int, default=500)
    parser.add_argument("--gigabytes", type=float, default=Limits().gigabytes, help="a child may take more")
    parser.add_argument("--seconds", type=float, default=Limits().seconds, help="of the processor for a file")
    parser.add_argument("--show", action="store_true", help="read in this process, with tracebacks")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.child:
        return child(options.child, options)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "samples").mkdir()
        make_samples(folder / "samples")
        if options.show:
            return child(folder, options)
        first, end = options.first, options.first + options.count
        while first < end:
            for told in watch(folder, options, first, min(end, first + options.per_process)):
                counts[told.found] += 1
                if told.found not in _FINE or told.seconds > 10:
                    print(*told[:3], told.found, told.why, f"({told.seconds:.1f} s)", flush=True)
                first = told.number + 1
            shutil.rmtree(folder / "cache", ignore_errors=True)
            print(f"seed {options.seed}: {counts.total()} files, {dict(sorted(counts.items()))}", flush=True)
    return int(any(count for found, count in counts.items() if found not in _FINE))


if __name__ == "__main__":
    raise SystemExit(main())
