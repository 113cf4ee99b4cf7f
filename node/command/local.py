"""The client of the gateway's own socket (``node.gateway.local``)."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, cast

from node.command.shape import CommandError
from node.files import SOCKET

_TIMEOUT = 10.0


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(state: Path, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The service's answer; CommandError when it gives none, or refuses with a reason."""
    connection = _Connection(state / SOCKET)
    try:
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = cast("dict[str, Any]", json.loads(answer.read()))
    except PermissionError:
        raise CommandError("only root may ask the service: run it with sudo") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise CommandError(
            f"the service does not answer ({type(error).__name__}): see `systemctl status hybridnet`"
        ) from error
    finally:
        connection.close()
    if answer.status >= http.HTTPStatus.BAD_REQUEST:
        raise CommandError(str(found.get("reason", f"status {answer.status}")))
    return found
