"""Giant slides: prediction beside decoding everything, in time, memory and pixels.

    python benchmarks/gigapixel.py --folder gigapixel --out results/gigapixel.json
    python benchmarks/gigapixel.py --sizes 5000 --rounds 1 --many 0      # a minute

Slides are made where `--folder` has none (5 GB for the default sizes); `--help` lists the options.
"""

from zoomin.experiments.gigapixel import main

if __name__ == "__main__":
    raise SystemExit(main())
