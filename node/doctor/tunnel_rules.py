"""Rules about the tunnel and the way that it takes: facts in, causes out. Pure.

A rule speaks up when what it looks at is wrong and, where that need not hurt, when something is lost by it.
"""

from __future__ import annotations

from collections.abc import Iterator

from node.doctor.facts import SESSION_SECONDS, Cause, Facts, PeerFacts
from node.wireguard import INTERFACE, SECOND

RESTART_TUNNEL = "systemctl restart wg-quick@wg0 && systemctl restart hybridnet"
RESTART_AGENT = "systemctl restart hybridnet"
SLOW_SECONDS = 0.3
"""A round trip (in the middle of many) from which a way counts as slow: more than half around the world."""
SLOWER_SECONDS = 0.1
"""How much longer than the way outside of it a tunnel may take."""
_WIDE = 60
"""Bytes that WireGuard adds over IPv4 (overlay.mtu has 80, for IPv6)."""


def seen(peer: PeerFacts) -> str:
    """A line of evidence: what the interface knows of a peer."""
    if not peer.is_present:
        return f"{peer.name}: the interface has no peer with its key"
    shaken = "no handshake ever" if peer.handshake_age is None else f"last handshake {peer.handshake_age} s ago"
    return f"{peer.name} ({peer.address}): {shaken}, {peer.reach.text()}"


def outside(peer: PeerFacts) -> Iterator[str]:
    """Lines of evidence: how the peer's machine answers outside of the tunnel."""
    way = peer.way
    if way is None:
        return
    if way.ping.answers:
        yield f"outside of the tunnel {way.host}: {way.ping.text()}"
    elif way.ping.sent:
        yield f"outside of the tunnel {way.host} answers no pings, which its provider's firewall may drop"
    if way.control is not None:
        yield f"outside of the tunnel TCP 8443 of {way.host}: {_SAID[way.control]}"
    if way.tunnel_port == "refused":
        yield f"{way.host} says that nothing listens at WireGuard's UDP port"


_SAID = {"yes": "answers", "refused": "refuses connections", "silent": "silent"}


def interface(facts: Facts) -> Iterator[Cause]:
    tunnel = facts.tunnel
    if tunnel is None:
        unit = facts.units.get("wg-quick@wg0")
        evidence = ["there is no interface wg0"]
        if unit is not None:
            evidence.append(f"wg-quick@wg0 is {unit.active} ({unit.sub})")
        command = "systemctl restart wg-quick@wg0" if facts.role != "pool" else RESTART_AGENT
        yield Cause("interface-down", 100, "the tunnel's interface does not exist", tuple(evidence), command)
    elif not tunnel.is_up:
        evidence = ("ip(8) shows wg0 without the flag UP", *map(seen, facts.silent[:2]))
        yield Cause("interface-down", 100, "the tunnel's interface is down", evidence, RESTART_TUNNEL)


def address(facts: Facts) -> Iterator[Cause]:
    tunnel, expected = facts.tunnel, facts.expected
    if tunnel is None:
        return
    for own in tunnel.addresses:
        name = expected.others.get(own)
        if name is not None:
            yield Cause(
                "duplicate-address",
                97,
                f"this machine has the address of {name}",
                (f"ip(8) shows {own} here, and the roster gives it to {name}", f"this machine's is {expected.address}"),
                f"ip address del {own} dev $(ip -o -4 address | awk '$4 ~ \"^{own}/\" {{print $2; exit}}')",
            )
    if tunnel.is_up and expected.address is not None and expected.address not in tunnel.addresses:
        shown = ", ".join(map(str, tunnel.addresses)) or "none"
        evidence = (f"the roster says {expected.address}, the machine has {shown}",)
        yield Cause("wrong-address", 97, "the tunnel has not this machine's address", evidence, RESTART_TUNNEL)


def own_key(facts: Facts) -> Iterator[Cause]:
    tunnel, expected = facts.tunnel, facts.expected
    if tunnel is None or expected.public_key is None or tunnel.public_key == expected.public_key:
        return
    lost = facts.unwell
    if lost:
        evidence = (
            f"the interface's public key is {tunnel.public_key}",
            f"the network knows {facts.name} by {expected.public_key}",
            *map(seen, lost[:2]),
        )
        yield Cause("wrong-key", 96, "the interface has another private key", evidence, RESTART_TUNNEL)


def peer_keys(facts: Facts) -> Iterator[Cause]:
    tunnel = facts.tunnel
    if tunnel is None or not tunnel.is_up:
        return
    # While a key changes a peer may be on the second interface alone, and answers.
    absent = [peer for peer in facts.peers if not peer.is_present and not peer.reach.answers]
    if not absent:
        return
    names = ", ".join(peer.name for peer in absent[:4]) + (f" and {len(absent) - 4} more" if len(absent) > 4 else "")
    keys = [f"{peer.name} has the key {peer.public_key}, which is no peer of wg0" for peer in absent[:4]]
    if tunnel.strangers:
        keys += [f"wg0 has a peer that the network does not know: {key}" for key in tunnel.strangers[:4]]
        yield Cause("wrong-key", 96, f"the peer of {names} has another key", tuple(keys), RESTART_AGENT)
    else:
        yield Cause("peer-missing", 95, f"the interface has no peer for {names}", tuple(keys), RESTART_AGENT)


def allowed(facts: Facts) -> Iterator[Cause]:
    for peer in facts.unwell:
        if peer.is_present and peer.missing_allowed:
            evidence = (f"{peer.name} should have the prefixes {', '.join(peer.missing_allowed[:4])}", seen(peer))
            summary = f"the peer of {peer.name} lacks addresses, or another peer has taken them"
            yield Cause("allowed-ips", 95, summary, evidence, RESTART_AGENT)


def endpoint(facts: Facts) -> Iterator[Cause]:
    for peer in facts.silent:
        if peer.endpoint is None or not peer.seen_endpoints or peer.endpoint in peer.seen_endpoints:
            continue
        evidence = (f"wg0 calls {peer.name} at {peer.seen_endpoints[-1]}", f"it is at {peer.endpoint}", seen(peer))
        yield Cause(
            "endpoint-changed",
            94,
            f"{peer.name} is called where it is not",
            (*evidence, *outside(peer)),
            f"wg set wg0 peer {peer.public_key} endpoint {peer.endpoint}",
        )


def flapping(facts: Facts) -> Iterator[Cause]:
    for peer in facts.unwell:
        if len(set(peer.seen_endpoints)) > 1:
            shown = " and ".join(sorted(set(peer.seen_endpoints)))
            evidence = (f"within seconds {peer.name} was heard from {shown}", seen(peer))
            summary = f"two machines have the key of {peer.name}: one was copied from the other"
            yield Cause("duplicate-key", 93, summary, evidence, "systemctl stop wg-quick@wg0  # on the copy")


def membership(facts: Facts) -> Iterator[Cause]:
    expected = facts.expected
    again = "pulumi up --refresh  # where the stack is kept; a key that was revoked needs another one"
    if expected.is_revoked:
        evidence = (f"roster {expected.number} has this machine's key among those that are revoked",)
        yield Cause("not-in-roster", 94, "this machine's key is revoked", evidence, again)
    elif not expected.is_listed:
        evidence = (f"roster {expected.number} has no {facts.name} at this address",)
        yield Cause("not-in-roster", 94, "the network does not have this machine", evidence, again)
    elif expected.refusal is not None and facts.role == "pool":
        evidence = (f"asked to let it join, the gateway says: {expected.refusal}", *map(seen, facts.silent[:1]))
        command = "hybridnet revoke --list  # on the gateway; who is there is for its cloud to end, see docs/audit.md"
        yield Cause("not-in-roster", 92, "the gateway lets this machine in no more", evidence, command)
    elif expected.refusal is not None:
        evidence = (f"asked on the internet, the gateway says: {expected.refusal}", *map(seen, facts.silent[:1]))
        yield Cause("not-in-roster", 90, "the gateway does not know this machine's key", evidence, again)


def routes(facts: Facts) -> Iterator[Cause]:
    if facts.tunnel is None or not facts.tunnel.is_up:
        return
    for peer in facts.silent:
        if peer.is_present and peer.routed_by not in (INTERFACE, SECOND):
            if peer.routed_by is None or not peer.has_route:
                other = f", and {peer.routed_as} leads it to {peer.routed_by}" if peer.routed_by else ""
                evidence = (f"no route into the tunnel leads to {peer.address}{other}", seen(peer))
                summary = f"packets to {peer.name} do not go into the tunnel: its route is gone"
                yield Cause("route", 92, summary, evidence, RESTART_TUNNEL)
                return
            shown = f"the route {peer.routed_as} leads {peer.address} to {peer.routed_by}"
            summary = f"packets to {peer.name} do not go into the tunnel: another route is in the way"
            command = f"ip route del {peer.routed_as} dev {peer.routed_by}"
            yield Cause("route", 92, summary, (shown, seen(peer)), command)
            return


def way_out(facts: Facts) -> Iterator[Cause]:
    if facts.uplink is None and facts.silent:
        evidence = ("there is no route out of this machine", *map(seen, facts.silent[:1]))
        command = "ip route; systemctl restart systemd-networkd"
        yield Cause("no-uplink", 91, "this machine's own network is down", evidence, command)


def gateway(facts: Facts) -> Iterator[Cause]:
    """The far end of a spoke whose own end is as it should be."""
    if facts.role == "gateway" or facts.uplink is None or facts.expected.refusal is not None:
        return
    for peer in facts.silent:
        way = peer.way
        if way is None or not peer.is_present:
            continue
        evidence = (seen(peer), *outside(peer))
        if way.tunnel_port == "refused":
            summary = f"WireGuard does not run on {peer.name}"
            yield Cause("gateway-interface", 88, summary, evidence, f"{RESTART_TUNNEL}  # on {peer.name}")
        elif way.control == "yes":
            port = (peer.endpoint or ":51820").rpartition(":")[2]
            yield Cause(
                "provider-firewall",
                85,
                f"{peer.name} lives, but its WireGuard is not heard: a firewall on the way closes UDP {port}",
                (*evidence, "this machine's interface, key and endpoint are what the network says"),
                f"pulumi up --refresh  # opens UDP {port} again in the provider's firewalls, there and here",
            )
        elif not way.ping.answers:
            summary = f"{peer.name} is down, or no packet gets to it"
            command = f"start {peer.name} at its provider; if it runs: `hybridnet doctor` there"
            yield Cause("gateway-down", 84, summary, evidence, command)
        else:
            summary = f"the machine of {peer.name} runs, but neither its WireGuard nor its service answers"
            yield Cause("gateway-service", 83, summary, evidence, f"hybridnet doctor  # on {peer.name}")


def mtu(facts: Facts) -> Iterator[Cause]:
    tunnel, wanted = facts.tunnel, facts.expected.mtu
    if tunnel is None:
        return
    for peer in facts.unwell:
        if peer.reach.answers and peer.full is not None and not peer.full.answers and not peer.is_lossy:
            passes = f"the largest that passes has {peer.largest}" if peer.largest else "only small ones pass"
            evidence = (
                f"of packets of {tunnel.mtu} bytes to {peer.name} none of {peer.full.sent} is answered; {passes}",
                f"small packets: {peer.reach.text()}",
            )
            size = max(576, (peer.largest or 1280) // 10 * 10)
            summary = f"large packets to {peer.name} vanish on the way (an MTU black hole)"
            command = f"ip link set dev wg0 mtu {size}  # until some link takes {tunnel.mtu + _WIDE} bytes again"
            yield Cause("mtu-black-hole", 80, summary, evidence, command)
    if wanted is not None and tunnel.mtu != wanted and tunnel.is_up:
        evidence = (f"wg0 has an MTU of {tunnel.mtu}, the network one of {wanted}",)
        command = f"ip link set dev wg0 mtu {wanted}"
        yield Cause("wrong-mtu", 82, "the tunnel has another MTU than the network", evidence, command)


def loss(facts: Facts) -> Iterator[Cause]:
    for peer in facts.unwell:
        if not peer.is_lossy:
            continue
        evidence = [seen(peer)]
        if peer.again is not None:
            evidence.append(f"and once more: {peer.again.text()}")
        way = peer.way
        evidence += outside(peer)
        is_whole = way is not None and way.ping.answers and way.ping.lost == 0
        where = "only the tunnel's: UDP is limited or dropped on the way" if is_whole else "the way there loses them"
        command = f"mtr -u -P 51820 {way.host}" if way is not None else f"mtr {peer.address}"
        yield Cause(
            "packet-loss", 70, f"packets to {peer.name} are lost now and then; {where}", tuple(evidence), command
        )


def latency(facts: Facts) -> Iterator[Cause]:
    for peer in facts.peers:
        if not peer.reach.answers or peer.may_be_off:
            continue
        inside, way = peer.reach.middle, peer.way.ping if peer.way else None
        evidence = [f"through the tunnel {peer.name} takes {inside * 1000:.0f} ms, in the middle of {peer.reach.sent}"]
        if way is not None and way.answers:
            evidence.append(f"outside of the tunnel it takes {way.middle * 1000:.0f} ms")
            is_slower = inside > SLOWER_SECONDS and min(peer.reach.rtts) > min(way.rtts) * 3 + SLOWER_SECONDS
            if is_slower:
                summary = (
                    f"the tunnel to {peer.name} is much slower than the way under it: this machine or that has no time"
                )
                yield Cause("high-latency", 40, summary, tuple(evidence), "top  # here, and there")
                continue
        if inside > SLOW_SECONDS:
            summary = f"the way to {peer.name} is slow"
            yield Cause(
                "high-latency", 35, summary, tuple(evidence), f"mtr {peer.way.host if peer.way else peer.address}"
            )


def beyond(facts: Facts) -> Iterator[Cause]:
    answering = [peer for peer in facts.gateways if peer.reach.answers]
    if not answering or len(facts.beyond) < 2 or any(reach.answers for _, reach in facts.beyond):
        return
    evidence = [seen(answering[0]), *(f"{name}, behind it: {reach.text()}" for name, reach in facts.beyond)]
    summary = f"{answering[0].name} answers, and nobody behind it: it does not pass packets on"
    yield Cause("not-forwarded", 60, summary, tuple(evidence), f"hybridnet doctor  # on {answering[0].name}")


def peers_of_gateway(facts: Facts) -> Iterator[Cause]:
    """What a gateway whose own end is as it should be can say of peers that are silent."""
    silent = [peer for peer in facts.silent if peer.is_present]
    if facts.role != "gateway" or facts.tunnel is None or not silent:
        return
    awaited = [peer for peer in facts.peers if not peer.may_be_off]
    if len(silent) == len(awaited) > 1:
        evidence = (
            *map(seen, silent[:3]),
            *outside(silent[0]),
            "this gateway's interface and peers are as they should be",
        )
        summary = "no peer is heard: a firewall on the way closes this gateway's WireGuard, or it is cut off"
        command = (
            f"pulumi up --refresh  # opens UDP {facts.tunnel.port} again in the provider's firewall of this gateway"
        )
        yield Cause("provider-firewall", 75, summary, evidence, command)
        return
    for peer in silent[:8]:
        shaken = "is silent" if peer.has_session else "has not shaken hands"
        where = ": nobody knows where it is" if peer.way is None else ""
        command = f"start {peer.name} at its provider; if it runs: `hybridnet doctor` there"
        yield Cause("peer-silent", 20, f"{peer.name} {shaken}{where}", (seen(peer), *outside(peer)), command)


def unexplained(facts: Facts) -> Iterator[Cause]:
    """The symptom alone, for whom no rule has a cause."""
    for peer in facts.silent:
        if facts.tunnel is None or facts.role == "gateway":
            continue
        state = "shook hands and carries nothing" if peer.has_session else f"no handshake in {SESSION_SECONDS} s"
        name = "no-traffic" if peer.has_session else "no-handshake"
        evidence = (seen(peer), *outside(peer), *(f"the agent says: {line}" for line in facts.journal[-1:]))
        yield Cause(name, 15, f"{peer.name}: {state}", evidence, f"hybridnet doctor  # on {peer.name}")
