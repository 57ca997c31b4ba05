"""The paper's tables and figures, one per file: what `zoomin reproduce` runs."""
