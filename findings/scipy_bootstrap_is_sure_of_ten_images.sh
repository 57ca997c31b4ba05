#!/usr/bin/env bash
# scipy.stats.bootstrap gives perfect scores an interval without width, or none.
#
# Seen on 2026-11-28 with scipy 1.17.1, numpy 2.4.6.
# Behaviour: ten answers, all right. The percentile interval of their mean is [1, 1]; BCa, the default, is [nan, nan] with
# a DegenerateDataWarning. binomtest(10, 10).proportion_ci(method="wilson") gives 0.72 to 1. Where nine of ten are right
# in truth, 35 of 100 test sets of ten are all right, and the percentile interval then misses the truth.
# Refutes the belief: "the bootstrap gives every score an interval, whatever its distribution".

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-compile --target site \
    scipy==1.17.1 numpy==2.4.6

cat > try.py <<'PYTHON'
import numpy as np
from scipy import stats

right = (np.ones(10),)
for method in ("percentile", "basic", "BCa"):
    found = stats.bootstrap(right, np.mean, method=method, n_resamples=500, rng=0).confidence_interval
    print(method, float(found.low), float(found.high))
wilson = stats.binomtest(10, 10).proportion_ci(method="wilson")
print(f"wilson {wilson.low:.2f} {wilson.high:.2f}")
rng, held = np.random.default_rng(0), 0
for _ in range(400):
    sample = (rng.random(10) < 0.9).astype(float)
    low, high = stats.bootstrap((sample,), np.mean, method="percentile", n_resamples=300, rng=rng).confidence_interval
    held += low <= 0.9 <= high
print("percentile interval holds 0.9 in less than 70 % of samples:", held / 400 < 0.7)
PYTHON

cat > expected <<'TEXT'
percentile 1.0 1.0
basic 1.0 1.0
BCa nan nan
wilson 0.72 1.00
percentile interval holds 0.9 in less than 70 % of samples: True
TEXT

PYTHONPATH=site python3 -W ignore try.py | tee seen
diff expected seen && echo "as on 2026-11-28"
