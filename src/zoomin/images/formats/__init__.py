"""What reads each format of files, and writes copies that are faster to read."""
