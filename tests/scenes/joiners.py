"""Many machines that are not there join and try their tunnels; run at the local cloud's desk with ``python -m``.

Reads one JSON object from standard input: what ``bench.simulated.Joiner`` takes, ``endpoint`` (``host:port``) and
``count``. Says ``joined N`` as they join, and at the end one JSON object: every machine's ``addresses``, one for each
time that it asked, and whether a ping ``came_back`` through its tunnel.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from itertools import count
from typing import Any, cast

from bench.simulated import Joiner, Refused, new_key
from bench.tunnel import Tunnel, TunnelError

CLIENTS = 8
PATIENCE = 60.0
TRIES = 4


@dataclass(frozen=True)
class Outcome:
    """What became of one machine."""

    addresses: list[str]
    came_back: bool


def until_joined(joiner: Joiner, instance_id: str, key: str) -> str:
    """The address that the machine gets in the end: what does not answer or has no room yet is asked again."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return str(joiner.join(instance_id, key).address)
        except (OSError, http.client.HTTPException, Refused) as error:
            if time.monotonic() > end or (isinstance(error, Refused) and error.status != 503):
                raise
            time.sleep(0.2)


def pings(tunnel: Tunnel, address: str, gateway: IPv4Address) -> bool:
    """Whether a ping to the gateway comes back; a lost packet is sent again."""
    for _ in range(TRIES):
        try:
            tunnel.ping(IPv4Address(address), gateway)
        except TunnelError as error:
            print(error, file=sys.stderr)
        else:
            return True
    return False


def main() -> None:
    told = cast("dict[str, Any]", json.load(sys.stdin))
    number, (host, _, port) = told.pop("count"), told.pop("endpoint").rpartition(":")
    gateway = IPv4Address(told.pop("gateway_address"))
    joiner, keys, joined = Joiner(**told), [new_key() for _ in range(number)], count(1)

    def join(index: int) -> str:
        address = until_joined(joiner, f"i-{index:017x}", keys[index])
        print(f"joined {next(joined)}", flush=True)
        return address

    def finish(index: int, first: str) -> Outcome:
        again = until_joined(joiner, f"i-{index:017x}", keys[index])
        tunnel = Tunnel(keys[index], told["gateway_public_key"], (host, int(port)))
        return Outcome([first, again], pings(tunnel, again, gateway))

    with ThreadPoolExecutor(CLIENTS) as pool:
        firsts = list(pool.map(join, range(number)))
        outcomes = list(pool.map(finish, range(number), firsts))
    print(json.dumps([asdict(outcome) for outcome in outcomes]))


main()
