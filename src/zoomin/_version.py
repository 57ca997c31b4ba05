"""The version of zoomin: of the package, of run folders and of what it writes."""

__version__ = "0.1.0"
