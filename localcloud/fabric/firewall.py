"""The rules of one router between machines, as one nftables ruleset: addresses, translation, firewalls, cuts.

Pure: a `Router` in, text for `nft -f` out. A ruleset replaces the one before it in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from localcloud.spec import Rule

UPLINK = "uplink"
"""A private network's router's device towards the internet."""
MACHINES = "v*"
"""Devices with machines behind them."""
METADATA_ADDRESS = "169.254.169.254"
"""Where a router tells its machines, and nobody else, their metadata."""


@dataclass(frozen=True)
class Port:
    """A device of a router with what is behind it."""

    device: str
    addresses: tuple[str, ...]
    """Addresses of either family that may be the source of what comes in here."""
    any_source: bool = False
    """Lets pass packets from other addresses too, as a machine that forwards sends them."""
    ingress: tuple[Rule, ...] | None = None
    """What may go to the machine behind; None is everything."""
    egress: tuple[Rule, ...] | None = None
    """Where it may send; None is everywhere."""
    public: Mapping[str, str] | None = None
    """Own address -> public address that stands for it on the internet, one to one."""
    shared: Mapping[str, str] | None = None
    """Own address -> address that it shares with others when it sends to the internet."""


@dataclass(frozen=True)
class Cut:
    """No packet passes between the machine behind `device` and these addresses; without addresses, none at all."""

    device: str
    addresses: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Router:
    """What one router connects. `private` routers have an uplink, which only translated addresses pass."""

    ports: tuple[Port, ...]
    private: bool
    cuts: tuple[Cut, ...] = ()


def render(router: Router) -> str:
    """The router's whole ruleset."""
    lines = ["table inet fabric", "delete table inet fabric", "table inet fabric {"]
    lines += _spoofing(router)
    if router.private:
        lines += _translation(router)
    lines += _cuts(router)
    for port in router.ports:
        if port.ingress is not None:
            lines += _chain(f"in_{_identifier(port)}", port.ingress, "saddr", "accept")
        if port.egress is not None:
            lines += _chain(f"out_{_identifier(port)}", port.egress, "daddr", "return")
    leaving = _verdicts("out", [port for port in router.ports if port.egress is not None])
    entering = _verdicts("in", [port for port in router.ports if port.ingress is not None])
    lines += [
        "  chain forward {",
        "    type filter hook forward priority filter; policy accept;",
        "    ct state established,related accept",
        *([f"    iifname vmap {leaving}"] if leaving else []),
        "  }",
        "  chain metadata {",
        "    type filter hook input priority filter; policy accept;",
        f'    iifname != "{MACHINES}" ip daddr {METADATA_ADDRESS} drop',
        "  }",
        # Of a machine that is off a cloud says nothing.
        "  chain silence {",
        "    type filter hook output priority filter; policy accept;",
        "    icmp type destination-unreachable icmp code host-unreachable drop",
        "    icmpv6 type destination-unreachable icmpv6 code addr-unreachable drop",
        "  }",
        # After source translation: a firewall sees the address that the far end shows to the world.
        "  chain deliver {",
        "    type filter hook postrouting priority srcnat + 50; policy accept;",
        "    ct state established,related,untracked accept",  # IPv6 neighbours are not tracked
        # A router tells of a packet that is too big before it has tracked any flow that this could be related to.
        "    fib saddr type local icmp type { destination-unreachable, time-exceeded } accept",
        "    fib saddr type local icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } accept",
        "    ct state invalid drop",
        *([f"    oifname vmap {entering}"] if entering else []),
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def admits(rules: Sequence[Rule] | None, protocol: str, port: int | None, far_end: str) -> bool:
    """Whether the rules let a new flow of `protocol` (nft's name: tcp, udp, icmp, icmpv6, …) pass."""
    if rules is None:
        return True
    address = ip_address(far_end)
    named = "icmp" if protocol == "icmpv6" else protocol
    return any(
        rule.protocol in ("any", named)
        and (rule.ports is None or (port is not None and rule.ports[0] <= port <= rule.ports[1]))
        and any(address in ip_network(source) for source in rule.sources)
        for rule in rules
    )


def _spoofing(router: Router) -> list[str]:
    checked = [port for port in router.ports if not port.any_source]
    owners: dict[int, list[str]] = {4: [], 6: []}
    for port in checked:
        for address in port.addresses:
            owners[ip_address(address).version].append(f'"{port.device}" . {address}')
    lines = [
        "  chain spoof {",
        "    type filter hook prerouting priority raw; policy accept;",
    ]
    if checked:
        devices = _set(f'"{port.device}"' for port in checked)
        for version, family, local in ((4, "ip", ""), (6, "ip6", "ip6 saddr != { ::/128, fe80::/10 } ")):
            own = f"iifname . {family} saddr != {_set(owners[version])} " if owners[version] else ""
            lines.append(f"    meta nfproto ipv{version} iifname {devices} {local}{own}drop")
    return [*lines, "  }"]


def _translation(router: Router) -> list[str]:
    public = {own: out for port in router.ports for own, out in (port.public or {}).items()}
    shared = {own: out for port in router.ports for own, out in (port.shared or {}).items()}
    lines = ["  chain inbound {", "    type nat hook prerouting priority dstnat; policy accept;"]
    translated = sorted(public.keys() | shared.keys())
    if public:
        # Who has no address on the internet reaches none there, its own network's either.
        for sender in (f'iifname "{UPLINK}"', f"ip saddr {_set(translated)}"):
            lines.append(
                f"    {sender} dnat ip to ip daddr map {_set(f'{out} : {own}' for own, out in public.items())}"
            )
    lines += ["  }", "  chain translate {"]
    if public:
        lines.append(f"    snat ip to ip saddr map {_set(f'{own} : {out}' for own, out in public.items())}")
    for own, out in sorted(shared.items()):
        lines.append(f"    ip saddr {own} meta l4proto {{ tcp, udp }} snat ip to {out}:20000-60000 fully-random")
        lines.append(f"    ip saddr {own} snat ip to {out}")
    lines += [
        "  }",
        "  chain outbound {",
        "    type nat hook postrouting priority srcnat; policy accept;",
        f'    oifname "{UPLINK}" jump translate',
        "    ct status dnat jump translate",
        "  }",
        "  chain untranslated {",
        "    type filter hook forward priority filter - 20; policy accept;",
    ]
    matching = f"ip saddr != {_set(translated)} " if translated else ""
    lines.append(f'    iifname != "{UPLINK}" oifname "{UPLINK}" ct state new {matching}drop')
    return [*lines, "  }"]


def _cuts(router: Router) -> list[str]:
    lines = ["  chain cut {", "    type filter hook forward priority filter - 10; policy accept;"]
    for cut in router.cuts:
        if cut.addresses is None:
            lines += [f'    iifname "{cut.device}" drop', f'    oifname "{cut.device}" drop']
            continue
        for version, family in ((4, "ip"), (6, "ip6")):
            addresses = [address for address in cut.addresses if ip_address(address).version == version]
            if addresses:
                lines.append(f'    iifname "{cut.device}" {family} daddr {_set(addresses)} drop')
                lines.append(f'    oifname "{cut.device}" {family} saddr {_set(addresses)} drop')
    return [*lines, "  }"]


def _chain(name: str, rules: Sequence[Rule], end: str, verdict: str) -> list[str]:
    lines = [f"  chain {name} {{"]
    for rule in rules:
        for family, addresses in _families(rule.sources):
            match = [f"meta nfproto {'ipv4' if family == 'ip' else 'ipv6'}"]
            if not any(network.prefixlen == 0 for network in addresses):
                match = [f"{family} {end} {_set(str(network) for network in addresses)}"]
            if rule.protocol == "icmp":
                match.append(f"meta l4proto {'icmp' if family == 'ip' else 'ipv6-icmp'}")
            elif rule.protocol != "any":
                ports = rule.ports or (0, 65535)
                match.append(f"{rule.protocol} dport {ports[0]}-{ports[1]}")
            lines.append(f"    {' '.join(match)} {verdict}")
    return [*lines, "    drop", "  }"]


def _families(sources: Iterable[str]) -> list[tuple[str, list[IPv4Network] | list[IPv6Network]]]:
    networks = [ip_network(source) for source in sources]
    four = list(collapse_addresses(network for network in networks if isinstance(network, IPv4Network)))
    six = list(collapse_addresses(network for network in networks if isinstance(network, IPv6Network)))
    families: list[tuple[str, list[IPv4Network] | list[IPv6Network]]] = []
    if four:
        families.append(("ip", four))
    if six:
        families.append(("ip6", six))
    return families


def _identifier(port: Port) -> str:
    return port.device.replace("-", "_")


def _verdicts(direction: str, ports: Sequence[Port]) -> str:
    if not ports:
        return ""
    return _set(f'"{port.device}" : jump {direction}_{_identifier(port)}' for port in ports)


def _set(elements: Iterable[str]) -> str:
    return "{ " + ", ".join(elements) + " }"
