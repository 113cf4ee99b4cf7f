"""Ending the flows that a router tracks and its rules no longer let pass.

A stateful firewall lets established flows go on. Where a rule was withdrawn they must end, as they do at the clouds
that cut them; but only they, because a peer behind a firewall cannot begin again what was taken from it by mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from localcloud.fabric.firewall import Port, Router, admits
from localcloud.fabric.process import run

_PAIR = re.compile(r"(src|dst|sport|dport|type|code|id)=(\S+)")


@dataclass(frozen=True)
class Flow:
    """A tracked flow as the two ends see it after translation."""

    protocol: str
    sender: str
    """Address of the machine that began it, as its own router knows it."""
    receiver: str
    """Address of the machine that it goes to, as its own router knows it."""
    sender_seen: str
    """Address of the sender as the receiver sees it."""
    port: int | None
    """Destination port at the receiver."""
    original: Mapping[str, str]
    """The tuple that names it to conntrack."""


def parse(listing: str) -> Iterator[Flow]:
    """The flows in what `conntrack -L` prints."""
    for line in listing.splitlines():
        pairs = _PAIR.findall(line)
        sources = [index for index, (key, _) in enumerate(pairs) if key == "src"]
        if len(sources) != 2:
            continue
        original, reply = dict(pairs[: sources[1]]), dict(pairs[sources[1] :])
        yield Flow(
            protocol=line.split()[0],
            sender=original["src"],
            receiver=reply["src"],
            sender_seen=reply["dst"],
            port=int(reply["sport"]) if "sport" in reply else None,
            original=original,
        )


def forbidden(flows: Iterator[Flow], ports: Sequence[Port]) -> Iterator[Flow]:
    """Those of the flows that the firewall of either end does not let pass."""
    by_address = {address: port for port in ports for address in port.addresses}
    for flow in flows:
        receiver, sender = by_address.get(flow.receiver), by_address.get(flow.sender)
        comes_in = receiver is None or admits(receiver.ingress, flow.protocol, flow.port, flow.sender_seen)
        goes_out = sender is None or admits(sender.egress, flow.protocol, flow.port, flow.receiver)
        if not (comes_in and goes_out):
            yield flow


def end_forbidden(namespace: str, router: Router) -> None:
    """End what the router's rules no longer let pass; its new rules must be loaded."""
    for family in ("ipv4", "ipv6"):
        listing = run("ip", "netns", "exec", namespace, "conntrack", "-L", "-f", family)
        for flow in forbidden(parse(listing), router.ports):
            _delete(namespace, family, flow)


def moved(before: Router, after: Router) -> list[str]:
    """Addresses behind another device now, or translated otherwise, or gone: their flows are not their machine's."""

    def held(router: Router) -> set[tuple[str, str, str | None, str | None]]:
        return {
            (address, port.device, (port.public or {}).get(address), (port.shared or {}).get(address))
            for port in router.ports
            for address in port.addresses
        }

    return sorted({address for address, *_ in held(before) - held(after)})


def end_all_of(namespace: str, addresses: Sequence[str]) -> None:
    """End every flow to or from addresses that another machine may get next."""
    for address in addresses:
        for side in ("--orig-src", "--orig-dst", "--reply-src", "--reply-dst"):
            family = "ipv6" if ":" in address else "ipv4"
            run("ip", "netns", "exec", namespace, "conntrack", "-D", "-f", family, side, address, check=False)


def _delete(namespace: str, family: str, flow: Flow) -> None:
    options = ["-p", flow.protocol, "--orig-src", flow.original["src"], "--orig-dst", flow.original["dst"]]
    if "sport" in flow.original:
        options += ["--sport", flow.original["sport"], "--dport", flow.original["dport"]]
    # It may have ended by itself since it was listed.
    run("ip", "netns", "exec", namespace, "conntrack", "-D", "-f", family, *options, check=False)
