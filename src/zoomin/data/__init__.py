"""Data sets: lists of images and labels, splits, and the batches made of them."""
