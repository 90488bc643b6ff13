"""The subcommands of `python -m parity`, a file each: `add_parser` declares one, `run` does it."""
