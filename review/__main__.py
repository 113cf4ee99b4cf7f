"""Command line: `python -m review [FILE] [--format table|markdown|json]`."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from review.markdown import markdown
from review.preview import NoPreviewError, read
from review.report import Report, report
from review.terminal import show

_MORE = """\
  python -m localcloud preview --json | python -m review
  pulumi preview --json --show-sames >preview.json; python -m review preview.json
  python -m review preview.json --format markdown >>"$GITHUB_STEP_SUMMARY"

Without --show-sames a preview does not say what stays the same: then only what changes is counted as cost, and which
machines stand behind a firewall that changes is not known.

Exit status: 0, 1 when the preview failed or has errors, 2 for wrong usage or a file that is no preview.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Print the report; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m review",
        description="Say what a preview means: who joins and leaves the network, which machines are replaced and why, "
        "which ports open to whom, and what it costs.",
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="a preview as JSON (default: stdin)")
    parser.add_argument("--format", choices=("table", "markdown", "json"), default="table", help="default: table")
    options = parser.parse_args(words)
    try:
        content = sys.stdin.read() if options.file == "-" else Path(options.file).read_text()
        found = report(read(content))
    except (OSError, UnicodeDecodeError, NoPreviewError) as error:
        name = "standard input" if options.file == "-" else options.file
        why = error.strerror if isinstance(error, OSError) else error
        print(f"error: {name}: {why}", file=sys.stderr)
        return 2
    if options.format == "table":
        show(found, sys.stdout)
    else:
        print(markdown(found) if options.format == "markdown" else as_json(found))
    return 1 if found.has_failed else 0


def as_json(found: Report) -> str:
    """The report as one JSON document; amounts and days are strings."""
    return json.dumps(dataclasses.asdict(found), indent=2, default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.quantize(Decimal('0.01'))}"
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


if __name__ == "__main__":
    sys.exit(main())
