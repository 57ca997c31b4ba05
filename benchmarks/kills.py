"""Kill commands with -9 at random moments, resume them, compare the end with that of an uninterrupted run.

    python benchmarks/kills.py --kills 20 --commands predict explain features train crossval slides

Temporary files go to another file system than the results where there is one (/dev/shm), as on most clusters.
Of commands with workers (`jobs` and `explain_jobs`) the first process is killed, and the others must end by
themselves. At the end no part of a file may be left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from safetensors.numpy import load_file

SECTIONS = ["--model.tile_size=32", "--model.sub_tile_size=9", "--model.n_samples=3", "--train.device=cpu"]


def start(words: list[str], temporary: str) -> subprocess.Popen[bytes]:
    """A command in its own session, so that only it is killed."""
    return subprocess.Popen(
        [sys.executable, "-m", "zoomin", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": temporary, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def same_table(one: Path, other: Path) -> bool:
    """Equal texts of the rows, and nothing left beside them."""
    return one.read_text() == other.read_text() and not one.with_name(one.name + ".part").exists()


def same_weights(one: Path, other: Path) -> bool:
    """Equal weights, bit by bit, and equal rows of all epochs."""
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    tables = [(folder / "metrics.csv").read_text() for folder in (one, other)]
    return tables[0] == tables[1] and all(np.array_equal(a[name], b[name]) for name in a | b)


def same_features(one: Path, other: Path) -> bool:
    """Equal arrays of every image."""
    names = [{path.name for path in folder.glob("*.h5")} for folder in (one, other)]
    if names[0] != names[1]:
        return False
    for name in names[0]:
        with h5py.File(one / name) as a, h5py.File(other / name) as b:
            if any(not np.array_equal(a[part], b[part]) for part in ("features", "coords")):
                return False
    return True


def same_explanations(one: Path, other: Path) -> bool:
    """The same images, explained with the same answers."""
    entries = [
        {
            (Path(e["image"]).name, e["status"], e["prediction"], e["probabilities"][e["prediction"]])
            for e in json.loads((folder / "index.json").read_text())["images"]
        }
        for folder in (one, other)
    ]
    return entries[0] == entries[1]


def same_folds(one: Path, other: Path) -> bool:
    """Equal predictions of all folds."""
    tables = [(folder / "out_of_fold.csv").read_text() for folder in (one, other)]
    return tables[0] == tables[1]


def same_files(one: Path, other: Path) -> bool:
    """Equal slides, byte by byte."""
    names = [sorted(path.name for path in (folder / "slides").iterdir()) for folder in (one, other)]
    slides = [[(folder / "slides" / name).read_bytes() for name in names[0]] for folder in (one, other)]
    return names[0] == names[1] and slides[0] == slides[1]


def is_clean(out: Path) -> bool:
    """Whether nothing is left that only a job in progress has."""
    there = out.rglob("*") if out.is_dir() else out.parent.glob(f"*{out.name}.*")
    left = [path.name for path in there if path.suffix in (".part", ".lock", ".holder")]
    if left:
        print(f"left: {left}", flush=True)
    return not left


def jobs(folder: Path) -> dict[str, tuple[list[str], list[str], Callable[[Path, Path], bool]]]:
    """By name: the words before --out, those that resume, and how to compare."""
    images, run = str(folder / "images"), str(folder / "run")
    look = [f"--run={run}", "--batch_size=1"]
    train = [
        f"--data.root={images}",
        "--data.val_fraction=0.25",
        "--train.evaluation_replicates=2",
        *SECTIONS,
    ]
    features = ["data", "features", images, "--features=lenet", "--crop_size=32", "--pretrained=false"]
    slides = ["--n_train=4", "--n_val=0", "--n_test=0", "--width=1024", "--height=1024", "--roi_share=0.02"]
    resume = ["--resume=true"]
    parts = {kind: [str(folder / f"{kind}.{n}-of-2") for n in (1, 2)] for kind in ("explain", "features")}
    return {
        "predict": (["predict", images, *look], resume, same_table),
        "explain": (["explain", images, *look, "--pictures=false"], resume, same_explanations),
        "features": (features, [], same_features),
        "train": (["train", *train, "--train.epochs=8"], resume, same_weights),
        "crossval": (["crossval", *train, "--train.epochs=2", "--cv.folds=3"], resume, same_folds),
        "slides": (["data", "make", "slides", *slides], [], same_files),
        "jobs": (["predict", images, *look, "--jobs=2"], resume, same_table),
        "explain_jobs": (["explain", images, *look, "--jobs=2"], resume, same_explanations),
        "merge_explain": (["merge", *parts["explain"]], [], same_explanations),
        "merge_features": (["merge", *parts["features"]], [], same_features),
    }


def trial(
    words: list[str], resume: list[str], out: Path, seconds: float, left: int, temporary: str
) -> tuple[int, bool]:
    """Kill and resume until the command ends by itself; how often it was killed, whether it ended well."""
    kills = 0
    while True:
        process = start([*words, f"--out={out}", *(resume if kills else [])], temporary)
        try:
            code = process.wait(None if kills >= left else random.uniform(0.3, 1.1) * seconds)
            return kills, code == 0
        except subprocess.TimeoutExpired:
            if "--jobs=2" in words:
                process.kill()
                _wait_for_group(process.pid)
            else:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1


def _wait_for_group(group: int) -> None:
    """Wait until all processes have ended that a killed one has started.

    Raises:
        RuntimeError: if they live on for a minute.
    """
    for _ in range(600):
        members = [path for path in Path("/proc").glob("[0-9]*/stat") if _is_alive_in(path, group)]
        if not members:
            return
        time.sleep(0.1)
    raise RuntimeError(f"orphans: {members}")


def _is_alive_in(stat: Path, group: int) -> bool:
    try:
        words = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(words[2]) == group and words[0] != "Z"


def make_parts(folder: Path, kind: str, temporary: str) -> None:
    """The two parts of a job, to be merged."""
    words = jobs(folder)[kind][0]
    for n in (1, 2):
        out = folder / f"{kind}.{n}-of-2"
        code = start([*words, f"--shard={n}/2", f"--out={out}"], temporary).wait()
        assert code == 0, f"a part of {kind} cannot be made"


def prepare(folder: Path, temporary: str) -> None:
    """Images of two classes, and a trained network."""
    rng = np.random.default_rng(0)
    for kind in ("a", "b"):
        (folder / "images" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 256, (96, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / kind / f"{kind}{number}.png")
    words = ["train", f"--data.root={folder / 'images'}", "--train.epochs=1", *SECTIONS]
    assert start([*words, f"--out={folder / 'run'}"], temporary).wait() == 0, "the network cannot be trained"


def main() -> int:
    """Run it; the exit code is 1 where a resumed command ended otherwise than an uninterrupted one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = jobs(Path())
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--commands", nargs="+", choices=list(names), default=list(names))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    wrong = 0
    elsewhere = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory() as results, tempfile.TemporaryDirectory(dir=elsewhere) as temporary:
        folder = Path(results)
        prepare(folder, temporary)
        for name in options.commands:
            words, resume, same = jobs(folder)[name]
            if name.startswith("merge_"):
                make_parts(folder, name.removeprefix("merge_"), temporary)
            whole, begin = folder / f"{name}.whole", time.perf_counter()
            assert start([*words, f"--out={whole}"], temporary).wait() == 0, f"{name} does not run"
            seconds, kills, ends, equal = time.perf_counter() - begin, 0, 0, 0
            while kills < options.kills:
                out = folder / f"{name}.{ends}"
                more, well = trial(words, resume, out, seconds, options.kills - kills, temporary)
                kills, ends, equal = (
                    kills + more,
                    ends + 1,
                    equal + int(well and same(out, whole) and is_clean(out)),
                )
                shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
            wrong += ends - equal
            print(f"{name}: {kills} kills, {ends} ends, {equal} as if uninterrupted", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
