"""Generators of images with labels, ROIs and known answers."""
