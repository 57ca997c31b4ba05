"""Jobs on a Ray cluster: workers, drivers and nodes are killed, and the results are those of one process.

    python benchmarks/ray_cluster.py --slides 200 --parts workers driver throughput nodes explain features

Small pyramidal TIFFs are made, and one file whose reader, a plug-in made here, kills the process that opens
it.

- workers: two actors, one killed with -9 in the middle.
- driver: the command killed with -9 in the middle, and resumed.
- throughput: images per second with one actor and with two, and with one and two processes without Ray.
- nodes: three nodes (`ray start`) on this machine, one of them killed in the middle; the command comes from
  outside the cluster (ray://).
- explain, features: as workers, with `zoomin explain` and `zoomin data features`; all files are compared.

The exit code is 1 where results are not those of one process, with the file that kills as only failed row.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

KILLER = "killer.poison"
FEATURES = ["--features=resnet16", "--crop_size=128", "--pretrained=false"]
PLUG_IN = """
import os
from zoomin.images.open_image import Reader

def open_poison(path, *, mpp=None):
    os.kill(os.getpid(), 9)

READER = Reader("poison", lambda path, head: head.startswith(b"POISON"), open_poison, (".poison",))
"""
ENTRY = "[zoomin.readers]\npoison = zoomin_poison:READER\n"


def prepare(folder: Path, count: int) -> dict[str, str]:
    """Slides, a network and the plug-in; the environment of commands that know it."""
    from slides import picture, pyramid
    from zoomin import ZoomIn, ZoomInConfig

    (folder / "slides").mkdir()
    for number in range(count - 1):
        pyramid(folder / "slides" / f"{number:04d}.tif", picture(1024, 1024, seed=number))
    torch.manual_seed(0)
    config = ZoomInConfig(tile_size=128, sub_tile_size=64, n_samples=10, features="resnet16")
    ZoomIn(config).eval().save_pretrained(folder / "run" / "model")
    plug_ins = folder / "plug_ins"
    info = plug_ins / "zoomin_poison-1.0.dist-info"
    info.mkdir(parents=True)
    (plug_ins / "zoomin_poison.py").write_text(PLUG_IN)
    (info / "entry_points.txt").write_text(ENTRY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoomin-poison\nVersion: 1.0\n")
    source = str(Path(__file__).resolve().parent.parent / "src")
    paths = [str(plug_ins), source, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


class Job:
    """A command that works on all slides: predicts them into a table, unless another kind is given."""

    def __init__(
        self, folder: Path, environment: dict[str, str], name: str, *words: str, kind: str = "predict"
    ) -> None:
        """Start it."""
        self.out = folder / (f"{name}.csv" if kind == "predict" else name)
        table = {
            "predict": self.out,
            "explain": self.out / "index.json",
            "features": self.out / "features.csv",
        }
        self.table, self.part = table[kind], table[kind].with_name(f"{table[kind].name}.part")
        self.log = folder / f"{name}.log"
        look = [f"--run={folder / 'run'}", "--batch_size=1", "--sampling=systematic"]
        how = {
            "predict": ["predict", *look],
            "explain": ["explain", *look, "--pictures=false"],
            "features": ["data", "features", *FEATURES],
        }[kind]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "zoomin", *how, str(folder / "slides"), f"--out={self.out}", *words],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def rows(self) -> int:
        """Images that are done."""
        if self.table.suffix == ".json":  # written now and then, with the images since in its part
            texts = [path.read_text() for path in (self.table, self.part) if path.exists()]
            return sum(text.count('"image":') for text in texts)
        path = self.part if self.part.exists() else self.table
        return path.read_bytes().count(b"\n") - 1 if path.exists() else 0

    def until(self, rows: int) -> None:
        """Wait until so many images are done.

        Raises:
            RuntimeError: if it ends before.
        """
        while self.rows() < rows:
            if self.process.poll() is not None:
                raise RuntimeError(f"it ended early: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def end(self) -> str:
        """Wait for the end; what it printed on stdout."""
        out, _ = self.process.communicate()
        return out.decode()

    def actors(self) -> list[psutil.Process]:
        """Processes below it that compute."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in below if "ray::_Actor" in " ".join(one.cmdline()[:1])]


def compared(job: Job, whole: Path, poison: bool) -> str:
    """How the table differs from that of one process; empty where it does not."""
    with job.out.open(newline="") as file, whole.open(newline="") as other:
        rows = list(csv.DictReader(file))
        right = {row["image"]: row for row in csv.DictReader(other)}
    names = [row["image"] for row in rows]
    failed = [row["image"] for row in rows if row["status"] == "error"]
    equal = sum(right.get(row["image"]) == row for row in rows)
    if len(set(names)) != len(names) or equal != len(right) or len(failed) != int(poison):
        return f"{len(rows)} rows, {len(set(names))} images, {equal} of {len(right)} right, failed: {failed}"
    return ""


def files_compared(job: Job, whole: Job) -> str:
    """How the files differ from those of one process, byte by byte; empty where they do not."""
    found, wanted = (_files_of(one) for one in (job, whole))
    different = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    listed = [name for name in different if name == job.table.name]
    if different != listed:
        return f"{len(different)} of {len(wanted)} files differ: {different[:5]}"
    own, right = (_rows_of(one) for one in (job, whole))
    failed = [name for name, row in own.items() if '"status": "error"' in row or ",error," in row]
    equal = sum(own.get(name) == row for name, row in right.items())
    if equal != len(right) or len(own) != len(right) + 1 or failed != [KILLER]:
        return f"{len(own)} images listed, {equal} of {len(right)} right, failed: {failed}"
    return ""


def _files_of(job: Job) -> dict[str, bytes]:
    """What the files of its folder hold."""
    files = [path for path in job.out.rglob("*") if path.is_file()]
    return {str(path.relative_to(job.out)): path.read_bytes() for path in files}


def _rows_of(job: Job) -> dict[str, str]:
    """What is listed of each image, by its name; without the folder that it was written to."""
    text = job.table.read_text().replace(str(job.out), "")
    if job.table.suffix == ".csv":
        return {Path(row["image"]).name: ",".join(row.values()) for row in csv.DictReader(text.splitlines())}
    return {Path(one["image"]).name: json.dumps(one) for one in json.loads(text)["images"]}


def workers(folder: Path, environment: dict[str, str], count: int) -> tuple[Job, str]:
    """Kill one of two actors in the middle."""
    job = Job(folder, environment, "workers", "--cluster=local", "--jobs=2")
    job.until(count // 2)
    victim = job.actors()[0]
    victim.kill()
    job.end()
    return job, f"actor {victim.pid} killed after {count // 2} rows"


def files(folder: Path, environment: dict[str, str], count: int, kind: str) -> tuple[str, str]:
    """Kill one of two actors that write files; what happened, and how the files differ."""
    slides = folder / "slides"
    (slides / KILLER).rename(folder / KILLER)
    whole = Job(folder, environment, f"{kind}_whole", kind=kind)
    whole.end()
    (folder / KILLER).rename(slides / KILLER)
    job = Job(folder, environment, kind, "--cluster=local", "--jobs=2", kind=kind)
    job.until(count // 2)
    victim = job.actors()[0]
    victim.kill()
    job.end()
    return f"actor {victim.pid} killed after {count // 2} images", files_compared(job, whole)


def driver(folder: Path, environment: dict[str, str], count: int) -> tuple[Job, str]:
    """Kill the command in the middle, and resume it."""
    words = ("--cluster=local", "--jobs=2")
    job = Job(folder, environment, "driver", *words)
    job.until(count // 2)
    below = psutil.Process(job.process.pid).children(recursive=True)
    job.process.kill()
    job.end()
    begin = time.perf_counter()
    _, alive = psutil.wait_procs(below, timeout=120)
    gone = f"the last of its {len(below)} processes ended after {time.perf_counter() - begin:.0f} s"
    job = Job(folder, environment, "driver", *words, "--resume=true")
    said = job.end().strip().split("): ")[0]
    return job, f"killed after {count // 2} rows; {gone if not alive else f'{len(alive)} live on'}; {said})"


def nodes(folder: Path, environment: dict[str, str], count: int) -> tuple[Job, str]:
    """Kill one of three nodes of a cluster in the middle."""
    ports = [_free_port() for _ in range(2)]
    environment = {**environment, "RAY_AUTH_MODE": "disabled"}  # nothing but this machine takes part
    short = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1"]
    ray += ["--disable-usage-stats", f"--object-store-memory={100 << 20}"]
    head = ["--head", f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}"]
    head += ["--include-dashboard=false", f"--temp-dir={short}"]
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        with (folder / "nodes.ray.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [*ray, *words], stdout=log, stderr=log, env=environment, start_new_session=True
                )
            )

    try:
        start(*head)
        _wait(lambda: _listens(ports[1]), "the head of the cluster")
        for _ in range(2):
            start(f"--address=127.0.0.1:{ports[0]}")
        job = Job(folder, environment, "nodes", f"--cluster=ray://127.0.0.1:{ports[1]}", "--jobs=3")
        job.until(count // 2)
        _kill_all(started.pop())
        job.end()
        return job, f"one of three nodes killed after {count // 2} rows"
    finally:
        for node in started:
            _kill_all(node)


def _kill_all(node: subprocess.Popen[bytes]) -> None:
    """A node dies with everything on it."""
    below = psutil.Process(node.pid).children(recursive=True)
    for process in [*below, psutil.Process(node.pid)]:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    node.wait()


def throughput(folder: Path, environment: dict[str, str], count: int) -> str:
    """Rows per second between an eighth and seven eighths of the slides."""
    found = {}
    for name, words in {
        "ray 1": ("--cluster=local", "--jobs=1"),
        "ray 2": ("--cluster=local", "--jobs=2"),
        "one process": (),
        "two processes": ("--jobs=2",),
    }.items():
        job = Job(folder, environment, name.replace(" ", "_"), *words)
        job.until(count // 8)
        begin, early = time.perf_counter(), job.rows()
        job.until(count - count // 8)
        found[name] = (job.rows() - early) / (time.perf_counter() - begin)
        job.end()
    rates = ", ".join(f"{name}: {rate:.2f}/s" for name, rate in found.items())
    return (
        f"{rates}; ratio with Ray {found['ray 2'] / found['ray 1']:.2f}, "
        f"without {found['two processes'] / found['one process']:.2f}; load {os.getloadavg()[0]:.1f}"
    )


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _wait(true: Callable[[], bool], what: str, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.2)


def main() -> int:
    """Run the parts; the exit code is 1 where a table is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=200, help="with the one that kills")
    parts = ["workers", "driver", "throughput", "nodes", "explain", "features"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts, help="in this order")
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = prepare(folder, options.slides)
        tables = {"workers": workers, "driver": driver, "nodes": nodes}
        if tables.keys() & set(options.parts):
            reference = Job(folder, environment, "whole")
            reference.end()
            print(f"one process: {reference.rows()} rows", flush=True)
        if "throughput" in options.parts:
            print(f"throughput: {throughput(folder, environment, options.slides)}", flush=True)
        (folder / "slides" / KILLER).write_bytes(b"POISON")
        for part in (part for part in options.parts if part != "throughput"):
            begin = time.perf_counter()
            if part in tables:
                job, told = tables[part](folder, environment, options.slides)
                differs = compared(job, reference.out, poison=True)
            else:
                told, differs = files(folder, environment, options.slides, part)
            wrong += bool(differs)
            seconds = time.perf_counter() - begin
            print(f"{part}: {told}; {differs or 'as one process'} ({seconds:.0f} s)", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
