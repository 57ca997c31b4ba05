"""Giant slides: prediction beside decoding everything, in time, memory and pixels; both sides in one run.

Every number comes from a process of its own, which begins without caches of the images (the system is asked
to forget the file). Rounds alternate between prediction and decoding, so that a busy moment of the machine
hits both; the seconds of processors that each used depend less on what else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from gigapixel_jobs import GEOMETRY
from zoomin.data.folders import list_images
from zoomin.datasets.synthetic.slides import SlideConfig, make_slides
from zoomin.experiments.bench import machine

__all__ = ["TARGETS", "main", "markdown", "measure"]

TARGETS = {
    "seconds": 10.0,
    "peak_mb": 1500.0,
    "decoded_share": 0.01,
    "times_faster": 30.0,
    "memory_spread": 0.15,
    "memory_growth": 0.05,
}

SMALL = 3000  # side of the slide that each process predicts first, so that its libraries are loaded
_SMALLER = "networks lenet_relu"  # the paper's other structure
VARIANTS: dict[str, dict[str, object]] = {
    "the glass looked at too": {"foreground": False},
    "8 systematic replicates": {"sampling": "systematic", "replicates": 8},
    "networks in bfloat16": {"precision": "bf16-mixed"},
    _SMALLER: {"networks": "lenet_relu"},
    "networks lenet_relu in bfloat16": {"networks": "lenet_relu", "precision": "bf16-mixed"},
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print Markdown, write JSON and the same Markdown beside it.

    Args:
        argv: the options; the process's own by default.
    """
    options = _parser().parse_args(argv)
    console = Console(stderr=True)
    slides = _slides(options)
    options.first_on = options.first_on or _slide(options, SMALL)
    with console.status("measuring") as status:
        report = measure(options, slides, lambda text: status.update(text))
    text = markdown(report)
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    return 0


def measure(
    options: argparse.Namespace, slides: dict[int, str], tell: Callable[[str], object] = print
) -> dict[str, Any]:
    """All the numbers, and which targets they reach.

    Args:
        options: of the command line.
        slides: a generated slide of each size.
        tell: what is being measured.
    """
    report: dict[str, Any] = {
        "machine": machine("cpu", options.threads),
        "geometry": GEOMETRY,
        "networks": options.networks,
        "sizes": {},
    }
    for size, path in slides.items():
        tell(f"{size} x {size}")
        report["sizes"][str(size)] = _compare(options, path, rounds=options.rounds)
    largest = slides[max(slides)]
    tell("variants")
    report["variants"] = {name: _typical(options, largest, settings) for name, settings in VARIANTS.items()}
    if options.many:
        tell(f"{options.many} predictions in one process")
        report["many"] = _run("many", options, images=[slides[min(slides)]], count=options.many)
    if options.real is not None:
        paths = list_images(options.real)
        report["real"] = {path.name: _real(options, path, tell) for path in paths}
    report["targets"] = _targets(report)
    report["load_at_the_end"] = machine("cpu", options.threads)["load"]
    return report


def markdown(report: dict[str, Any]) -> str:
    """The numbers as short Markdown."""
    where = report["machine"]
    lines = [
        "# Giant slides",
        "",
        "Decoding the tissue: every tile of 256 pixels that is mostly tissue, one read per tile, without "
        "computing anything, with the reader and threads of the prediction. Prediction opens the file, "
        "finds the tissue (the same), reads, and runs the networks. Both begin with libraries loaded and "
        "without the file in the system's cache.",
        "",
        f"{where['processor']}, {where['threads']} threads, {where['date'][:10]}, zoomin {where['zoomin']}; "
        f"load of the machine {where['load']} before and {report['load_at_the_end']} after. Tiles of "
        f"{GEOMETRY['tile_size']}, N = {GEOMETRY['n_samples']}, networks {report['networks']}.",
        "",
        "| slide | predict, s | decode the tissue, s | times faster | of processors, s | times less | "
        "peak memory, MB | stored pixels decoded |",
        "| --- " * 8 + "|",
    ]
    for size, row in report["sizes"].items():
        part = "" if row["decoded_part"] == 1 else f" (from {row['decoded_part']:.0%} of it)"
        lines.append(
            f"| {int(size):,} x {int(size):,} | {row['seconds']:.2f} | {row['decode_seconds']:.1f}{part} | "
            f"{row['times_faster']:.1f} | {row['processor_seconds']:.1f} and "
            f"{row['decode_processor_seconds']:.1f} | {row['times_less_processor']:.1f} | "
            f"{row['peak_mb']:.0f} | {row['decoded_share']:.2%} |"
        )
    last = report["sizes"][max(report["sizes"], key=int)]
    for name, row in report["variants"].items():
        seconds, busy = row["seconds"][0], row["processor_seconds"][0]
        lines.append(
            f"| the largest, {name} | {seconds:.2f} | | {last['decode_seconds'] / seconds:.1f} | "
            f"{busy:.1f} | {last['decode_processor_seconds'] / busy:.1f} | {row['peak_mb']:.0f} | "
            f"{row['decoded_share']:.2%} |"
        )
    lines += [
        "",
        f"16 neighbours a read decode the largest in {last['decode_merged_seconds']:.1f} s "
        f"({last['decode_merged_processor_seconds']:.1f} s of processors).",
    ]
    if "many" in report:
        row = report["many"]
        lines += [
            "",
            f"{row['predictions']} predictions in one process: {row['after_warm_up_mb']:.0f} MB at first, "
            f"{row['end_mb']:.0f} MB at the end ({row['growth']:+.1%}).",
        ]
    if "real" in report:
        lines += ["", "| real file | pixels | predict, s | peak memory, MB | decoded |", "| --- " * 5 + "|"]
        lines += [_real_row(name, row) for name, row in report["real"].items()]
    lines += ["", "| target | measured | |", "| --- | --- | --- |"]
    lines += [
        f"| {name}: {row['target']:g} | {row['measured']:.3g} | {'reached' if row['reached'] else 'MISSED'} |"
        for name, row in report["targets"].items()
    ]
    return "\n".join(lines)


def _compare(options: argparse.Namespace, path: str, rounds: int) -> dict[str, Any]:
    """Prediction and decoding of one slide, in alternating rounds."""
    parts = max(rounds, round(rounds / options.decode_share))
    predicted, decoded = [], []
    for number in range(rounds):
        predicted.append(_predict(options, path, seed=number))
        decoded.append(_run("decode", options, image=path, part=number, parts=parts))
    merged = _run("decode", options, image=path, part=rounds, parts=max(10, parts), together=16)
    seconds = statistics.median(row["seconds"][0] for row in predicted)
    tiles = sum(row["tiles"] for row in decoded)
    part = tiles / decoded[0]["tissue_tiles"]
    whole = sum(row["seconds"] for row in decoded) / part
    busy = statistics.median(row["processor_seconds"][0] for row in predicted)
    whole_busy = sum(row["processor_seconds"] for row in decoded) / part
    rates = [row["pixels"] / row["seconds"] / 1e6 for row in decoded]
    return {
        "seconds": seconds,
        "decode_seconds": whole,
        "decoded_part": part,
        "decode_megapixels_a_second": statistics.median(rates),
        "tissue_share": decoded[0]["tissue_share"],
        "times_faster": whole / seconds,
        "processor_seconds": busy,
        "decode_processor_seconds": whole_busy,
        "times_less_processor": whole_busy / busy,
        "peak_mb": max(row["peak_mb"] for row in predicted),
        "decoded_share": max(row["decoded_share"] for row in predicted),
        "decode_merged_seconds": merged["seconds"] * merged["tissue_tiles"] / max(1, merged["tiles"]),
        "decode_merged_processor_seconds": merged["processor_seconds"]
        * merged["tissue_tiles"]
        / max(1, merged["tiles"]),
        "predicted": predicted,
        "decoded": decoded,
        "decoded_merged": merged,
    }


def _typical(options: argparse.Namespace, path: str, settings: Mapping[str, object]) -> dict[str, Any]:
    """The prediction of median time."""
    runs = [_predict(options, path, seed=number, **settings) for number in range(options.rounds)]
    return sorted(runs, key=lambda run: run["seconds"][0])[len(runs) // 2]


def _real(options: argparse.Namespace, path: Path, tell: Callable[[str], object]) -> dict[str, Any]:
    tell(path.name)
    row = _predict(options, str(path))
    if "error" in row:
        row["error"] = row["error"].replace(str(path), path.name)  # where it lies is nobody's business
    return row


def _real_row(name: str, row: dict[str, Any]) -> str:
    if "seconds" not in row:
        return f"| {name} | | refused: {row['error'].split(': ', 1)[-1]} | | |"
    return (
        f"| {name} | {row['width']:,} x {row['height']:,} | {row['seconds'][0]:.2f} | {row['peak_mb']:.0f} | "
        f"{row['decoded_share']:.0%} |"
    )


def _targets(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The targets, for the largest slide, and what was measured."""
    sizes = report["sizes"]
    largest = sizes[max(sizes, key=int)]
    peaks = [row["peak_mb"] for row in sizes.values()]
    measured = {name: largest[name] for name in ("seconds", "peak_mb", "decoded_share", "times_faster")}
    if len(peaks) > 1:
        measured["memory_spread"] = max(peaks) / min(peaks) - 1
    smaller = report["variants"].get(_SMALLER)
    if smaller is not None:
        measured[f"times_faster, {_SMALLER}"] = largest["decode_seconds"] / smaller["seconds"][0]
    if "many" in report:
        measured["memory_growth"] = report["many"]["growth"]
    return {
        name: {
            "target": target,
            "measured": value,
            "reached": (value >= target) if name.startswith("times_faster") else (value <= target),
        }
        for name, value in measured.items()
        for target in [TARGETS[name.split(",")[0]]]
    }


def _predict(options: argparse.Namespace, path: str, **settings: object) -> dict[str, Any]:
    common = {"networks": options.networks, "first_on": options.first_on}
    return _run("predict", options, image=path, **{**common, **settings})


def _run(job: str, options: argparse.Namespace, **settings: object) -> dict[str, Any]:
    """A job in a new process.

    Raises:
        RuntimeError: with what the process wrote, if it failed.
    """
    words = json.dumps({"job": job, "threads": options.threads, **settings})
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(options.threads),
        "OMP_WAIT_POLICY": "passive",  # threads that wait for others sleep: their time is not work
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("gigapixel_jobs.py")), words],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{job} ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _slides(options: argparse.Namespace) -> dict[int, str]:
    """A positive slide of each size, made where it is not there yet."""
    return {size: _slide(options, size) for size in sorted(options.sizes)}


def _slide(options: argparse.Namespace, size: int) -> str:
    """A positive slide of a size, made where it is not there yet."""
    config = SlideConfig(
        n_train=0, n_val=0, n_test=2, width=size, height=size, textures=options.textures, tissue_share=0.4
    )
    manifest = make_slides(options.folder / str(size), config, jobs=options.threads)
    return str(manifest.records[1].image)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("gigapixel"), help="where generated slides lie")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[20_000, 50_000, 100_000], help="sides, pixels"
    )
    parser.add_argument("--textures", help="images to make slides of; procedural textures by default")
    parser.add_argument("--threads", type=int, default=2, help="processor threads (default 2)")
    parser.add_argument("--networks", default="resnet16", help="resnet16 (default) or lenet_relu")
    parser.add_argument(
        "--rounds", type=int, default=3, help="predictions and decodings of a slide (default 3)"
    )
    parser.add_argument(
        "--decode_share", type=float, default=1.0, help="share of the tissue to decode (default all of it)"
    )
    parser.add_argument("--many", type=int, default=300, help="predictions in one process, 0 for none")
    parser.add_argument(
        "--first_on", help="a small image that each process predicts first (by default a slide is made)"
    )
    parser.add_argument("--real", type=Path, help="a folder of real slides")
    parser.add_argument(
        "--out", type=Path, help="write the numbers to this JSON file, and Markdown beside it"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
