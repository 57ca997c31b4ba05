"""The subcommands of `zoomin`, one file each; `cli.py` lists them."""
