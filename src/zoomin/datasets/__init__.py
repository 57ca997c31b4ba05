"""Published data sets, one per file; `synthetic` holds the generators."""
