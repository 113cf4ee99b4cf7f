"""Started as a script by the engine: runs a module or program that must not outlive the engine.

`python lifeline.py -m MODULE` or `python lifeline.py SCRIPT ARGUMENT…`. Standard input is a pipe that the engine holds;
when it closes, this process ends. What runs here gets an empty standard input.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path


def hold() -> None:
    """Ends this process when the other end of its standard input is closed."""
    pipe = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(target=_wait, args=(pipe,), daemon=True).start()


def _wait(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    os._exit(1)


def main() -> None:
    """Runs what the arguments name, as python itself would."""
    hold()
    if sys.argv[1] == "-m":
        module = sys.argv[2]
        sys.argv[:] = sys.argv[2:]
        sys.path[0] = str(Path.cwd())
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = sys.argv[1:]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
