"""The difference between the peers that should be and those that are: pure, and as small as it can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from node.wireguard import Change, PeerState
from overlay.model import Peer, Prefix


class Wanted(NamedTuple):
    """A peer as it should be. ``prefixes`` are its ``allowed_ips`` as an interface tells them.

    Made once and compared often.
    """

    public_key: str
    endpoint: str | None
    allowed_ips: tuple[Prefix, ...]
    keepalive: int | None
    prefixes: frozenset[str]


def wanted(peer: Peer) -> Wanted:
    """``peer``, ready to be compared."""
    prefixes = frozenset(map(str, peer.allowed_ips))
    return Wanted(peer.public_key, peer.endpoint, peer.allowed_ips, peer.keepalive, prefixes)


def changes(
    desired: Mapping[str, Wanted], observed: Mapping[str, PeerState], remembered: Mapping[str, str]
) -> list[Change]:
    """What turns ``observed`` into ``desired``, both by public key; empty when nothing is wrong.

    Removals come first, so a prefix is free before another peer takes it. A peer that has an endpoint keeps it,
    since WireGuard follows a peer that moves; one without gets the one in ``remembered`` (public key -> host:port),
    where it was last heard from, or else the roster's.
    """
    found = [Change(key, remove=True) for key in sorted(observed.keys() - desired.keys())]
    return found + differences(desired.values(), observed, remembered)


def differences(
    desired: Iterable[Wanted], observed: Mapping[str, PeerState], remembered: Mapping[str, str]
) -> list[Change]:
    """What brings each of ``desired`` into ``observed``; the other peers are left as they are."""
    found: list[Change] = []
    for peer in desired:
        state = observed.get(peer.public_key)
        if (
            state
            and state.allowed_ips == peer.prefixes
            and state.keepalive == peer.keepalive
            and (state.endpoint or not (remembered.get(peer.public_key) or peer.endpoint))
        ):
            continue
        endpoint = remembered.get(peer.public_key, peer.endpoint)
        if state is None:
            change = Change(peer.public_key, allowed_ips=peer.allowed_ips, endpoint=endpoint, keepalive=peer.keepalive)
        else:
            change = Change(
                peer.public_key,
                allowed_ips=None if state.allowed_ips == peer.prefixes else peer.allowed_ips,
                endpoint=endpoint if state.endpoint is None else None,
                keepalive=None if state.keepalive == peer.keepalive else peer.keepalive or 0,
            )
        found.append(change)
    return found


def heard_from(observed: Mapping[str, PeerState]) -> dict[str, str]:
    """Public key -> endpoint of the peers that have shaken hands: what is worth remembering."""
    return {key: state.endpoint for key, state in observed.items() if state.endpoint and state.handshake}
