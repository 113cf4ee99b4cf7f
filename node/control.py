"""A client of a gateway's control plane, which proves itself with a certificate of the stack's CA."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

TIMEOUT = 5.0
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Reply:
    """An answer. ``headers`` have the gateway's spelling."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def trust(files: Path) -> ssl.SSLContext:
    """Trusts the stack's CA, which first boot left in ``files``, and nobody else."""
    return ssl.create_default_context(cafile=str(files / "ca.pem"))


class ControlPlane:
    """The control plane at ``address``, or the host of that name, and ``port``.

    ``token``, if any, goes with every request.
    """

    def __init__(self, address: IPv4Address | str, port: int, tls: ssl.SSLContext, token: str | None = None) -> None:
        self._place = str(address), port
        self._tls = tls
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int = _CHUNK,
        beat: Callable[[], None] = lambda: None,
    ) -> Reply:
        """The answer to one request, of whose body at most ``limit`` bytes; OSError when there is none.

        Nothing takes longer than :data:`TIMEOUT` between two calls of ``beat`` while the body comes.
        """
        connection = http.client.HTTPSConnection(*self._place, timeout=TIMEOUT, context=self._tls)
        try:
            connection.request(method, path, body, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
            found = bytearray()
            while len(found) < limit and (chunk := answer.read(min(_CHUNK, limit - len(found)))):
                found += chunk
                beat()
            return Reply(answer.status, dict(answer.headers), bytes(found))
        except http.client.HTTPException as error:
            raise ConnectionError(f"no HTTP: {type(error).__name__}") from error
        finally:
            connection.close()
