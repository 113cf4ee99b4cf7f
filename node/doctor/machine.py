"""What this machine's tools tell of it, and how their output reads."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

from node.doctor import packets
from node.doctor.facts import Disk, Release, Unit
from node.firewall import RULES, TABLE

_TIMEOUT = 5.0
UNITS = ("hybridnet", "wg-quick@wg0", "nftables", "systemd-resolved", "hybridnet-dns", "hybridnet-setup")
_PROPERTIES = "Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts"
_FILTER = "/proc/sys/net/ipv4/conf"


class ToolError(Exception):
    """A tool is missing, refused or did not answer; the message says which and what it said."""


def run(*words: str, text: str | None = None) -> str:
    """A command's output; ToolError. What is secret may go in as ``text``, and is in no message."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{words[0]}: {type(error).__name__}") from None
    if done.returncode:
        raise ToolError(f"{' '.join(words[:3])}: {' '.join(done.stderr.split())[:200] or f'status {done.returncode}'}")
    return done.stdout


@dataclass(frozen=True)
class Link:
    """An interface by ``ip -j address``."""

    name: str
    is_up: bool
    mtu: int
    addresses: tuple[IPv4Address, ...]


def parse_links(text: str) -> dict[str, Link]:
    """The interfaces in the output of ``ip -j address show``."""
    found: dict[str, Link] = {}
    for link in cast("list[dict[str, Any]]", json.loads(text)):
        if "ifname" not in link:
            continue  # ip(8) prints empty objects for what it has left out
        own = tuple(IPv4Address(each["local"]) for each in link.get("addr_info", []) if each["family"] == "inet")
        found[link["ifname"]] = Link(link["ifname"], "UP" in link["flags"], int(link["mtu"]), own)
    return found


def parse_route(text: str) -> tuple[str | None, str | None]:
    """(device, source address) in the output of ``ip -j route get ADDRESS``; None for what it does not say."""
    rows = cast("list[dict[str, Any]]", json.loads(text or "[]"))
    return (rows[0].get("dev"), rows[0].get("prefsrc")) if rows else (None, None)


def route(address: str, mark: str = "off") -> tuple[str | None, str | None]:
    """By which device and with which source address this machine sends to ``address``; None without a route.

    ``mark`` is that of the packets, as ``wg show INTERFACE fwmark`` tells it.
    """
    marked = [] if mark == "off" else ["mark", mark]
    try:
        return parse_route(run("ip", "-j", "route", "get", address, *marked))
    except (ToolError, ValueError):
        return None, None


def matched(address: str) -> tuple[str | None, str | None]:
    """The device and the prefix of the route to ``address``; None without one."""
    try:
        rows = cast("list[dict[str, Any]]", json.loads(run("ip", "-j", "route", "get", "fibmatch", address) or "[]"))
    except (ToolError, ValueError):
        return None, None
    return (rows[0].get("dev"), rows[0].get("dst")) if rows else (None, None)


def leads_into(address: str, devices: Sequence[str]) -> bool:
    """Whether some route to ``address`` leads to one of these devices, the one that is taken or a wider one."""
    try:
        rows = cast(
            "list[dict[str, Any]]", json.loads(run("ip", "-j", "-4", "route", "show", "match", address) or "[]")
        )
    except (ToolError, ValueError):
        return True  # nothing is said of what could not be looked at
    return any(row.get("dev") in devices for row in rows)


def parse_units(text: str) -> dict[str, Unit]:
    """The units in the output of ``systemctl show``, by their names without ``.service``."""
    found: dict[str, Unit] = {}
    for block in text.split("\n\n"):
        words = {
            name: value
            for name, is_setting, value in (line.partition("=") for line in block.splitlines())
            if is_setting
        }
        if "Id" in words:
            name = words["Id"].removesuffix(".service")
            found[name] = Unit(
                name,
                words.get("LoadState", ""),
                words.get("ActiveState", ""),
                words.get("SubState", ""),
                words.get("UnitFileState", ""),
                int(words.get("NRestarts") or 0),
            )
    return found


def units() -> dict[str, Unit]:
    """The services that the network needs, and the one that runs a pool's ``userSetup``, as systemd has them."""
    found = parse_units(run("systemctl", "show", f"--property={_PROPERTIES}", *UNITS))
    own = found.get("hybridnet")
    if own is not None:
        stopped = any(_state(process) == "T" for process in _processes(own.name))
        found[own.name] = replace(own, is_stopped=stopped)
    return found


def _processes(unit: str) -> list[int]:
    """The processes of a unit's control group, wherever that is mounted."""
    group = run("systemctl", "show", "--property=ControlGroup", "--value", unit).strip()
    places = [Path(f"/sys/fs/cgroup{each}{group}/cgroup.procs") for each in ("", "/unified", "/systemd")]
    listed = next((each for each in places if group and each.exists()), None)
    try:
        return [int(each) for each in listed.read_text().split()] if listed else []
    except OSError:
        return []  # it has just ended


def _state(process: int) -> str:
    """The state of a process as proc(5) tells it, T for one that was stopped; empty for none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def running(role: str) -> int:
    """The number of the release that runs, by the folder in which its process works; 0 when none does."""
    return next((number for process in _processes("hybridnet") if (number := _release(process, role))), 0)


def _release(process: int, role: str) -> int:
    """The release that a process runs in a role; 0 for another process."""
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        is_agent = words[1:4] == [b"-m", b"node", role.encode()] and b"check" not in words
        return int(Path(f"/proc/{process}/cwd").readlink().name) if is_agent else 0
    except (OSError, ValueError):
        return 0


def releases(state: Path, role: str) -> Release:
    """What is on disk, and what runs."""
    folders = [each for each in (state / "releases").glob("*") if each.name.isdigit()]
    if not folders:
        return Release(running(role))
    newest = max(folders, key=lambda folder: int(folder.name))
    bad = newest / "bad"
    failed = (bad.read_text().strip() or "it never became healthy") if bad.exists() else None
    return Release(running(role), int(newest.name), failed=failed)


def disk(folder: Path) -> Disk:
    """How much the folder's file system takes yet, and whether it takes a file like those of the agent's state."""
    place = folder if folder.exists() else folder.parent
    found = os.statvfs(place)
    refusal = None
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(1 << 16))
            file.flush()
    except OSError as error:
        refusal = error.strerror
    inodes = found.f_favail if found.f_files else 1 << 20
    return Disk(str(folder), found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, inodes, refusal)


def filter_modes(devices: Iterable[str]) -> dict[str, int]:
    """Device -> return path filtering in effect: the larger of its own and everybody's (ip-sysctl, rp_filter)."""
    common = _number(f"{_FILTER}/all/rp_filter") or 0
    return {each: max(common, own) for each in devices if (own := _number(f"{_FILTER}/{each}/rp_filter")) is not None}


def parse_netstat(text: str) -> int:
    """How many packets return path filtering has taken since the boot, of ``/proc/net/netstat``."""
    lines = [line.split() for line in text.splitlines() if line.startswith("TcpExt:")]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        counts = dict(zip(names, values, strict=False))
        if "IPReversePathFilter" in counts:
            return int(counts["IPReversePathFilter"])
    return 0


def filtered() -> int:
    """As :func:`parse_netstat`, of this machine."""
    try:
        return parse_netstat(Path("/proc/net/netstat").read_text())
    except OSError:
        return 0


def forwarding() -> bool | None:
    found = _number("/proc/sys/net/ipv4/ip_forward")
    return None if found is None else bool(found)


def conntrack() -> tuple[int, int] | None:
    """How many flows are tracked, and how many can be; None where none are."""
    folder = "/proc/sys/net/netfilter"
    count, most = _number(f"{folder}/nf_conntrack_count"), _number(f"{folder}/nf_conntrack_max")
    return None if count is None or not most else (count, most)


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def refusal() -> str | None:
    """Why a gateway did not let this machine of a pool join, if that is what the agent has met last."""
    words = ("--lines=1", "--output=cat", "--no-pager", "--quiet", "--grep=^(cannot join: |joined as )")
    try:
        _, is_refused, why = run("journalctl", "--unit=hybridnet", *words).strip().partition("cannot join: 403 ")
    except ToolError:
        return None
    return f"403 {why[:200]}" if is_refused else None


def journal() -> tuple[str, ...]:
    """The agent's last lines."""
    try:
        text = run("journalctl", "--unit=hybridnet", "--lines=3", "--output=cat", "--no-pager", "--quiet")
    except ToolError:
        return ()
    return tuple(line.strip()[:200] for line in text.splitlines() if line.strip())


def parse_servers(text: str) -> tuple[str, ...]:
    """The DNS servers in the output of ``resolvectl dns INTERFACE``: ``Link 3 (wg0): 10.100.0.1``."""
    return tuple(text.partition("):")[2].split())


def servers(interface: str) -> tuple[str, ...] | None:
    """The servers at which names are asked for over the tunnel; None where systemd-resolved is not used."""
    try:
        return parse_servers(run("resolvectl", "dns", interface))
    except ToolError:
        return None


def asks_resolved(files: Path = Path("/etc")) -> bool:
    """Whether this machine's programs ask systemd-resolved for names, by ``resolv.conf`` or ``nsswitch.conf``."""
    servers = files / "resolv.conf"
    if "/systemd/resolve/" in str(servers.resolve()):
        return True
    try:
        words = [line.split() for path in (servers, files / "nsswitch.conf") if path.exists() for line in _lines(path)]
    except OSError:
        return True
    return any(
        each[:2] == ["nameserver", "127.0.0.53"] or (each[:1] == ["hosts:"] and "resolve" in each) for each in words
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()


def resolved(name: str) -> str:
    """The IPv4 address that this machine's resolver has for a name; ``unknown`` for none."""
    try:
        found = run("getent", "ahostsv4", name).split()
    except ToolError:
        return "unknown"
    return found[0] if found else "unknown"


@dataclass(frozen=True)
class Listing:
    """The firewall as it is, and our own ``table`` as JSON, empty for none.

    ``wanted`` is what first boot's file makes of that, None where the file is not ours.
    """

    rules: packets.Ruleset
    table: str
    wanted: packets.Ruleset | None


def firewall(file: Path = Path(RULES)) -> Listing:
    """What nft(8) tells; ToolError. What the file makes is looked at in a network namespace of its own."""
    rules = packets.parse(run("nft", "-j", "list", "ruleset"), run("nft", "-a", "list", "ruleset"))
    table = run("nft", "-j", "list", "table", *TABLE.split()) if TABLE in rules.tables else ""
    return Listing(rules, table, _wanted(file))


def _wanted(file: Path) -> packets.Ruleset | None:
    try:
        if f"table {TABLE}" not in file.read_text():
            return None
        listing = "nft -f \"$1\" && nft -j list ruleset && echo '---' && nft -a list ruleset"
        made, _, text = run("unshare", "--net", "sh", "-ec", listing, "sh", str(file)).partition("---\n")
        return packets.parse(made, text)
    except (OSError, ToolError, ValueError):
        return None


def judged(listing: Listing) -> tuple[bool, Sequence[str], Sequence[str]]:
    """Whether our own table is missing, and what it lacks and has besides."""
    if listing.wanted is None:
        return False, (), ()
    if TABLE not in listing.rules.tables:
        return True, (), ()
    return (False, *packets.difference(listing.wanted, listing.rules, TABLE))
