"""An example of a package that extends zoomin: a format, two networks, a baseline and a data set."""
