"""Experiments and measurements, one a file."""
