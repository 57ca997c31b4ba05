"""Train a network and evaluate it: `fit` for one run, `crossval` for many."""
