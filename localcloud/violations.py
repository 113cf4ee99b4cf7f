"""What policies object to, put into the document of `pulumi preview --json`: the CLI tells it to its event log alone.

pkg/backend/display/json.go of pulumi 3.260 passes policy events over; sdk/go/common/apitype/events.go is their shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SEVERITIES = {"mandatory": "error", "advisory": "warning"}


def with_violations(document: str, log: Path) -> str:
    """The document with a diagnostic for each violation in the event log, worded as the small engine words it.

    What a CLI that died left half written stays as it is: of the log its last line is passed over.
    """
    found = list(_diagnostics(log)) if log.exists() else []
    read: dict[str, Any] | None = _read(document)
    if not found or read is None:
        return document
    read["diagnostics"] = [*read.get("diagnostics", ()), *found]
    return json.dumps(read, indent=4)


def _diagnostics(log: Path) -> Iterator[dict[str, str]]:
    for line in log.read_text().splitlines():
        event: dict[str, Any] | None = (_read(line) or {}).get("policyEvent")
        if event is None or event.get("enforcementLevel") not in _SEVERITIES:
            continue
        level, severity = event["enforcementLevel"], _SEVERITIES[event["enforcementLevel"]]
        pack = f"{event['policyPackName']}@v{event['policyPackVersion']}"
        message = _plain(event["message"]).strip()
        about = {"urn": event["resourceUrn"]} if event.get("resourceUrn") else {}
        yield {
            **about,
            "message": f"{severity}: [{level}] {event['policyName']} ({pack}): {message}\n",
            "severity": severity,
        }


def _read(text: str) -> dict[str, Any] | None:
    """None for what is no whole document."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _plain(text: str) -> str:
    """A text without the CLI's marks of colour, `<{%fg 2%}>`."""
    while "<{%" in text and "%}>" in text:
        before, _, rest = text.partition("<{%")
        text = before + rest.partition("%}>")[2]
    return text
