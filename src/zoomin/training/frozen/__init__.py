"""Learn from image labels on what a frozen pretrained trunk sees: the default for a few hundred images."""
