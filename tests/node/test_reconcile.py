"""The difference between the peers that should be and those that are."""

from __future__ import annotations

import random
from ipaddress import IPv4Network, IPv6Network

import pytest

from node.reconcile import Wanted, changes, heard_from, wanted
from node.wireguard import Change, PeerState, arguments, parse_dump, run
from node.wireguard import WireGuardError as Failure
from overlay.model import Peer
from tests.node.support import MemoryWireGuard, key

A, B, C = key("a"), key("b"), key("c")
NET_A, NET_B = IPv4Network("10.100.1.1/32"), IPv4Network("10.100.1.2/32")


def peer(public_key: str, network: IPv4Network, endpoint: str | None = None, keepalive: int | None = None) -> Peer:
    return Peer(public_key, endpoint, (network,), keepalive)


def plan(*peers: Peer) -> dict[str, Wanted]:
    return {each.public_key: wanted(each) for each in peers}


def state(public_key: str, network: IPv4Network, endpoint: str | None = "198.51.100.7:51820") -> PeerState:
    return PeerState(public_key, endpoint, frozenset({str(network)}), 1, 10, 20, None)


def test_a_peer_that_is_right_is_left_alone() -> None:
    assert changes(plan(peer(A, NET_A)), {A: state(A, NET_A)}, {A: "203.0.113.9:1"}) == []


def test_a_missing_peer_is_added_with_the_endpoint_it_was_last_heard_from() -> None:
    desired = plan(peer(A, NET_A, "198.51.100.1:51820", 25))
    assert changes(desired, {}, {A: "203.0.113.9:1"}) == [
        Change(A, allowed_ips=(NET_A,), endpoint="203.0.113.9:1", keepalive=25)
    ]
    assert changes(desired, {}, {}) == [Change(A, allowed_ips=(NET_A,), endpoint="198.51.100.1:51820", keepalive=25)]


def test_a_stranger_is_removed_before_its_prefix_is_given_away() -> None:
    assert changes(plan(peer(A, NET_A)), {B: state(B, NET_A)}, {}) == [
        Change(B, remove=True),
        Change(A, allowed_ips=(NET_A,)),
    ]


def test_only_what_is_wrong_of_a_peer_is_changed() -> None:
    assert changes(plan(peer(A, NET_B)), {A: state(A, NET_A)}, {}) == [Change(A, allowed_ips=(NET_B,))]
    assert changes(plan(peer(A, NET_A, keepalive=25)), {A: state(A, NET_A)}, {}) == [Change(A, keepalive=25)]
    on = state(A, NET_A)._replace(keepalive=25)
    assert changes(plan(peer(A, NET_A)), {A: on}, {}) == [Change(A, keepalive=0)]
    assert changes(plan(peer(A, NET_A, "198.51.100.1:1")), {A: state(A, NET_A, None)}, {}) == [
        Change(A, endpoint="198.51.100.1:1")
    ]


def test_a_peer_that_carries_nothing_is_one_without_prefixes() -> None:
    candidate = Peer(A, "198.51.100.1:51820", (), 4)
    assert changes(plan(candidate), {}, {}) == [Change(A, allowed_ips=(), endpoint="198.51.100.1:51820", keepalive=4)]
    idle = state(A, NET_A)._replace(allowed_ips=frozenset(), keepalive=4)
    assert changes(plan(candidate), {A: idle}, {}) == []
    assert changes(plan(candidate), {A: state(A, NET_A)._replace(keepalive=4)}, {}) == [Change(A, allowed_ips=())]


def test_a_peer_that_moved_keeps_the_endpoint_it_moved_to() -> None:
    assert changes(plan(peer(A, NET_A, "198.51.100.1:1")), {A: state(A, NET_A, "203.0.113.77:9")}, {}) == []


@pytest.mark.parametrize("seed", range(50))
def test_from_anything_one_round_reaches_the_roster_and_the_next_changes_nothing(seed: int) -> None:
    chance = random.Random(seed)
    keys, networks = [A, B, C], [IPv4Network(f"10.100.1.{host}/32") for host in (1, 2, 3)]

    def some() -> list[Peer]:
        chance.shuffle(networks)
        chosen = chance.sample(keys, chance.randint(0, 3))
        return [
            peer(each, networks[i], chance.choice([None, f"198.51.100.{i}:1"]), chance.choice([None, 25]))
            for i, each in enumerate(chosen)
        ]

    interface = MemoryWireGuard()
    interface.apply(changes(plan(*some()), {}, {}))
    desired = some()
    interface.apply(changes(plan(*desired), interface.peers(), {}))
    assert {each.public_key: frozenset(map(str, each.allowed_ips)) for each in desired} == {
        each.public_key: each.allowed_ips for each in interface.state.values()
    }
    assert changes(plan(*desired), interface.peers(), {}) == []


DUMP = (
    "cHJpdmF0ZQ==\tcHVibGlj\t51820\toff\n"
    f"{A}\t(none)\t198.51.100.7:4242\t10.100.1.1/32\t1700000000\t120\t340\toff\n"
    f"{B}\t(none)\t(none)\t(none)\t0\t0\t0\t25\n"
    f"{C}\t(none)\t[2001:db8::7]:1\t10.100.1.2/32,10.100.9.0/24\t0\t0\t0\toff\n"
)


def test_a_dump_is_read_without_its_private_key() -> None:
    found = parse_dump(DUMP)
    assert found == {
        A: PeerState(A, "198.51.100.7:4242", frozenset({"10.100.1.1/32"}), 1700000000, 120, 340, None),
        B: PeerState(B, None, frozenset(), 0, 0, 0, 25),
        C: PeerState(C, "[2001:db8::7]:1", frozenset({"10.100.1.2/32", "10.100.9.0/24"}), 0, 0, 0, None),
    }
    assert "cHJpdmF0ZQ==" not in repr(found)


def test_only_peers_that_shook_hands_are_worth_remembering() -> None:
    assert heard_from(parse_dump(DUMP)) == {A: "198.51.100.7:4242"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(A, remove=True), ["peer", A, "remove"]),
        (
            Change(A, allowed_ips=(NET_A, NET_B), endpoint="[2001:db8::7]:1", keepalive=25),
            ["peer", A, "endpoint", "[2001:db8::7]:1", "persistent-keepalive", "25", "allowed-ips", f"{NET_A},{NET_B}"],
        ),
        (Change(A, keepalive=0), ["peer", A, "persistent-keepalive", "0"]),
        (
            Change(A, allowed_ips=(NET_A, IPv6Network("fd00::a64:101/128"))),
            ["peer", A, "allowed-ips", f"{NET_A},fd00::a64:101/128"],
        ),
        (Change(A, allowed_ips=()), ["peer", A, "allowed-ips", ""]),
    ],
)
def test_a_change_is_words_that_wg_takes(change: Change, words: list[str]) -> None:
    assert arguments(change) == words


def test_a_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(Failure, match="no such thing"):
        run(["sh", "-c", "echo no such thing >&2; exit 3"])
    with pytest.raises(Failure, match="hybridnet-no-such-tool"):
        run(["hybridnet-no-such-tool"])
