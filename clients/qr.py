"""A text as a QR code in a terminal."""

from __future__ import annotations

import io

import segno

_QUIET = 4
"""Empty modules around a code (ISO/IEC 18004)."""
_LIGHT_ON_DARK = "\x1b[97;40m"
_RESET = "\x1b[0m"


class QrError(ValueError):
    """The code cannot be shown; the message says why and what to do."""


def qr_code(configuration: str, columns: int | None) -> str:
    """The lines that show ``configuration``, without its comments, in colours that do not depend on the terminal's.

    Two modules of the code are one character above each other. ``columns`` is the terminal's width, None when nobody
    knows. QrError when the terminal is too narrow, or the text too long for any code.
    """
    told = [line for line in configuration.splitlines() if line and not line.startswith("#")]
    try:
        code = segno.make_qr("\n".join(told) + "\n", error="l", boost_error=False)
    except segno.DataOverflowError:
        raise QrError("the configuration is too long for a QR code: hand it over as a file (--write)") from None
    width, _ = code.symbol_size(border=_QUIET)
    if columns is not None and width > columns:
        raise QrError(f"the code is {width} columns wide, and the terminal has {columns}: widen it, or use --write")
    shown = io.StringIO()
    code.terminal(shown, border=_QUIET, compact=True)
    return "".join(f"{_LIGHT_ON_DARK}{line}{_RESET}\n" for line in shown.getvalue().splitlines())
