"""The rules, with links that lead to the runbooks from wherever an alert is read."""

from __future__ import annotations

import re
from pathlib import Path

RULES = Path(__file__).parent / "rules.yaml"
_LINK = "runbook_url: "
_REPOSITORY = re.compile(r"https?://[A-Za-z0-9._~:/@%+-]+")


class RepositoryError(ValueError):
    """No URL of the project's files."""


def linked(repository: str) -> str:
    """The text of the rules with the runbooks below ``repository``, the URL of the project's files; RepositoryError."""
    if not _REPOSITORY.fullmatch(repository):
        raise RepositoryError(
            f"{repository!r} is no URL of the project's files: give where a browser shows them, such as "
            "https://git.example.com/acme/hybrid-wireguard/blob/main"
        )
    return RULES.read_text().replace(_LINK, f"{_LINK}{repository.rstrip('/')}/")
