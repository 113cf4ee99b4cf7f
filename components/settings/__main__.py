"""``python -m components.settings``: the tables of docs/settings.md, written anew from the types."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from components.settings.document import TABLES, DocumentError, written

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"
_DESCRIPTION = """\
Writes the tables of docs/settings.md anew: every key of a stack's settings with its type, its default and what it is,
as the types in components/settings have them. Run it after a change of those. The text around the tables stays."""
_EXAMPLES = """\
A table stands between the lines `<!-- table: NAME -->` and `<!-- end of table -->`. What it says of a key is the text
under the key's field.

Exit status: 0; 1 with --check when the tables are not what would be written; 2 when it was not called right, the
document cannot be read or written, or its marks are not those of the tables."""


def main(arguments: Sequence[str], document: Path = DOCUMENT) -> int:
    """The exit status, as the help tells it."""
    parser = argparse.ArgumentParser(
        prog="python -m components.settings",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing, but show what would change")
    options = parser.parse_args(arguments)
    try:
        before = document.read_text(encoding="utf-8")
        after = written(before)
        if before == after:
            print(f"{document.name}: all {len(TABLES)} tables are as the types have them")
        elif options.check:
            sys.stdout.writelines(_difference(before, after, document.name))
            print(f"{document.name} is not what the types say: run `python -m components.settings`", file=sys.stderr)
            return 1
        else:
            _replace(document, after)
            print(f"{document.name}: {len(TABLES)} tables written")
    except DocumentError as error:
        print(f"{document}: {error}", file=sys.stderr)
        return 2
    except (OSError, UnicodeDecodeError) as error:
        print(f"{document} cannot be read and written: {error}", file=sys.stderr)
        return 2
    return 0


def _difference(before: str, after: str, name: str) -> list[str]:
    return list(
        difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), name, f"{name} by the types"
        )
    )


def _replace(document: Path, text: str) -> None:
    """The whole document at once: one that were half written would have lost what is not in the types."""
    new = document.with_name(f"{document.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(document)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
