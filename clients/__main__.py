"""``python -m clients NAME``: one configuration of the stack's secret output, for whoever it is for.

What goes in and comes out is a secret: it is read from standard input or a file, and is never an argument.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO, cast

from clients.qr import QrError, qr_code

_OUTPUT = "configurations"
PLACEHOLDER = "REPLACE-WITH-YOUR-PRIVATE-KEY"
"""What stands for a private key that its owner keeps (docs/exports.md)."""
_MASKED = "[secret]"
_DESCRIPTION = """\
The WireGuard configuration of a laptop or machine of an external site, out of the stack's outputs.

NAME is the spoke's. It must be declared in a site with `cloud: external`; `pulumi up` makes its key."""
_EXAMPLES = """\
  pulumi stack output --json --show-secrets | python -m clients laptop-1 --qr     for a telephone's camera
  pulumi stack output --json --show-secrets | python -m clients laptop-1 --write wg0.conf
  python -m localcloud outputs --write exports                                    on the local cloud
  python -m clients laptop-1 --from exports/configurations.json

Whoever has the configuration is NAME on the network: keep the file, and let no one else see the code. Bring the tunnel
up with `wg-quick up ./wg0.conf`, or read file or code with WireGuard's app. When the gateway or the groups change,
it is to be given out anew.

Exit status: 0; 1 when a file cannot be read or written, or the terminal is too narrow; 2 when it was not called right,
as with a NAME that the outputs do not have."""


class MisuseError(Exception):
    """It was not called right; the message says how."""


class FailureError(Exception):
    """It cannot be done; the message says why and what to do."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clients",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="the spoke, as the settings declare it")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--qr", action="store_true", help="show it as a QR code in the terminal")
    how.add_argument("--write", type=Path, metavar="FILE", help="write it to a new file, for you alone (mode 0600)")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help=f"the outputs in JSON, or `{_OUTPUT}` of them alone; standard input without it",
    )
    return parser


def _outputs(source: Path | None, stdin: TextIO) -> str:
    if source is None:
        if stdin.isatty():
            raise MisuseError(
                "nothing comes in: pipe `pulumi stack output --json --show-secrets` into it, or use --from"
            )
        return stdin.read()
    try:
        return source.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise FailureError(f"{source} cannot be read: {reason}") from None


def configurations(text: str) -> Mapping[str, str]:
    """Name -> configuration, of a stack's outputs in JSON or of that one output; MisuseError when it is neither."""
    remedy = "give what `pulumi stack output --json --show-secrets` prints"
    try:
        document: object = json.loads(text)
    except ValueError:
        raise MisuseError(f"what came in is not JSON: {remedy}") from None
    if isinstance(document, dict) and ("schema_version" in document or _OUTPUT in document):
        if _OUTPUT not in document:
            raise MisuseError(
                f"the outputs have no {_OUTPUT}: the stack was not updated since there are any (`pulumi up`)"
            )
        document = cast("dict[str, object]", document)[_OUTPUT]
    if document == _MASKED:
        raise MisuseError(
            "the secrets are masked: say --show-secrets where you take the outputs from; on the local cloud, "
            "`outputs --write DIR` and --from DIR/configurations.json"
        )
    if not isinstance(document, dict):
        raise MisuseError(f"what came in is no stack's outputs: {remedy}")
    found = cast("dict[str, object]", document)
    texts = {name: text for name, text in found.items() if isinstance(text, str) and "[Interface]" in text}
    if len(texts) < len(found):
        raise MisuseError(f"what came in is no stack's outputs: {remedy}")
    return texts


def _chosen(name: str, known: Mapping[str, str]) -> str:
    if name in known:
        return known[name]
    if not known:
        raise MisuseError(
            "the stack has no machine of an external site: declare one (docs/settings.md) and `pulumi up`"
        )
    raise MisuseError(f"{name} is no machine of an external site; known: {', '.join(sorted(known))}")


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FailureError(f"{path} exists: remove it, or name another file") from None
    except OSError as error:
        raise FailureError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _show(name: str, text: str, out: TextIO) -> None:
    if PLACEHOLDER in text:
        raise MisuseError(f"the owner of {name} keeps its private key, so there is no whole configuration: use --write")
    columns = shutil.get_terminal_size().columns if out.isatty() else None
    try:
        out.write(qr_code(text, columns))
    except QrError as error:
        raise FailureError(str(error)) from None
    except UnicodeEncodeError:
        raise FailureError("this terminal cannot show block characters: set LANG to a UTF-8 locale") from None


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    options = _parser().parse_args(arguments)
    try:
        text = _chosen(options.name, configurations(_outputs(options.source, sys.stdin)))
        if options.write is not None:
            _write(options.write, text)
        elif options.qr:
            _show(options.name, text, sys.stdout)
        else:
            sys.stdout.write(text)
    except MisuseError as error:
        print(f"clients: {error}", file=sys.stderr)
        return 2
    except FailureError as error:
        print(f"clients: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
