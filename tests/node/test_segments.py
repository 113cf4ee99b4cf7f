"""Groups as the machines keep to them: real packets, against nft itself where network namespaces can be made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from node.segments import NftSegments, rules
from overlay.addresses import address6
from overlay.model import Network, Node, Site
from tests.node.flows import Flow, Machine, flows_through, told, written
from tests.node.support import key

OVERLAY6 = IPv6Network("fd12:3456:789a::/48")
SITES = (
    Site("aws", "aws", IPv4Network("10.100.2.0/24"), "eu-central-1", IPv4Network("172.31.0.0/16"), "batch"),
    Site("gcp", "gcp", IPv4Network("10.100.3.0/24"), "europe-west3", IPv4Network("172.31.0.0/16"), "quiet"),
    Site("hetzner", "hetzner", IPv4Network("10.100.1.0/24"), "fsn1"),
)
GROUPS = {
    "admin": ("all",),
    "batch": ("serve",),
    "burst": (),
    "loadbalancer": ("burst", "serve"),
    "quiet": (),
    "serve": ("loadbalancer",),
    "train": ("serve", "train"),
}
NETWORK = Network(
    IPv4Network("10.100.0.0/16"), SITES, "hub", OVERLAY6, GROUPS, ((IPv4Network("10.100.2.64/27"), "burst"),)
)


def node(name: str, site: str, address: str, group: str = "") -> Node:
    role = "spoke" if group else "gateway"
    return Node(name, site, IPv4Address(address), role, key(name), group=group)


NODES = [
    node("root", "hetzner", "10.100.0.1"),
    node("aws", "aws", "10.100.2.254"),
    node("admin", "hetzner", "10.100.1.1", "admin"),
    node("train", "hetzner", "10.100.1.2", "train"),
    node("other", "hetzner", "10.100.1.3", "train"),
    node("serve", "aws", "10.100.2.3", "serve"),
]
EVERYBODY = {each.name: each for each in [*NODES, node("burst", "aws", "10.100.2.65", "burst")]}
GATEWAYS = ("root", "aws")
PORTS = ("tcp/22", "tcp/53", "udp/53", "tcp/443", "tcp/8443", "udp/8444", "tcp/9586")
OF_GATEWAY = ("tcp/53", "udp/53", "tcp/8443", "udp/8444", "ping")
REACHED = {
    "admin": {"train", "other", "serve", "burst"},
    "train": {"other", "serve"},
    "other": {"train", "serve"},
    "serve": set[str](),
    "burst": set[str](),
    "root": {"serve", "burst"},
    "aws": {"serve", "burst"},
}
"""Who reaches whom, by the groups; gateways apart."""


def machine(name: str, rules_of: Iterable[str], folder: Path, network: Network = NETWORK) -> Machine:
    each = EVERYBODY[name]
    six = address6(OVERLAY6, each.address)
    lengths = (16, 112) if name == "root" else (32, 128)
    text = rules(network, NODES, each) if name in rules_of else None
    addresses = [f"{each.address}/{lengths[0]}", f"{six}/{lengths[1]}"]
    serves = (*PORTS, "tcp/8000") if each.role == "gateway" else ("tcp/8000", "udp/8444")
    return Machine(name, {"wg0": addresses}, written(folder, name, text), serves)


def outcomes(folder: Path, rules_of: Iterable[str], flows: Iterable[Flow]) -> set[Flow]:
    """Which of the flows (from a name to a name) are answered; the others are rejected, none lost. IPv6 is as IPv4."""
    found: dict[Flow, set[str]] = {}
    asked: dict[Flow, Flow] = {}
    for source, target, what in flows:
        address = EVERYBODY[target].address
        for text in (str(address), str(address6(OVERLAY6, address))):
            asked[source, text, what] = (source, target, what)
    middle = machine("root", rules_of, folder)
    others = [machine(name, rules_of, folder) for name in EVERYBODY if name != "root"]
    for flow, outcome in flows_through(middle, others, asked).items():
        found.setdefault(asked[flow], set()).add(outcome)
    assert not {flow: each for flow, each in found.items() if each not in ({"answered"}, {"rejected"})}
    return {flow for flow, each in found.items() if each == {"answered"}}


def between_spokes() -> set[Flow]:
    return {
        (source, target, what)
        for source in EVERYBODY
        for target in EVERYBODY
        if source != target and target not in GATEWAYS
        for what in ("tcp/8000", "udp/8444", "ping")
    }


def meant(source: str, target: str, what: str) -> bool:
    """Whether a flow to a spoke is to pass: by the groups, or because gateways may greet and tell everybody."""
    return target in REACHED[source] or (source in GATEWAYS and what in ("udp/8444", "ping"))


@pytest.mark.parametrize("who", ["gateway", "spokes"])
def test_spokes_are_reached_by_whom_their_groups_name(tmp_path: Path, who: str) -> None:
    rules_of = ["root"] if who == "gateway" else [name for name in EVERYBODY if name not in GATEWAYS]
    # What a gateway itself sends is for the spokes to judge.
    asked = {each for each in between_spokes() if who == "spokes" or each[0] != "root"}
    assert outcomes(tmp_path, rules_of, asked) == {each for each in asked if meant(*each)}


@pytest.mark.parametrize("side", ["train", "admin"])
def test_either_end_of_a_direct_link_keeps_to_the_groups(tmp_path: Path, side: str) -> None:
    asked = {("train", "admin", "tcp/8000"), ("admin", "train", "tcp/8000")}
    assert outcomes(tmp_path, [side], asked) == {("admin", "train", "tcp/8000")}


@pytest.mark.parametrize("who", ["gateways", "spokes"])
def test_what_a_gateway_is_there_for_is_everybodys_and_the_rest_goes_by_group(tmp_path: Path, who: str) -> None:
    rules_of = ["root"] if who == "gateways" else [name for name in EVERYBODY if name not in GATEWAYS]
    sources = [name for name in EVERYBODY if name not in GATEWAYS]
    asked = {(source, gateway, what) for source in sources for gateway in GATEWAYS for what in (*PORTS, "ping")}
    expected = {
        (source, gateway, what)
        for source, gateway, what in asked
        if what in OF_GATEWAY or source == "admin" or (source == "serve" and what == "tcp/443")
    }
    assert outcomes(tmp_path, rules_of, asked) == expected


def test_gateways_have_of_each_other_what_they_need(tmp_path: Path) -> None:
    asked = {("aws", "root", what) for what in (*PORTS, "ping")}
    assert outcomes(tmp_path, ["root"], asked) == {("aws", "root", what) for what in OF_GATEWAY}


def test_a_sites_own_network_counts_as_its_group_and_comes_as_its_gateway(tmp_path: Path) -> None:
    """Two sites may have the same addresses; what went through a gateway has its address."""
    middle = Machine(
        "aws",
        {"wg0": ["10.100.2.254/16"], "eth1": ["172.31.0.1/16"]},
        written(tmp_path, "aws", rules(NETWORK, NODES, EVERYBODY["aws"])),
    )
    lan = Machine("lan", {"eth1": ["172.31.0.9/16"]})
    others = [
        replace(machine(name, (), tmp_path), interfaces={"wg0": [f"{EVERYBODY[name].address}/32"]})
        for name in ("serve", "train", "admin")
    ]
    flows = [("lan", str(EVERYBODY[name].address), "tcp/8000") for name in ("serve", "train", "admin")]
    flows += [(name, "172.31.0.9", "tcp/8000") for name in ("serve", "train", "admin")]
    found = flows_through(middle, [lan, *others], flows)
    assert [outcome == "answered" for outcome in map(found.__getitem__, flows)] == [
        True,
        False,
        False,
        False,
        False,
        True,
    ]
    assert "172.31" not in str(rules(NETWORK, NODES, EVERYBODY["serve"]))
    only = replace(NETWORK, groups={**GROUPS, "loadbalancer": ()})
    (behind,) = [line for line in str(rules(only, NODES, EVERYBODY["serve"])).splitlines() if "ip saddr" in line][1:]
    assert behind.split("{")[1].split("}")[0].split(", ") == [" 10.100.1.1-10.100.1.3", "10.100.2.254 "]


def test_a_gateway_leads_out_of_the_overlay_only_whoever_may_have_everything(tmp_path: Path) -> None:
    """Its own network, where it is believed perhaps, has no group unless the stack gives it one."""
    network = replace(NETWORK, sites=tuple(replace(site, lan=None, lan_group=None) for site in SITES))
    middle = Machine(
        "aws",
        {"wg0": ["10.100.2.254/16"], "eth1": ["172.31.0.1/16"]},
        written(tmp_path, "aws", rules(network, NODES, EVERYBODY["aws"])),
    )
    inside = Machine("inside", {"eth1": ["172.31.0.9/16"]})
    others = [
        replace(machine(name, (), tmp_path), interfaces={"wg0": [f"{EVERYBODY[name].address}/32"]})
        for name in ("serve", "train", "admin")
    ]
    flows = [(name, "172.31.0.9", "tcp/8000") for name in ("serve", "train", "admin")]
    found = flows_through(middle, [inside, *others], flows)
    assert list(map(found.__getitem__, flows)) == ["rejected", "rejected", "answered"]


def test_a_sites_network_that_is_led_to_the_internet_alone_stays_out_of_the_overlay(tmp_path: Path) -> None:
    shut = replace(NETWORK, sites=(replace(SITES[0], lan_group=None), *SITES[1:]), groups={}, ranges=())
    interfaces = {"wg0": ["10.100.2.254/16"], "eth0": ["198.51.100.1/24"], "eth1": ["172.31.0.1/16"]}
    text = rules(shut, NODES, EVERYBODY["aws"])
    gateway = Machine("aws", interfaces, written(tmp_path, "aws", text), ("tcp/8443",))
    others = [
        Machine("lan", {"eth1": ["172.31.0.9/16"]}),
        Machine("serve", {"wg0": ["10.100.2.3/32"]}, (), ("tcp/8000",)),
        Machine("train", {"wg0": ["10.100.1.2/32"]}),
        Machine("internet", {"eth0": ["198.51.100.9/24"]}, (), ("tcp/8000",)),
    ]
    flows = [
        ("lan", "10.100.2.3", "tcp/8000"),
        ("train", "10.100.2.3", "tcp/8000"),
        ("lan", "198.51.100.9", "tcp/8000"),
        ("lan", "172.31.0.1", "tcp/8443"),
    ]
    found = flows_through(gateway, others, flows)
    assert [found[flow] for flow in flows] == ["rejected", "answered", "answered", "answered"]
    assert [rules(shut, NODES, each) for name, each in EVERYBODY.items() if name != "aws"] == [None] * 6


LATE = """
import json, socket, subprocess, sys

def run(words, text=None):
    subprocess.run(words.split(), input=text, text=True, check=True)

run("mount -t tmpfs tmpfs /run")
run("ip netns add far")
run("ip link add wg0 type veth peer name wg0 netns far")
for where, address in (("ip", "10.100.2.3"), ("ip -n far", "10.100.1.2")):
    run(f"{where} link set lo up")
    run(f"{where} address add {address}/16 dev wg0")
    run(f"{where} link set wg0 up")
client = "import socket; print(socket.create_connection(('10.100.2.3', 8000), 9).recv(9).decode())"
with socket.create_server(("10.100.2.3", 8000)) as listener:
    far = subprocess.Popen(["ip", "netns", "exec", "far", sys.executable, "-c", client], stdout=subprocess.PIPE)
    connection, _ = listener.accept()
    for words, rules in zip(("nft -f -", "ip netns exec far nft -f -"), json.loads(sys.argv[1])):
        run(words, rules)
    try:
        socket.create_connection(("10.100.1.2", 8000), 9)
    except ConnectionRefusedError:
        raise SystemExit("the rules let the other direction through")
    except OSError:
        pass
    connection.send(b"answer")
    print(json.dumps(far.communicate()[0].decode().strip()))
"""


def test_a_connection_from_before_the_rules_goes_on(tmp_path: Path) -> None:
    """As through a gateway that has just taken over: the first packet that its conntrack sees may be an answer."""
    both = [rules(NETWORK, NODES, EVERYBODY[name]) for name in ("serve", "train")]
    assert told(LATE, both) == "answer"


FLAGGED = """
import json, socket, struct, subprocess, sys, time

AFTER = (
    "table inet after {"
    " set passed { type inet_service; flags dynamic; size 65535; };"
    " chain input { type filter hook input priority 20; tcp dport 8000 add @passed { tcp sport }; }; }"
)

def run(words, text=None):
    return subprocess.run(words.split(), input=text, text=True, check=True, capture_output=True).stdout

def passed():
    listed = json.loads(run("nft -j list set inet after passed"))["nftables"]
    return next(each["set"] for each in listed if "set" in each).get("elem", [])

rules, *flags = json.loads(sys.argv[1])
run("mount -t tmpfs tmpfs /run")
run("ip netns add far")
run("ip link add wg0 type veth peer name wg0 netns far")
for where, address in (("ip", "10.100.2.3"), ("ip -n far", "10.100.2.65")):
    run(f"{where} link set lo up")
    run(f"{where} address add {address}/16 dev wg0")
    run(f"{where} link set wg0 up")
run("nft -f -", rules)
run("nft -f -", AFTER)
client = (
    "import socket, struct, sys\\n"
    "sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)\\n"
    "for flags in map(int, sys.argv[1:]):\\n"
    "    header = struct.pack('!HHIIBBHHH', 1000 + flags, 8000, 1, 1, 5 << 4, flags, 1024, 0, 0)\\n"
    "    sender.sendto(header, ('10.100.2.3', 0))\\n"
)
subprocess.run(["ip", "netns", "exec", "far", sys.executable, "-c", client, *map(str, flags)], check=True)
while 1000 + flags[-1] not in passed():
    time.sleep(0.01)
print(json.dumps([each - 1000 for each in passed()]))
"""
FIN, SYN, RST, ACK = 1, 2, 4, 16


def test_whatever_else_stands_beside_a_syn_it_opens_no_connection(tmp_path: Path) -> None:
    """Some systems take one with FIN for the begin of a connection."""
    text = rules(NETWORK, NODES, EVERYBODY["serve"])
    flags = [SYN, SYN | FIN, SYN | RST, SYN | FIN | RST, ACK]
    assert told(FLAGGED, [text, *flags]) == [ACK]


KEEPING = """
import json, subprocess, sys
from node.segments import NftSegments, TABLE
from tests.node.test_segments import EVERYBODY, NETWORK, NODES, PLAIN

def listed():
    done = subprocess.run(["nft", "list", "table", *TABLE.split()], capture_output=True, text=True)
    return done.stdout

def nft(words):
    subprocess.run(["nft", *words.split()], check=True)

for name in json.loads(sys.argv[1]):
    me, tool = EVERYBODY[name], NftSegments()

    def keep(network=NETWORK):
        return tool.keep(network, NODES, me)

    assert not keep(PLAIN) and not listed()
    assert keep() and not keep() and not keep()
    whole = listed()
    for drift in (f"flush chain {TABLE} input", "flush ruleset", f"insert rule {TABLE} input accept"):
        nft(drift)
        assert listed() != whole
        assert keep() and listed() == whole, listed()
        assert not keep()
    nft("add table inet other")
    assert not keep()
    assert keep(PLAIN) and not listed() and not keep(PLAIN)
    assert keep() and listed() == whole
    nft(f"delete table {TABLE}")
print("null")
"""
PLAIN = replace(NETWORK, groups={}, ranges=())


def test_drift_is_repaired_and_without_groups_the_table_goes() -> None:
    told(KEEPING, ["root", "serve"])


def test_without_groups_there_are_no_rules() -> None:
    assert [rules(PLAIN, NODES, each) for each in EVERYBODY.values()] == [None] * len(EVERYBODY)


def test_without_nft_it_is_said_once_and_only_where_there_are_groups(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    segments, me = NftSegments(), EVERYBODY["serve"]
    assert [segments.keep(network, NODES, me) for network in (PLAIN, NETWORK, NETWORK)] == [False] * 3
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "install the package nftables" in said


def test_one_address_is_no_range_for_old_nft() -> None:
    """Ubuntu 22.04 has nft 1.0.2, which refuses `192.0.2.1-192.0.2.1`."""
    texts = [str(rules(NETWORK, NODES, each)) for each in EVERYBODY.values()]
    ranges = re.findall(r"[0-9a-f.:]+-[0-9a-f.:]+", "".join(texts))
    assert ranges
    assert not [each for each in ranges if len(set(each.split("-"))) == 1]
