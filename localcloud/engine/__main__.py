"""Command line: `python -m localcloud.engine preview|up|destroy|refresh|outputs`.

Exit status: 0, 1 when the operation failed, 2 when `--expect-no-changes` met some.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import time
from pathlib import Path

from localcloud.engine import packs
from localcloud.engine.display import Display
from localcloud.engine.errors import EngineError
from localcloud.engine.steps import Result
from localcloud.engine.target import OPERATIONS, Target, snapshot
from localcloud.engine.values import masked
from localcloud.wire import plain_properties


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.policy_pack and options.operation not in ("preview", "up"):
        parser.error("--policy-pack is for preview and up")
    directory = options.cwd.resolve()
    try:
        target = Target(
            directory,
            options.stack,
            options.config_file or directory / f"Pulumi.{options.stack}.yaml",
            options.state,
            dict(os.environ),
            packs.pair(options.policy_pack, options.policy_pack_config),
        )
        if options.operation == "outputs":
            outputs = snapshot(target).outputs()
            shown = plain_properties(outputs) if options.show_secrets else masked(outputs)
            print(json.dumps(shown, indent=2))
            return 0
        return _operate(options, target)
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; what was done so far is recorded", file=sys.stderr)
        return 130


def _operate(options: argparse.Namespace, target: Target) -> int:
    # These load gRPC and the SDK, which outputs do without.
    from localcloud.engine import operation
    from localcloud.engine.digest import digest

    preview = options.operation == "preview"
    stream = sys.stderr if options.json else sys.stdout
    colours = options.color == "always" or (options.color == "auto" and stream.isatty())
    display = Display(stream, preview=preview, colours=colours, verbose=options.debug)
    started = time.monotonic()
    result = operation.run(options.operation, target, display)
    if options.json:
        print(json.dumps(digest(result, display.messages, time.monotonic() - started), indent=4))
    else:
        display.table(result)
    display.violations()
    if not result.succeeded:
        print(f"error: {options.operation} failed", file=sys.stderr)
        return 1
    return _expected(options, result)


def _expected(options: argparse.Namespace, result: Result) -> int:
    if options.expect_no_changes and result.changes:
        print("error: no changes were expected, but changes occurred", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m localcloud.engine", description=__doc__)
    parser.add_argument("operation", choices=(*OPERATIONS, "outputs"))
    parser.add_argument("--stack", required=True, help="name of the stack")
    parser.add_argument("--cwd", type=Path, default=Path(), help="directory of Pulumi.yaml (default: this one)")
    parser.add_argument("--config-file", type=Path, help="the stack's configuration (default: Pulumi.<stack>.yaml)")
    parser.add_argument("--state", type=Path, required=True, help="directory of all states")
    parser.add_argument("--policy-pack", type=Path, action="append", default=[], metavar="DIR",
                        help="preview, up: judge by this policy pack (repeatable)")  # fmt: skip
    parser.add_argument("--policy-pack-config", type=Path, action="append", default=[], metavar="FILE",
                        help="its configuration, JSON; as many as packs, in their order, or none")  # fmt: skip
    parser.add_argument("--expect-no-changes", action="store_true", help="exit status 2 when anything changes")
    parser.add_argument("--json", action="store_true", help="as `pulumi preview --json` on stdout, progress on stderr")
    parser.add_argument("--show-secrets", action="store_true", help="outputs: in plain text")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    parser.add_argument("--debug", action="store_true", help="show debug messages")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(100_000, 50, 50)
    sys.exit(main())
