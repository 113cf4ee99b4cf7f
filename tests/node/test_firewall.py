"""The firewall's sets and rules, against nft itself where this host lets us make network namespaces."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest

from node.firewall import KUBE_PAIRS, LATER, desired_sets, kube_groups, merged, observed_sets, script
from node.wireguard import WireGuardError
from overlay.model import Node, Site
from overlay.pools import Pool
from overlay.roster import Roster, canonical, parse
from tests.node.support import key, roster

TABLE = """table inet hybridnet {
  set wg_sources4 { type ipv4_addr; flags interval; }
  set wg_sources6 { type ipv6_addr; flags interval; }
  set kube_pairs4 { type ipv4_addr . ipv4_addr; flags interval; }
  set kube_pairs6 { type ipv6_addr . ipv6_addr; flags interval; }
  set lan4 { type ipv4_addr; flags interval; }
  set overlay6 { type ipv6_addr; flags interval; }
  set admin4 { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
  set admin6 { type ipv6_addr; flags interval; }
}
"""


def number(address: str) -> int:
    return int(IPv4Address(address))


def spoke(address: str, site: str = "hetzner") -> Node:
    name = f"{site}-{address.replace('.', '-')}"
    return Node(name, site, IPv4Address(address), "spoke", key(name))


def pool(name: str, addresses: str, site: str = "hetzner") -> Pool:
    return Pool(name, site, IPv4Network(addresses), 4, "0" * 64, 60, 60, 8000, "/health")


def extended(made: Roster, lan: str | None = "172.31.0.0/16") -> Roster:
    """The roster with an IPv6 part of the overlay, and with a network of each site's own: hetzner's is ``lan``."""
    lans = {"hetzner": IPv4Network(lan) if lan else None, "aws": IPv4Network("172.30.0.0/16")}
    sites = tuple(replace(site, lan=lans[site.name]) for site in made.network.sites)
    network = replace(made.network, sites=sites, overlay6=IPv6Network("fd12:3456:789a::/48"))
    return parse(canonical(replace(made, network=network)))


def grouped(*machines: Node | Pool) -> Roster:
    """A roster with the sites hetzner and aws, a gateway in the first, and ``machines``."""
    made = roster(1, spokes=0)
    gateway = replace(made.node("gw"), address=IPv4Address("10.100.1.5"))
    sites = (*made.network.sites, Site("aws", "aws", IPv4Network("10.100.2.0/24"), "eu-central-1"))
    found = replace(
        made,
        network=replace(made.network, sites=tuple(sorted(sites, key=lambda site: site.name))),
        nodes=tuple(sorted([gateway, *(each for each in machines if isinstance(each, Node))], key=lambda n: n.name)),
        pools=tuple(sorted((each for each in machines if isinstance(each, Pool)), key=lambda p: p.name)),
    )
    return parse(canonical(found))


def test_intervals_are_merged_where_they_touch() -> None:
    assert merged([(5, 9), (1, 4), (20, 30), (22, 25)]) == [(1, 9), (20, 30)]


def test_each_version_has_its_own_set() -> None:
    made = roster(
        wireguard_sources=(ip_network("0.0.0.0/0"), ip_network("::/0")), admin_cidrs=(ip_network("203.0.113.7/32"),)
    )
    sets = desired_sets(made, "gw")
    assert sets["wg_sources4"] == [((0, 2**32 - 1),)]
    assert sets["wg_sources6"] == [((0, 2**128 - 1),)]
    assert sets["admin4"] == [((number("203.0.113.7"),) * 2,)]
    assert sets["admin6"] == []


def test_a_sites_spokes_are_a_group_and_each_pool_is_one() -> None:
    made = grouped(
        spoke("10.100.1.1"),
        spoke("10.100.1.4"),
        spoke("10.100.1.9"),
        pool("burst", "10.100.1.64/27"),
        spoke("10.100.1.200"),
        spoke("10.100.2.7", "aws"),
        pool("spot", "10.100.2.64/28", "aws"),
        pool("more", "10.100.2.80/28", "aws"),
    )
    groups = {
        group: [(str(IPv4Address(first)), str(IPv4Address(last))) for first, last in intervals]
        for group, intervals in kube_groups(made).items()
    }
    assert groups == {
        "site hetzner": [
            ("10.100.1.1", "10.100.1.4"),
            ("10.100.1.9", "10.100.1.9"),
            ("10.100.1.200", "10.100.1.200"),
        ],
        "pool burst": [("10.100.1.64", "10.100.1.95")],
        "site aws": [("10.100.2.7", "10.100.2.7")],
        "pool spot": [("10.100.2.64", "10.100.2.79")],
        "pool more": [("10.100.2.80", "10.100.2.95")],
    }


def test_no_address_of_one_group_is_paired_with_anothers() -> None:
    spokes = [spoke(f"10.100.1.{host}") for host in range(2, 60, 3) if host != 5]
    pools = [pool("one", "10.100.1.64/28"), pool("two", "10.100.1.80/28"), pool("three", "10.100.1.96/27")]
    holders = {
        "spokes": {int(node.address) for node in spokes},
        "gateway": {number("10.100.1.5")},
        **{each.name: set(map(int, each.addresses)) for each in pools},
    }
    pairs = desired_sets(grouped(*spokes, *pools), "gw")[KUBE_PAIRS]
    for first, source in holders.items():
        for second, destination in holders.items():
            paired = {
                (a, b)
                for a in source
                for b in destination
                if any(s[0] <= a <= s[1] and d[0] <= b <= d[1] for s, d in pairs)
            }
            meant = first == second != "gateway"
            assert paired == ({(a, b) for a in source for b in destination} if meant else set()), (first, second)


def test_a_gateway_serves_its_own_sites_network_and_no_other() -> None:
    made = extended(grouped(spoke("10.100.2.7", "aws")))
    assert desired_sets(made, "gw")["lan4"] == [((number("172.31.0.0"), number("172.31.255.255")),)]
    assert desired_sets(extended(grouped(spoke("10.100.2.7", "aws")), lan=None), "gw")["lan4"] == []


def test_the_ipv6_sets_are_the_ipv4_ones_in_the_overlays_ipv6_part() -> None:
    machines = [spoke("10.100.1.1"), spoke("10.100.2.7", "aws"), pool("burst", "10.100.1.64/27")]
    plain, made = grouped(*machines), extended(grouped(*machines))
    sets = desired_sets(made, "gw")

    def twin(interval: tuple[int, int]) -> tuple[int, int]:
        first, last = (int(IPv6Address(f"fd12:3456:789a::{IPv4Address(each)}")) for each in interval)
        return first, last

    assert sets["overlay6"] == [(twin((number("10.100.0.0"), number("10.100.255.255"))),)]
    assert sets["kube_pairs6"] == [(twin(source), twin(target)) for source, target in sets[KUBE_PAIRS]] != []
    assert [desired_sets(plain, "gw")[name] for name in ("overlay6", "kube_pairs6")] == [[], []]


@pytest.fixture
def namespace() -> list[str]:
    """A command prefix that runs a command as root of a network and a mount namespace of its own."""
    prefix = ["unshare", "--map-root-user", "--net", "--mount"]
    if shutil.which("nft") is None or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs nft and the right to make a network namespace")
    return prefix


@pytest.mark.parametrize(
    ("sources", "admins"),
    [
        (["0.0.0.0/0", "::/0"], ["203.0.113.0/24"]),
        (["198.51.100.7/32"], []),
        (
            ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32", "2001:db8:1::/48"],
            ["::1/128"],
        ),
        (["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"], ["0.0.0.0/1", "128.0.0.0/1"]),
        ([], []),
    ],
)
def test_nft_holds_what_was_asked_for(
    tmp_path: Path, namespace: list[str], sources: list[str], admins: list[str]
) -> None:
    machines = [
        spoke("10.100.1.1"),
        spoke("10.100.1.9"),
        pool("burst", "10.100.1.64/27"),
        pool("odd", "10.100.1.96/30"),
    ]
    made = grouped(*machines[: 3 if admins else 0])
    made = extended(made) if admins else made
    made = replace(made, wireguard_sources=tuple(map(ip_network, sources)), admin_cidrs=tuple(map(ip_network, admins)))
    desired = desired_sets(made, "gw")
    (tmp_path / "table").write_text(TABLE)
    (tmp_path / "script").write_text(script(desired))
    command = f"nft -f {tmp_path}/table && nft -f {tmp_path}/script && nft -j list table inet hybridnet"
    listing = subprocess.run([*namespace, "sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert observed_sets(listing) == desired


def test_a_listing_is_read_in_every_shape_of_element() -> None:
    single, prefix = "192.0.2.1", {"prefix": {"addr": "10.0.0.0", "len": 8}}
    several = {"range": ["192.0.2.5", "192.0.2.9"]}
    listing: dict[str, list[dict[str, Any]]] = {
        "nftables": [
            {"metainfo": {}},
            {"set": {"name": "admin4", "elem": [single, prefix, several]}},
            {"set": {"name": KUBE_PAIRS, "elem": [{"concat": [several, single]}, {"concat": [prefix, prefix]}]}},
            {"set": {"name": "admin6"}},
        ]
    }
    one, eight, five = (0xC0000201, 0xC0000201), (10 << 24, (11 << 24) - 1), (0xC0000205, 0xC0000209)
    assert observed_sets(json.dumps(listing)) == {
        "admin4": [(eight,), (one,), (five,)],
        KUBE_PAIRS: [(eight, eight), (five, one)],
        "admin6": [],
    }


def test_one_address_is_no_range() -> None:
    """Ubuntu 22.04 has nft 1.0.2, which refuses `192.0.2.1-192.0.2.1`."""
    one, four, six = number("192.0.2.1"), (number("10.0.0.0"), number("10.0.0.3")), int(IPv6Address("2001:db8::7"))
    sets = {"admin4": [((one, one),), (four,)], "admin6": [((six, six),)], KUBE_PAIRS: [((one, one), four)]}
    assert script(sets).splitlines() == [
        "flush set inet hybridnet admin4",
        "add element inet hybridnet admin4 { 192.0.2.1, 10.0.0.0-10.0.0.3 }",
        "flush set inet hybridnet admin6",
        "add element inet hybridnet admin6 { 2001:db8::7 }",
        "flush set inet hybridnet kube_pairs4",
        "add element inet hybridnet kube_pairs4 { 192.0.2.1 . 10.0.0.0-10.0.0.3 }",
    ]


KEEPING = """
import subprocess, sys
from pathlib import Path
from node.firewall import NftTool, observed_sets, desired_sets, run, TABLE
from overlay.roster import parse

tool = NftTool(sys.argv[1])
made = parse(Path(sys.argv[2]).read_bytes())

def listed():
    return observed_sets(run(["nft", "-j", "list", "table", *TABLE.split()]))

def check(changed, sets):
    assert bool(tool.keep(made, "gw")) is changed, changed
    desired = desired_sets(made, "gw")
    assert listed() == {name: desired[name] for name in listed()}, listed()
    assert all(listed()[name] for name in sets)

sets = sys.argv[3:]
check(True, sets)
check(False, sets)
subprocess.run(["nft", "flush", "ruleset"], check=True)
check(True, sets)
check(False, sets)
for name in sets:
    subprocess.run(["nft", "flush", "set", *TABLE.split(), name], check=True)
    check(True, sets)
"""


def keep(
    namespace: list[str], folder: Path, rules: str, *, is_extended: bool = False
) -> subprocess.CompletedProcess[str]:
    """Have the firewall kept in a fresh namespace with ``rules`` as first boot's, and check its sets on the way."""
    machines = [spoke("10.100.1.1"), spoke("10.100.1.9"), pool("burst", "10.100.1.64/27")]
    made = replace(grouped(*machines), admin_cidrs=(ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")))
    made = replace(made, wireguard_sources=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    made = extended(made) if is_extended else made
    (folder / "rules").write_text(rules)
    (folder / "roster").write_bytes(canonical(made))
    sets = desired_sets(made, "gw")
    # Flushing what is empty is no drift.
    names = [name for line in rules.splitlines() if line.split()[0] == "set" and sets[name := line.split()[1]]]
    return subprocess.run(
        [*namespace, sys.executable, "-c", KEEPING, str(folder / "rules"), str(folder / "roster"), *names],
        capture_output=True,
        text=True,
        check=False,
    )


def without(*names: str) -> str:
    """First boot's rules from before gateways had the sets ``names``."""
    return "".join(line for line in TABLE.splitlines(keepends=True) if not any(name in line for name in names))


@pytest.mark.parametrize("is_extended", [False, True])
def test_drift_and_a_flushed_ruleset_are_repaired(tmp_path: Path, namespace: list[str], is_extended: bool) -> None:
    done = keep(namespace, tmp_path, TABLE, is_extended=is_extended)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_gateway_without_the_set_of_pairs_is_kept_and_says_so_once(tmp_path: Path, namespace: list[str]) -> None:
    done = keep(namespace, tmp_path, without(KUBE_PAIRS))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "TCP 6443" in done.stderr
    assert "raise this gateway's revision" in done.stderr


@pytest.mark.parametrize("is_extended", [False, True])
def test_a_gateway_from_before_is_told_of_only_for_what_the_roster_asks(
    tmp_path: Path, namespace: list[str], is_extended: bool
) -> None:
    later = LATER.keys() - {KUBE_PAIRS}
    done = keep(namespace, tmp_path, without(*later), is_extended=is_extended)
    assert done.returncode == 0, done.stderr
    said = {LATER[name] for name in later} if is_extended else set[str]()
    assert len(done.stderr.splitlines()) == len(said)
    assert all(lack in done.stderr for lack in said)


def test_rules_that_nft_does_not_take_are_an_error(tmp_path: Path, namespace: list[str]) -> None:
    done = keep(namespace, tmp_path, "nonsense\n")
    assert done.returncode == 1
    assert WireGuardError.__name__ in done.stderr
