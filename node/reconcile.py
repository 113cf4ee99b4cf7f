"""The difference between the peers that should be and those that are: pure, and as small as it can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.wireguard import Change, PeerState
from overlay.model import Peer


def changes(desired: Sequence[Peer], observed: Mapping[str, PeerState], remembered: Mapping[str, str]) -> list[Change]:
    """What turns ``observed`` into ``desired``, both told apart by public key; empty when nothing is wrong.

    Removals come first, so a prefix is free before another peer takes it. A peer that has an endpoint keeps it,
    since WireGuard follows a peer that moves; one without gets the one in ``remembered`` (public key -> host:port),
    where it was last heard from, or else the roster's.
    """
    wanted = {peer.public_key for peer in desired}
    found = [Change(key, remove=True) for key in sorted(observed) if key not in wanted]
    for peer in desired:
        state = observed.get(peer.public_key)
        endpoint = remembered.get(peer.public_key, peer.endpoint)
        if state is None:
            found.append(
                Change(peer.public_key, allowed_ips=peer.allowed_ips, endpoint=endpoint, keepalive=peer.keepalive)
            )
            continue
        change = Change(
            peer.public_key,
            allowed_ips=None if state.allowed_ips == frozenset(map(str, peer.allowed_ips)) else peer.allowed_ips,
            endpoint=endpoint if state.endpoint is None else None,
            keepalive=None if state.keepalive == peer.keepalive else peer.keepalive or 0,
        )
        if change != Change(peer.public_key):
            found.append(change)
    return found


def heard_from(observed: Mapping[str, PeerState]) -> dict[str, str]:
    """Public key -> endpoint of the peers that have shaken hands: what is worth remembering."""
    return {key: state.endpoint for key, state in observed.items() if state.endpoint and state.handshake}
