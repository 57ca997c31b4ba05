"""Kill commands with -9 at random moments, resume them, compare the end with that of an uninterrupted run.

    python benchmarks/kills.py --kills 20 --commands predict explain features train crossval slides

Temporary files go to another file system than the results where there is one (/dev/shm), as on most clusters.
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
    return {
        "predict": (["predict", images, *look], resume, same_table),
        "explain": (["explain", images, *look, "--pictures=false"], resume, same_explanations),
        "features": (features, [], same_features),
        "train": (["train", *train, "--train.epochs=8"], resume, same_weights),
        "crossval": (["crossval", *train, "--train.epochs=2", "--cv.folds=3"], resume, same_folds),
        "slides": (["data", "make", "slides", *slides], [], same_files),
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
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1


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
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument(
        "--commands", nargs="+", default=["predict", "explain", "features", "train", "crossval", "slides"]
    )
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
            whole, begin = folder / f"{name}.whole", time.perf_counter()
            assert start([*words, f"--out={whole}"], temporary).wait() == 0, f"{name} does not run"
            seconds, kills, ends, equal = time.perf_counter() - begin, 0, 0, 0
            while kills < options.kills:
                out = folder / f"{name}.{ends}"
                more, well = trial(words, resume, out, seconds, options.kills - kills, temporary)
                kills, ends, equal = kills + more, ends + 1, equal + int(well and same(out, whole))
                shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
            wrong += ends - equal
            print(f"{name}: {kills} kills, {ends} ends, {equal} as if uninterrupted", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
