"""A training step: the batched network against the loop.

    python benchmarks/training_step.py --repeats 20 --out results/training_step.json

The same as `zoomin bench --parts train`; `--help` lists the options.
"""

import sys

from zoomin.experiments.bench import main

if __name__ == "__main__":
    raise SystemExit(main(["--parts", "train", *sys.argv[1:]]))
