"""How the doctor reads routes, resolvers and keys of a machine on which somebody has set up more than ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

import pytest

from node import config as machine_config
from node.doctor import knowledge, machine, observe
from node.doctor.facts import PeerFacts, Reach, Way
from node.doctor.knowledge import Knowledge
from node.doctor.look import Look
from node.doctor.probe import Echo, Target
from node.network_words import Keys
from node.tunnels.book import Book
from node.wireguard import PeerState
from tests.node.support import Stack, key

STATE = PeerState(key("gw"), None, frozenset(), 0, 0, 0, 25)
GATEWAY = IPv4Address("10.100.0.1")
_Said = TypeVar("_Said")


def saying(answer: _Said) -> Callable[..., _Said]:
    """A function that answers so whatever it is asked."""

    def said(*_: object, **__: object) -> _Said:
        return answer

    return said


def look(tmp_path: Path, stack: Stack) -> Look:
    config = machine_config.Config("spoke", "spoke-1", (GATEWAY, 8443), stack.public_key, tmp_path, tmp_path)
    return Look(config, knowledge.of(config))


def test_a_way_out_over_ipv6_alone_is_one(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def route(address: str, mark: str = "off") -> tuple[str | None, str | None]:
        return ("eth0", None) if ":" in address else (None, None)

    monkeypatch.setattr(machine, "route", route)
    monkeypatch.setattr(knowledge, "run", saying(""))
    here = look(tmp_path, stack)
    called = PeerFacts("gw", "gateway", GATEWAY, key("gw"), way=Way("2001:db8::1", Reach(0)))
    assert observe._uplink(here, [called]) == "eth0"  # pyright: ignore[reportPrivateUsage]
    assert observe._uplink(here, []) == "eth0"  # pyright: ignore[reportPrivateUsage]


def test_a_route_that_is_gone_is_told_from_one_that_is_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    default = '{"dst":"default","gateway":"192.0.2.1","dev":"eth0","flags":[]}'
    tunnel = '{"dst":"10.100.0.0/16","dev":"wg0","scope":"link","flags":[]}'
    for listed, leads in (((default,), False), ((default, tunnel), True), ((), False)):
        monkeypatch.setattr(machine, "run", saying(f"[{','.join(listed)}]"))
        assert machine.leads_into("10.100.0.1", ("wg0", "wg1")) is leads


@pytest.mark.parametrize(
    ("servers", "switch", "asks"),
    [
        ("nameserver 127.0.0.53\n", "hosts: files dns\n", True),
        ("nameserver 10.0.0.2\n", "hosts: files resolve [!UNAVAIL=return] dns\n", True),
        ("nameserver 127.0.0.1\n", "hosts: files dns\n", False),
    ],
)
def test_whoever_asks_another_resolver_is_known(tmp_path: Path, servers: str, switch: str, asks: bool) -> None:
    (tmp_path / "resolv.conf").write_text(servers)
    (tmp_path / "nsswitch.conf").write_text(switch)
    assert machine.asks_resolved(tmp_path) is asks


def test_a_link_to_systemd_resolveds_file_is_known_while_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").symlink_to(tmp_path / "run/systemd/resolve/stub-resolv.conf")
    assert machine.asks_resolved(tmp_path)


def test_a_peers_key_of_before_is_not_taken_for_the_one_that_it_uses() -> None:
    book = Book({key("gw"): Keys(first=key("gw, anew"))})
    assert set(knowledge.by_identity(book, {key("gw, anew"): STATE})) == {key("gw")}
    assert key("gw") not in knowledge.by_identity(book, {key("gw"): STATE})
    assert set(knowledge.by_identity(Book(), {key("gw"): STATE})) == {key("gw")}


def test_a_key_that_the_gateway_changed_meanwhile_is_seen_by_what_it_tells(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knowledge, "run", saying(""))
    monkeypatch.setattr(machine, "run", saying("[]"))

    def see_tunnel(look: Look) -> None:
        look.states = knowledge.by_identity(look.known.book, {key("gw"): STATE})

    monkeypatch.setattr(observe, "see_tunnel", see_tunnel)
    here = look(tmp_path, stack)
    known = knowledge.Known("gw", "gateway", GATEWAY, key("gw"), "192.0.2.1:51820")
    here.known = Knowledge("spoke-1", here.known.expected, (known,), here.known.trust)
    anew = Knowledge(
        "spoke-1", here.known.expected, (known,), here.known.trust, book=Book({key("gw"): Keys(first=key("anew"))})
    )
    see_tunnel(here)
    assert here.states[key("gw")] == STATE
    monkeypatch.setattr(knowledge, "refreshed", saying(anew))
    peer = PeerFacts("gw", "gateway", GATEWAY, key("gw"), way=Way("192.0.2.1", Reach(0), "yes"), reach=Reach(20))
    (found,) = observe._seen_anew(here, [peer])  # pyright: ignore[reportPrivateUsage]
    assert (found.public_key, found.is_present) == (key("anew"), False)


@pytest.mark.parametrize("times", [1, 2, 9])
def test_large_pings_that_are_lost_for_a_moment_are_no_black_hole(times: int) -> None:
    class Moment(Echo):
        """Loses everything large the first times."""

        def __init__(self) -> None:
            self.left = times

        def ping(self, targets: Sequence[Target], interval: float = 0.03, wait: float = 1.0) -> list[Reach]:
            is_lost = targets[0].size == 1420 and self.left > 0
            self.left -= targets[0].size == 1420
            return [Reach(each.count, () if is_lost else (0.01,) * each.count) for each in targets]

    known = knowledge.Known("gw", "gateway", GATEWAY, key("gw"), "192.0.2.1:51820")
    found = observe._pings(Moment(), [known], {str(GATEWAY)}, 1420, saying(None))  # pyright: ignore[reportPrivateUsage]
    _, _, full, largest = found["gw"]
    assert full is not None
    assert full.answers is (times < 2)
    assert (largest is None) is full.answers


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ("cannot join: 403 public_key: this key was revoked\n", "403 public_key: this key was revoked"),
        ("cannot join: 503 later\n", None),
        ("joined as burst-1 at 10.100.2.128\n", None),
        ("", None),
    ],
)
def test_why_a_machine_of_a_pool_may_not_join_is_what_its_agent_met_last(
    last: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> str:
        assert "--lines=1" in words
        return last

    monkeypatch.setattr(machine, "run", run)
    assert machine.refusal() == found
