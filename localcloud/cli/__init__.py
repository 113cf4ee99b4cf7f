"""The commands of `python -m localcloud`."""

from localcloud.cli.parser import main

__all__ = ["main"]
