"""Images of any size and format behind one protocol, and batches of them behind one read."""
