"""Train a network and judge it: `fit` for one run, `crossval` for many."""
