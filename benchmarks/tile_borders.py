"""Does attention follow the borders of tiles? Zeros beyond the border of a view, or its mirror image.

    python benchmarks/tile_borders.py --out results/tile_borders.json --seeds 0 1 2

Trains on generated needles (`zoomin demo --quick`) with the paper's padding and with mirrored views, once for
each seed. On negative test images, where there is nothing to find: the attention of stage 2 on the outermost
positions of whole tiles, times their share of the positions (1: no preference), and how often the position of
highest attention is one of them. The scores on all test images stand beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from zoomin import load_model, open_image
from zoomin.app.demo import demo_config
from zoomin.classifiers import zoom_in
from zoomin.data.manifest import Record
from zoomin.datasets.synthetic.needles import make_needles
from zoomin.files import write_json
from zoomin.model.zoom_in import ZoomIn
from zoomin.training.fit import fit

_RINGS = 2  # positions from the border that count as outermost


@torch.no_grad()
def at_borders(net: ZoomIn, records: Sequence[Record]) -> tuple[float, float]:
    """Attention on the outermost positions over uniform attention, and the share of tiles that peak there."""
    u, v = net.map_size
    inner = torch.zeros(u, v, dtype=torch.bool)
    inner[_RINGS:-_RINGS, _RINGS:-_RINGS] = True
    shares, peaks = [], []
    for record in records:
        image = open_image(record.image)
        _, tiles = net.attend([image])
        x, y, width, height = tiles.regions.T
        whole = (x + width <= image.width) & (y + height <= image.height)
        maps = tiles.maps[whole].flatten(1)
        shares.append(maps[:, ~inner.flatten()].sum(1))
        peaks.append(~inner.flatten()[maps.argmax(1)])
    share = float(torch.cat(shares).mean()) / (1 - float(inner.double().mean()))
    return share, float(torch.cat(peaks).double().mean())


def measure(work: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """Both paddings, seed by seed."""
    found: dict[str, Any] = {"zeros": [], "reflect": []}
    for seed in seeds:
        config, run = demo_config(quick=True, seed=seed)
        root = work / f"needles-{seed}"
        manifest = make_needles(root, replace(config, n_val=60, n_test=200), progress=False)
        negative = [r for r in manifest if r.split == "test" and r.label == manifest.classes[0]]
        for padding, rows in found.items():
            name = "lenet_relu" if padding == "zeros" else "lenet_relu_reflect"
            model = replace(run.model, tile_attention=name, position_attention=name)
            data = replace(run.data, root=str(root), classes=list(manifest.classes))
            out = str(work / f"{padding}-{seed}")
            result = fit(replace(run, model=model, data=data, out=out, resume=True), progress=False)
            share, peaks = at_borders(zoom_in(load_model(result.folder)), negative)
            test = result.metrics["test"]
            rows.append({"seed": seed, "attention": share, "peaks": peaks, **_scores(test)})
            print(padding, rows[-1], flush=True)
    return {**found, "date": datetime.now(UTC).date().isoformat()}


def _scores(test: dict[str, Any]) -> dict[str, float]:
    return {name: test[name] for name in ("accuracy", "auroc")}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, help="folder of images and runs, kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        write_json(options.out, measure(work, options.seeds))


if __name__ == "__main__":
    main()
