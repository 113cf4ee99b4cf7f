"""Rules about the machine: its services, disk, firewall, kernel settings, clock and names. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from node.doctor.facts import Cause, Drop, Facts
from node.doctor.tunnel_rules import RESTART_AGENT, seen

SKEW_SECONDS = 10.0
"""A clock that is further off than this is wrong; handshakes carry the time, certificates and logs need it."""
_FULL = 0.95
"""The part of the tracked flows' table from which on new ones are refused now and then."""
_LEAST_BYTES = 4 << 20
_STRICT = 1


def firewall_drops(facts: Facts) -> Iterator[Cause]:
    lost = facts.unwell
    for drop in facts.rules.drops:
        is_passing_on = drop.packet.startswith("pings from ")
        if not lost and not (is_passing_on and drop.certain):
            continue
        is_whole = all(not peer.reach.answers for peer in lost)
        likelihood = 93 if drop.certain else 60 if lost and is_whole else 90
        evidence = (
            f"table {drop.table}, chain {drop.chain}: {drop.text}",
            f"it takes {'' if drop.certain else 'some of '}{drop.packet}",
            *map(seen, lost[:2]),
        )
        yield Cause(
            "nftables-drop", likelihood, "this machine's firewall drops the tunnel's packets", evidence, _undo(drop)
        )


def _undo(drop: Drop) -> str:
    if drop.handle:
        return f"nft delete rule {drop.table} {drop.chain} handle {drop.handle}"
    return f"nft list chain {drop.table} {drop.chain}  # and let UDP 51820 and wg0 pass there"


def firewall_changed(facts: Facts) -> Iterator[Cause]:
    rules = facts.rules
    # A restart would flush the tables of all others too, such as docker's (ExecStop of nftables.service).
    restore = "systemctl reload-or-restart nftables && systemctl restart hybridnet"
    if rules.is_missing:
        evidence = ("nft(8) lists no table inet hybridnet, which first boot's /etc/nftables.conf makes",)
        yield Cause("firewall-missing", 66, "this machine's firewall is gone", evidence, restore)
        return
    if rules.lacking or rules.added:
        shown = [f"lacks: {text}" for text in rules.lacking[:4]] + [f"has besides: {text}" for text in rules.added[:4]]
        evidence = ("the table inet hybridnet is not as /etc/nftables.conf makes it", *shown)
        yield Cause("firewall-changed", 65, "somebody changed this machine's firewall", evidence, restore)
    if rules.wrong_sets:
        evidence = (f"sets that do not hold what the roster says: {', '.join(rules.wrong_sets)}",)
        yield Cause("firewall-changed", 64, "the firewall does not follow the roster", evidence, RESTART_AGENT)


def forwarding(facts: Facts) -> Iterator[Cause]:
    if facts.role == "gateway" and facts.forwarding is False:
        evidence = ("net.ipv4.ip_forward is 0", "spokes reach this gateway, and nobody behind it")
        yield Cause(
            "forwarding-off", 92, "this gateway does not pass packets on", evidence, "sysctl net.ipv4.ip_forward=1"
        )


def return_path(facts: Facts) -> Iterator[Cause]:
    strict = sorted(device for device, mode in facts.filter.modes.items() if mode == _STRICT)
    lost, taken = facts.unwell, facts.filter.taken
    if not strict or not lost or not taken:
        return
    evidence = [
        f"net.ipv4.conf: rp_filter is 1 (strict) on {', '.join(strict)}",
        f"it took {taken} packets while the doctor looked (IPReversePathFilter in /proc/net/netstat)",
        *map(seen, lost[:2]),
    ]
    summary = "strict return path filtering drops packets that come by another way than answers go"
    commands = " ".join(f"net.ipv4.conf.{device}.rp_filter=2" for device in ("all", *strict))
    yield Cause("rp-filter", 91, summary, tuple(evidence), f"sysctl {commands}")


def tracking(facts: Facts) -> Iterator[Cause]:
    if facts.conntrack is None:
        return
    count, most = facts.conntrack
    if count >= most * _FULL:
        evidence = (f"{count} of {most} flows are tracked", *map(seen, facts.unwell[:2]))
        summary = "the table of tracked flows is full: new ones are dropped"
        likelihood = 89 if facts.unwell else 63
        yield Cause(
            "conntrack-full", likelihood, summary, evidence, f"sysctl net.netfilter.nf_conntrack_max={most * 2}"
        )


def clock(facts: Facts) -> Iterator[Cause]:
    if facts.skew is None or abs(facts.skew) < SKEW_SECONDS:
        return
    side = "ahead of" if facts.skew > 0 else "behind"
    evidence = [f"this machine's clock is {abs(facts.skew):.0f} s {side} its gateway's"]
    if facts.certificate:
        evidence.append(f"the gateway's certificate is not believed: {facts.certificate}")
    evidence += map(seen, facts.unwell[:1])
    if facts.skew < 0 and facts.silent:
        evidence.append("WireGuard takes no handshake that is older than the last one that it has seen")
    likelihood = 90 if facts.silent or facts.certificate else 62
    command = "timedatectl set-ntp true && systemctl restart systemd-timesyncd"
    yield Cause("clock-skew", likelihood, "this machine's clock is wrong", tuple(evidence), command)


def certificate(facts: Facts) -> Iterator[Cause]:
    if facts.certificate and (facts.skew is None or abs(facts.skew) < SKEW_SECONDS):
        evidence = (f"the gateway's control plane: {facts.certificate}",)
        summary = "the gateway's certificate is not one of this stack's"
        yield Cause("certificate", 61, summary, evidence, "pulumi up --refresh  # where the stack is kept")


def disk(facts: Facts) -> Iterator[Cause]:
    found = facts.disk
    if found is None:
        return
    if found.refusal is None and found.free >= _LEAST_BYTES and found.inodes > 0:
        return
    evidence = [f"{found.path}: {found.free >> 10} KiB of {found.total >> 20} MiB are free, {found.inodes} inodes"]
    if found.refusal:
        evidence.append(f"a small file cannot be written: {found.refusal}")
    summary = "the disk is full: the agent cannot keep what it learns, nor take a release"
    yield Cause(
        "disk-full", 59, summary, tuple(evidence), f"du -xh / | sort -h | tail  # and make room in {found.path}"
    )


def services(facts: Facts) -> Iterator[Cause]:
    unit = facts.units.get("hybridnet")
    if unit is None:
        return
    last = tuple(f"the agent says: {line}" for line in facts.journal[-2:])
    if unit.active not in ("active", "activating", "reloading"):
        evidence = (f"hybridnet is {unit.active} ({unit.sub}), {unit.enabled or 'unknown to systemd'}", *last)
        summary = "the agent does not run: the network's changes are not followed here"
        yield Cause("service-down", 50, summary, evidence, "systemctl enable --now hybridnet")
    elif unit.is_stopped:
        evidence = ("a process of hybridnet is stopped (state T)", *last)
        yield Cause(
            "service-hung", 50, "the agent hangs", evidence, f"systemctl kill -s KILL hybridnet && {RESTART_AGENT}"
        )
    elif facts.role == "gateway" and facts.answers is False:
        evidence = ("the service does not answer on its own socket", *last)
        yield Cause("service-hung", 49, "the service hangs, or starts over and over", evidence, RESTART_AGENT)
    elif facts.release.running == 0 and facts.release.newest:
        evidence = (
            f"no release runs, though {facts.release.newest} is here; systemd started it {unit.restarts} times anew",
        )
        yield Cause(
            "service-down", 48, "the agent starts and ends again", (*evidence, *last), "journalctl -u hybridnet -n 50"
        )
    elif facts.is_healthy is False:
        evidence = ("the gateway says of itself that it is not healthy", *last)
        yield Cause(
            "service-unwell",
            47,
            "the service cannot bring the network about",
            evidence,
            "journalctl -u hybridnet -n 50",
        )


def release(facts: Facts) -> Iterator[Cause]:
    found = facts.release
    newest = max(found.newest, found.offered)
    if not found.running or found.running >= newest:
        return
    evidence = [f"release {found.running} runs; the newest is {newest}"]
    if found.offered > found.running:
        evidence.append(f"the gateway runs {found.offered}")
    if found.failed is not None:
        evidence.append(f"release {found.newest} was given up here: {found.failed}")
    command = "journalctl -u hybridnet -n 50  # and, where the stack is kept: pulumi up --refresh"
    yield Cause("old-release", 30, "this machine runs an old release", tuple(evidence), command)


def setup(facts: Facts) -> Iterator[Cause]:
    unit = facts.units.get("hybridnet-setup")
    if unit is not None and unit.active == "failed":
        evidence = (f"hybridnet-setup is failed ({unit.sub}): the script of the pool's setting userSetup ended badly",)
        command = "journalctl -u hybridnet-setup -n 50  # mended: systemctl restart hybridnet-setup"
        yield Cause("setup-failed", 28, "what the pool's machines are to be set up with failed here", evidence, command)


def names(facts: Facts) -> Iterator[Cause]:
    found = facts.names
    if not found.asked or (not any(peer.reach.answers for peer in facts.gateways) and facts.role != "gateway"):
        return
    if found.here == found.wanted:
        return
    asked = f"{found.asked} is {found.wanted}; this machine's resolver says {found.here}"
    if found.there != found.wanted:
        evidence = (asked, f"the gateway's own DNS says {found.there}")
        where = "" if facts.role == "gateway" else "  # on the gateway"
        yield Cause(
            "dns", 57, "the gateway does not answer for names", evidence, f"systemctl restart hybridnet-dns{where}"
        )
    elif found.resolver != "active":
        evidence = (asked, f"systemd-resolved is {found.resolver}", "the gateway's own DNS answers rightly")
        command = "systemctl unmask systemd-resolved && systemctl restart systemd-resolved hybridnet"
        yield Cause("dns", 57, "this machine's resolver does not run", evidence, command)
    else:
        shown = ", ".join(found.servers) or "no server"
        evidence = (asked, f"over wg0 it asks {shown}", "the gateway's own DNS answers rightly")
        yield Cause("dns", 57, "this machine asks for the overlay's names elsewhere", evidence, RESTART_AGENT)
