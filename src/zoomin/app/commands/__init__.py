"""The subcommands of `zoomin`, one room a file; `cli.py` lists them."""
