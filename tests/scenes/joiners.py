"""Many machines that are not there join and try their tunnels; run at the local cloud's desk with ``python -m``.

Reads one JSON object from standard input: what ``bench.simulated.Joiner`` takes, ``endpoint`` (``host:port``) and
``count``. Says ``joined N`` as they join, and at the end one JSON object: every machine's ``addresses``, one for each
time that it asked, whether a ping ``came_back`` through its tunnel, and what was ``lost`` on the way.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from itertools import count
from typing import Any, cast

from bench.simulated import Joiner, Refused, new_key
from bench.tunnel import Tunnel, TunnelError

CLIENTS = 8
JOIN_SECONDS = 60.0
PING_SECONDS = 20.0
"""How long one machine tries either."""
PAUSE = 0.2


@dataclass(frozen=True)
class Outcome:
    """What became of one machine."""

    addresses: list[str]
    came_back: bool
    lost: list[str]
    """Why pings did not come back, each in words."""


def until_joined(joiner: Joiner, instance_id: str, key: str) -> str:
    """The address that the machine gets in the end: what does not answer or has no room yet is asked again."""
    end = time.monotonic() + JOIN_SECONDS
    while True:
        try:
            return str(joiner.join(instance_id, key).address)
        except (OSError, http.client.HTTPException, Refused) as error:
            if time.monotonic() > end or (isinstance(error, Refused) and error.status != 503):
                raise
            time.sleep(PAUSE)


def pinged(addresses: list[str], tunnel: Tunnel, gateway: IPv4Address) -> Outcome:
    """The outcome of a ping to the gateway; a lost packet is sent again."""
    end = time.monotonic() + PING_SECONDS
    lost: list[str] = []
    while time.monotonic() < end:
        try:
            tunnel.ping(IPv4Address(addresses[-1]), gateway)
        except (TunnelError, OSError) as error:
            lost.append(str(error))
            time.sleep(PAUSE)
        else:
            return Outcome(addresses, True, lost)
    return Outcome(addresses, False, lost)


def main() -> None:
    told = cast("dict[str, Any]", json.load(sys.stdin))
    number, (host, _, port) = told.pop("count"), told.pop("endpoint").rpartition(":")
    gateway = IPv4Address(told.pop("gateway_address"))
    joiner, keys, joined = Joiner(**told), [new_key() for _ in range(number)], count(1)
    one_at_a_time = threading.Lock()  # print() writes a text and the end of its line in two

    def join(index: int) -> str:
        address = until_joined(joiner, f"i-{index:017x}", keys[index])
        with one_at_a_time:
            print(f"joined {next(joined)}", flush=True)
        return address

    def finish(index: int, first: str) -> Outcome:
        again = until_joined(joiner, f"i-{index:017x}", keys[index])
        tunnel = Tunnel(keys[index], told["gateway_public_key"], (host, int(port)))
        return pinged([first, again], tunnel, gateway)

    with ThreadPoolExecutor(CLIENTS) as pool:
        firsts = list(pool.map(join, range(number)))
        outcomes = list(pool.map(finish, range(number), firsts))
    print(json.dumps([asdict(outcome) for outcome in outcomes]))


main()
