"""Install zoomin with the lowest and the newest versions that it allows, on each Python, and test it there.

    make matrix                                       # all cells
    make matrix CELLS="lowest/3.11 newest/3.13"       # some

A cell is an environment of its own, made by uv from released wheels and removed afterwards: about 6 GB with
the CUDA build of PyTorch, 2 GB without (`UV_TORCH_BACKEND=cpu`). "lowest" takes of each requirement in
pyproject.toml the lowest version that it allows and that has a wheel for that Python; what those require
themselves is the newest that fits. In it run `zoomin doctor` and the tests that prove formats and colours,
training and prediction. Cells that cannot run here say why; the exit code is 1 where a cell that ran failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
ENDS = ("lowest", "newest")
SPACE = 8e9  # bytes that a cell may need
TOOLS = ("pytest", "beartype", "sybil", "psutil")  # what the tests import, in their newest versions
TESTS = (
    "tests/test_images_contract.py",
    "tests/test_images_decode.py",
    "tests/test_images_photometric.py",
    "tests/test_images_zarr.py",
    "tests/test_images_raster.py",
    "tests/test_images_slide.py",
    "tests/test_estimators.py",
    "tests/test_training_fit.py::test_the_folder_holds_everything",
    "tests/test_training_fit.py::test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit",
    "tests/test_inference.py::test_tensors_images_and_paths_give_the_same",
    "tests/test_inference.py::test_bad_images_are_recorded_and_the_others_go_on",
    "tests/test_inference.py::test_a_run_and_its_model_folder_load",
    "tests/test_inference.py::test_predictions_are_written",
)
EXTRAS = tuple(  # those of `all`
    f"--extra={extra}" for extra in ("slides", "geo", "train", "pretrained", "report", "viewer")
)
SHOWN = ("torch", "lightning", "numpy", "pillow", "tifffile", "imagecodecs", "zarr", "rasterio", "timm")


class Cell(NamedTuple):
    """One environment."""

    end: str
    python: str

    def __str__(self) -> str:
        """As on the command line."""
        return f"{self.end}/{self.python}"


class NotRun(Exception):
    """Why a cell cannot run here."""


class Runner(NamedTuple):
    """Makes environments in a folder and runs the tests in them."""

    folder: Path
    uv: str
    tests: tuple[str, ...]
    keep: bool

    def run(self, cell: Cell) -> str:
        """Make a cell, test it and remove it; the outcome in words."""
        place = self.folder / str(cell).replace("/", "-")
        try:
            python = self.environment(cell, place)
            return self.tested(cell, python, place)
        except NotRun as reason:
            return f"not run: {reason}"
        finally:
            if not self.keep:
                shutil.rmtree(place, ignore_errors=True)

    def environment(self, cell: Cell, place: Path) -> Path:
        """Make the environment; its Python."""
        base = find_python(cell.python)
        if base is None:
            raise NotRun(f"no Python {cell.python} in PATH or ~/.pyenv")
        free = shutil.disk_usage(self.folder).free
        if free < SPACE:
            raise NotRun(f"{free / 1e9:.1f} GB free in {self.folder}, {SPACE / 1e9:.0f} are needed")
        place.mkdir(parents=True, exist_ok=True)
        self.call("venv", "--clear", "--python", base, str(place / "env"), why="no environment")
        python = place / "env" / "bin" / "python"
        chosen = place / "chosen.txt"
        resolution = "lowest-direct" if cell.end == "lowest" else "highest"
        self.call(
            *("pip", "compile", "pyproject.toml", *EXTRAS, "--no-build", "--no-header", "--no-annotate"),
            *("--quiet", "--resolution", resolution, "--python", str(python), "--output-file", str(chosen)),
            why="no versions with wheels satisfy pyproject.toml",
        )
        self.call(
            *("pip", "install", "--quiet", "--python", str(python), "--requirements", str(chosen)),
            *(str(ROOT), *TOOLS),
            why="the install failed",
        )
        return python

    def call(self, *words: str, why: str) -> None:
        """Run uv.

        Raises:
            NotRun: with its last line, where it fails.
        """
        done = subprocess.run([self.uv, *words], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise NotRun(f"{why} ({lines[-1] if lines else done.returncode})")

    def tested(self, cell: Cell, python: Path, place: Path) -> str:
        """Run the doctor and the tests; the outcome in words, the output in a file."""
        log = self.folder / f"{cell.end}-{cell.python}.log"
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
        options = ["-q", "-p", "no:cacheprovider", "--override-ini", "testpaths=tests"]
        with log.open("w", encoding="utf-8") as file:
            runs = [
                subprocess.run(
                    [str(python), *words], cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT
                )
                for words in (["-m", "zoomin", "doctor"], ["-m", "pytest", *options, *self.tests])
            ]
        last = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()][-1]
        doctor = "" if not runs[0].returncode else "doctor failed; "
        good = "passed" if not any(run.returncode for run in runs) else "FAILED"
        return f"{good}: {doctor}{last.strip('= ')} ({self.versions(python)})"

    def versions(self, python: Path) -> str:
        """The main packages of an environment."""
        done = subprocess.run(
            [self.uv, "pip", "list", "--python", str(python), "--format", "json"],
            capture_output=True,
            text=True,
        )
        found = {each["name"]: each["version"] for each in json.loads(done.stdout)}
        return ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found)


def find_python(version: str) -> str | None:
    """A Python of this version: in PATH, else pyenv's."""
    held = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    in_path = shutil.which(f"python{version}")
    for each in (in_path, *map(str, reversed(held))):
        if each and not subprocess.run([each, "-c", "import ssl, venv"], capture_output=True).returncode:
            return each
    return None


def find_uv() -> str:
    """The program uv: of this environment, else in PATH."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.is_file() else shutil.which("uv")
    if uv is None:
        raise SystemExit("uv is missing: pip install uv, or make install.")
    return uv


def main() -> int:
    """Run the cells that are asked for, and print a table."""
    known = [Cell(end, python) for python in PYTHONS for end in ENDS]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="*", choices=[*map(str, known), []], help="by default all six")
    parser.add_argument("--folder", type=Path, help="for environments and logs; by default a temporary one")
    parser.add_argument("--tests", nargs="*", default=TESTS, help="what pytest runs in each")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="zoomin-matrix-"))
    folder.mkdir(parents=True, exist_ok=True)
    runner = Runner(folder.resolve(), find_uv(), tuple(options.tests), options.keep)
    failed = False
    print(
        f"# {datetime.now(UTC):%Y-%m-%d}, logs in {folder}\n\n| cell | outcome |\n| --- | --- |", flush=True
    )
    for cell in known:
        if not options.cells or str(cell) in options.cells:
            outcome = runner.run(cell)
            failed |= outcome.startswith("FAILED")
            print(f"| {cell} | {outcome} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
