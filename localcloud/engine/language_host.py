"""Runs a Pulumi program in this process, told by its environment which engine to talk to.

Started as a script (`language_host.py PROGRAM`, through `lifeline.py`) in the program's directory. Exit status: 0, or 1
when the program failed; what went wrong has then been told to the engine.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pulumi
from pulumi import runtime

VARIABLE = "LOCALCLOUD_ENGINE_RUN"
"""JSON: monitor, engine (addresses), project, stack, organization, preview, parallel, root_directory."""


def main(program: str) -> int:
    """Runs a program; returns the exit status."""
    # The SDK keeps every resource and future: collecting often finds nothing and takes half of a large program's time.
    gc.set_threshold(100_000, 50, 50)
    run = json.loads(os.environ.pop(VARIABLE))
    runtime.set_all_config(runtime.get_config_env(), runtime.get_config_secret_keys_env())
    runtime.configure(
        runtime.Settings(
            monitor=run["monitor"],
            engine=run["engine"],
            project=run["project"],
            stack=run["stack"],
            organization=run["organization"],
            dry_run=run["preview"],
            parallel=run["parallel"],
            root_directory=run["root_directory"],
        )
    )
    sys.argv = [program]
    sys.path[0] = str(Path(program) if Path(program).is_dir() else Path(program).parent)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # tasks left over by a failure are no news
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    executor = ThreadPoolExecutor(4 * run["parallel"])
    loop.set_default_executor(executor)
    try:
        loop.run_until_complete(runtime.run_in_stack(lambda: _run(program)))
    except pulumi.RunError as error:
        if "Resource monitor has terminated" not in str(error):  # the engine stopped, and has said why
            pulumi.log.error(str(error))
        return 1
    except Exception as error:
        pulumi.log.error("Program failed with an unhandled exception:\n" + _traceback(error, program))
        return 1
    finally:
        executor.shutdown(wait=True)
        loop.close()
    return 0


def _run(program: str) -> None:
    runpy.run_path(program, run_name="__main__")


def _traceback(error: BaseException, program: str) -> str:
    """The traceback from the program's own first line on."""
    root = Path(program) if Path(program).is_dir() else Path(program).parent
    trace = error.__traceback__
    while trace is not None and not _inside(root, trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(
        traceback.format_exception(type(error), error, trace or error.__traceback__, chain=trace is not None)
    )


def _inside(root: Path, filename: str) -> bool:
    path = Path(filename)
    return path.is_relative_to(root) and "site-packages" not in path.parts


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)
