"""Training on slides: time spent waiting for pixels, without cache, with it, and with prefetch.

    python benchmarks/data_loading.py --out results/data_loading.json
    python benchmarks/data_loading.py --count 4 --side 3000 --rounds 1      # a minute

Slides are generated; `--slides FOLDER` keeps them. `--help` lists the options.
"""

from zoomin.experiments.data_loading import main

if __name__ == "__main__":
    raise SystemExit(main())
