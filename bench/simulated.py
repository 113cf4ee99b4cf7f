"""Machines of a pool that are not there: they join as real ones do, from as many threads and processes as wanted.

`python -m bench.simulated` is one process of a measurement. It reads what to do (a `Task`, as JSON) from standard
input and says `ready`; then it answers each line, `status` or `join`, with what it saw (a `Seen`, as JSON).
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from node import joining

TIMEOUT_SECONDS = 30.0


class Refused(Exception):  # noqa: N818  what the gateway says, not what went wrong here
    """The gateway's answer when it does not let the machine in."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


def new_key() -> str:
    """A WireGuard private key (base64)."""
    return base64.b64encode(X25519PrivateKey.generate().private_bytes_raw()).decode()


def public_key(key: str) -> str:
    """The public key (base64) of a private one."""
    private = X25519PrivateKey.from_private_bytes(base64.b64decode(key))
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()


class Joiner:
    """Whoever has the join token of `pool`, at the gateway whose control plane is `url` (`https://HOST:PORT`).

    `gateway_public_key` is the WireGuard key that the gateway was made with. Any number of threads may use one.
    """

    def __init__(self, url: str, ca_pem: str, token: str, pool: str, gateway_public_key: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 443
        self._tls = ssl.create_default_context(cadata=ca_pem)
        self._token = token
        self._pool = pool
        self._gateway_public_key = gateway_public_key

    def join(self, instance_id: str, key: str | None = None, ticket: str | None = None) -> joining.Answer:
        """Join as the machine `instance_id` with the private key `key`, else with a new one.

        Raises Refused, or OSError or http.client.HTTPException when no answer comes.
        """
        own = key or new_key()
        body = joining.request_body(joining.Request(self._pool, public_key(own), instance_id, ticket=ticket))
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            joining.POSSESSION: joining.possession(own, self._gateway_public_key, body),
        }
        status, answer = self._ask("POST", "/v1/join", body, headers)
        if status not in (HTTPStatus.OK, HTTPStatus.CREATED):
            raise Refused(status, _reason(answer))
        return joining.parse_answer(answer)

    def status(self) -> dict[str, Any]:
        """What the gateway tells strangers of itself; raises as `join`."""
        status, answer = self._ask("GET", "/v1/status", None, {})
        if status != HTTPStatus.OK:
            raise Refused(status, _reason(answer))
        return cast("dict[str, Any]", json.loads(answer))

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer, over a connection of its own as each machine has one."""
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls)
        with closing(connection):
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read()


def _reason(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["reason"])
    except (ValueError, KeyError, TypeError):
        return answer[:200].decode(errors="replace")


@dataclass(frozen=True)
class Task:
    """One process's part of a measurement. The first five are `Joiner`'s.

    At each word it asks `count` times, one after the other; `name` begins the ids of its instances.
    """

    url: str
    ca_pem: str
    token: str
    pool: str
    gateway_public_key: str
    name: str
    count: int


@dataclass(frozen=True)
class Seen:
    """The seconds that each answer took, and the addresses that were given."""

    seconds: list[float]
    addresses: list[str]


def perform(task: Task, joiner: Joiner, word: str) -> Seen:
    """Do one part; raises as `Joiner.join`."""
    seen = Seen([], [])
    for number in range(task.count):
        key = new_key()
        begun = time.monotonic()
        if word == "join":
            seen.addresses.append(str(joiner.join(f"i-{task.name}{number:08x}", key).address))
        else:
            joiner.status()
        seen.seconds.append(time.monotonic() - begun)
    return seen


def main() -> None:
    """One process of a measurement."""
    task = Task(**json.loads(sys.stdin.readline()))
    joiner = Joiner(task.url, task.ca_pem, task.token, task.pool, task.gateway_public_key)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(asdict(perform(task, joiner, line.strip()))), flush=True)


if __name__ == "__main__":
    main()
