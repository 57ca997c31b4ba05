"""Prediction of 100 images: the batched network against the loop.

    python benchmarks/prediction.py --repeats 20 --out results/prediction.json

The same as `zoomin bench --parts predict`; `--help` lists the options.
"""

import sys

from zoomin.experiments.bench import main

if __name__ == "__main__":
    raise SystemExit(main(["--parts", "predict", *sys.argv[1:]]))
