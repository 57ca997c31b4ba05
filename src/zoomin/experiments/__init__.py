"""The paper's tables and figures, one a file: what `zoomin reproduce` runs."""
