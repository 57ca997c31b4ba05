"""The time a drawn tile costs, as the batch grows from 1 to 64 images.

    python benchmarks/batch_size.py --repeats 20 --out results/batch_size.json

The same as `zoomin bench --parts scale`; `--help` lists the options.
"""

import sys

from zoomin.experiments.bench import main

if __name__ == "__main__":
    raise SystemExit(main(["--parts", "scale", *sys.argv[1:]]))
