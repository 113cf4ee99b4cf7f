"""What holds of everybody's peers in any network, whatever its topology and whoever has a link or hangs elsewhere."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from overlay.addresses import address6, network6
from overlay.model import Network, Node, Peer, Prefix, Site, host_network
from overlay.topology import Peering, peers_of
from tests.overlay.networks import OVERLAY6, Case, both_ways, cases, key
from tests.overlay.simulator import Simulator, Trip, tables

EXAMPLES = settings(max_examples=60)
"""The same in every run, so that what fails once fails again."""


def simulated(case: Case) -> Simulator:
    return Simulator(case.network, case.nodes, tables(case.network, case.nodes, case.links, case.attached))


def own_prefixes(case: Case, node: Node) -> set[Prefix]:
    own = host_network(node.address)
    return {own} if case.network.overlay6 is None else {own, network6(case.network.overlay6, own)}


def way(case: Case, source: Node, target: Node) -> list[str]:
    """The machines that a packet should pass, by the topologies' descriptions."""
    peering = case.peering

    def uplink(node: Node) -> str:
        return node.name if node.role == "gateway" else peering.gateway_of(node).name

    if case.network.topology == "mesh" and target.name in case.links.get(source.name, ()):
        return [source.name, target.name]
    first, last = uplink(source), uplink(target)
    between = [first, last]
    if case.network.topology == "hub":
        root = min((node for node in case.nodes if node.role == "gateway"), key=lambda node: node.address).name
        between = [first] if first == last else [first, root, last]
    stops = [source.name, *between, target.name]
    return [stop for index, stop in enumerate(stops) if index == 0 or stop != stops[index - 1]]


@EXAMPLES
@given(cases())
def test_no_prefix_stands_on_two_peers_of_a_node_and_none_twice(case: Case) -> None:
    for node in case.nodes:
        prefixes = [prefix for peer in case.peering.of(node) for prefix in peer.allowed_ips]
        assert len(set(prefixes)) == len(prefixes), node.name


@EXAMPLES
@given(cases())
def test_every_pair_that_may_talk_has_a_way_that_both_ends_take_and_no_other_pair_has_one(case: Case) -> None:
    net = simulated(case)
    for source, target in permutations(case.nodes, 2):
        for version in case.versions:
            trip = net.trip(source.name, target.name, version)
            if case.may_talk(source, target):
                assert trip == Trip(tuple(way(case, source, target))), version
            else:
                assert trip.lost is not None


@EXAMPLES
@given(cases())
def test_peers_are_mutual_and_one_of_two_can_call_the_other(case: Case) -> None:
    found = {node.public_key: {peer.public_key: peer for peer in case.peering.of(node)} for node in case.nodes}
    for node in case.nodes:
        for other, peer in found[node.public_key].items():
            back = found[other][node.public_key]
            is_link = peer.keepalive == 4 == back.keepalive
            assert is_link or (peer.endpoint or back.endpoint) is not None
            assert is_link or 25 in (peer.keepalive, back.keepalive), "one keeps the way open"
            assert peer.allowed_ips
        assert node.public_key not in found[node.public_key]


@EXAMPLES
@given(cases())
def test_peers_are_sorted_by_key_and_a_nodes_own_view_of_the_links_is_enough(case: Case) -> None:
    peering = case.peering
    for node in case.nodes:
        peers = peering.of(node)
        assert [peer.public_key for peer in peers] == sorted(peer.public_key for peer in peers)
        if node.role == "spoke":
            links = {node.name: case.links.get(node.name, frozenset())}
            attached = {name: at for name, at in case.attached.items() if name == node.name}
            assert peers_of(case.network, node, case.nodes, links, attached) == peers


@EXAMPLES
@given(cases(), st.randoms(use_true_random=False))
def test_neither_the_order_of_nodes_and_sites_nor_their_names_matter(case: Case, chance: random.Random) -> None:
    names = [node.name for node in case.nodes]
    other = dict(zip(names, chance.sample([f"x{index}" for index in range(len(names))], len(names)), strict=True))
    site_names = [site.name for site in case.network.sites]
    places = dict(zip(site_names, chance.sample(site_names, len(site_names)), strict=True))
    sites = [replace(site, name=places[site.name]) for site in case.network.sites]
    nodes = [replace(node, name=other[node.name], site=places[node.site]) for node in case.nodes]
    chance.shuffle(sites)
    chance.shuffle(nodes)
    links = {other[name]: frozenset(other[end] for end in ends) for name, ends in case.links.items()}
    attached = {other[name]: other[at] for name, at in case.attached.items()}
    peering = Peering(replace(case.network, sites=tuple(sites)), nodes, links, attached)
    renamed = {node.public_key: node for node in nodes}
    for node in case.nodes:
        assert plain(peering.of(renamed[node.public_key])) == plain(case.peering.of(node)), node.name


def plain(peers: Sequence[Peer]) -> list[Peer]:
    """Peers with their prefixes in one order: that of allowed-ips means nothing."""
    return [
        replace(peer, allowed_ips=tuple(sorted(peer.allowed_ips, key=lambda net: (net.version, net)))) for peer in peers
    ]


def covered(peers: Sequence[Peer]) -> dict[str, tuple[Peer, set[Prefix]]]:
    """By key, a peer without its prefixes, and what it carries: larger networks as they are, smaller ones by address.

    An address of its own on one peer is not carried by another that has a network with it.
    """
    alone = {prefix for peer in peers for prefix in peer.allowed_ips if prefix.prefixlen == prefix.max_prefixlen}
    found: dict[str, tuple[Peer, set[Prefix]]] = {}
    for peer in peers:
        carried: set[Prefix] = set()
        for prefix in peer.allowed_ips:
            if prefix in alone or prefix.max_prefixlen - prefix.prefixlen > 10:
                carried.add(prefix)
            else:
                carried |= set(prefix.subnets(new_prefix=prefix.max_prefixlen)) - alone
        found[peer.public_key] = (replace(peer, allowed_ips=()), carried)
    return found


@EXAMPLES
@given(cases(), st.data())
def test_a_removed_spoke_is_gone_from_its_peers_and_nothing_else_changes(case: Case, data: st.DataObject) -> None:
    """Whatever the topology: the peer that it was, and its own addresses in what other peers hold, if they name it."""
    spokes = [node for node in case.nodes if node.role == "spoke"]
    assume(spokes)
    gone = data.draw(st.sampled_from(spokes))
    left = without(case, gone)
    own = own_prefixes(case, gone)
    for node in left.nodes:
        before, after = covered(case.peering.of(node)), covered(left.peering.of(node))
        before.pop(gone.public_key, None)
        kept = {name: (peer, hosts - own) for name, (peer, hosts) in before.items()}
        assert kept == {name: (peer, hosts - own) for name, (peer, hosts) in after.items()}, node.name
        assert own.isdisjoint(prefix for peer in left.peering.of(node) for prefix in peer.allowed_ips)


def without(case: Case, gone: Node) -> Case:
    links = {name: ends - {gone.name} for name, ends in case.links.items() if name != gone.name}
    attached = {name: at for name, at in case.attached.items() if gone.name not in (name, at)}
    return replace(case, nodes=tuple(node for node in case.nodes if node != gone), links=links, attached=attached)


@EXAMPLES
@given(cases(moving=False), st.data())
def test_a_removed_gateway_changes_the_tables_of_gateways_and_of_who_hung_on_it(
    case: Case, data: st.DataObject
) -> None:
    """In ``hub`` of the root alone, if another gateway goes; else of all gateways, since its site gets another home."""
    gateways = [node for node in case.nodes if node.role == "gateway"]
    assume(len(gateways) > 1)
    gone = data.draw(st.sampled_from(gateways))
    root = min(gateways, key=lambda gateway: gateway.address)
    left = without(case, gone)
    own = own_prefixes(case, gone)
    for node in left.nodes:
        if node.role == "spoke" and case.peering.gateway_of(node) == gone:
            assert left.peering.gateway_of(node) != gone
            continue
        if node.role == "gateway" and (case.network.topology != "hub" or root in (node, gone)):
            assert gone.public_key not in covered(left.peering.of(node))
            continue
        before, after = covered(case.peering.of(node)), covered(left.peering.of(node))
        moved = behind(case, gone)
        before.pop(gone.public_key, None)
        kept = {name: (peer, hosts - own - moved) for name, (peer, hosts) in before.items()}
        assert kept == {name: (peer, hosts - own - moved) for name, (peer, hosts) in after.items()}, node.name


def behind(case: Case, gateway: Node) -> set[Prefix]:
    hanging = [node for node in case.nodes if node.role == "spoke" and case.peering.gateway_of(node) == gateway]
    return {prefix for node in hanging for prefix in own_prefixes(case, node)}


@EXAMPLES
@given(cases(["mesh"]), st.data())
def test_a_link_makes_the_way_of_its_two_ends_direct_both_ways(case: Case, data: st.DataObject) -> None:
    pairs = [(one, other) for one in case.links for other in case.links[one]]
    assume(pairs)
    one, other = data.draw(st.sampled_from(sorted(pairs)))
    net = simulated(case)
    assert net.trip(one, other) == Trip((one, other))
    assert net.trip(other, one) == Trip((other, one))


@EXAMPLES
@given(cases(["mesh"]))
def test_with_all_links_every_way_between_spokes_is_direct(case: Case) -> None:
    names = [node.name for node in case.nodes if node.role == "spoke"]
    everything = both_ways([(one, other) for index, one in enumerate(names) for other in names[index + 1 :]])
    whole = replace(
        case, links=everything, attached={}, network=replace(case.network, groups={}), nodes=ungrouped(case)
    )
    net = simulated(whole)
    for one, other in permutations(names, 2):
        assert net.trip(one, other) == Trip((one, other))


def ungrouped(case: Case) -> tuple[Node, ...]:
    return tuple(replace(node, group="") for node in case.nodes)


@EXAMPLES
@given(cases(["hub", "sites"]))
def test_links_count_in_a_mesh_alone(case: Case) -> None:
    for node in case.nodes:
        assert case.peering.of(node) == peers_of(case.network, node, case.nodes, {}, case.attached)


@EXAMPLES
@given(cases(), st.data())
def test_while_nodes_know_different_rosters_packets_may_get_lost_but_never_go_round(
    case: Case, data: st.DataObject
) -> None:
    """Some have the topology of before, some that of after, and each knows of some moves of nodes only."""
    views: dict[str, list[Peer]] = {}
    for node in case.nodes:
        topology = data.draw(st.sampled_from(["hub", "sites", "mesh"]))
        known = {name: at for name, at in case.attached.items() if data.draw(st.booleans())}
        views[node.name] = peers_of(replace(case.network, topology=topology), node, case.nodes, case.links, known)
    net = Simulator(case.network, case.nodes, views)
    nobody = case.network.sites[-1].subnet[77]
    for version in case.versions:
        targets = [*(node.name for node in case.nodes), nobody if version == 4 else address6(OVERLAY6, nobody)]
        for source in case.nodes:
            for target in targets:
                trip = net.trip(source.name, target, version)
                assert len(set(trip.path)) >= len(trip.path) - 1, trip
                assert trip.lost != "it goes round and round"


@EXAMPLES
@given(cases(["sites", "mesh"]), st.data())
def test_nodes_that_have_the_roster_of_before_reach_everybody_once_the_gateways_know_where_they_hang(
    case: Case, data: st.DataObject
) -> None:
    """A change from ``hub``: gateways have the new topology; some nodes still have the old one and hang on the root."""
    old = replace(case.network, topology="hub")
    spokes = [node for node in case.nodes if node.role == "spoke"]
    behind_times = {node.name for node in spokes if data.draw(st.booleans())}
    root = min((node for node in case.nodes if node.role == "gateway"), key=lambda gateway: gateway.address)
    attached = dict.fromkeys(behind_times, root.name)
    views = tables(case.network, case.nodes, {}, attached)
    for node in spokes:
        if node.name in behind_times:
            views[node.name] = peers_of(old, node, case.nodes)
    net = Simulator(case.network, case.nodes, views)
    for source, target in permutations(case.nodes, 2):
        assert (net.trip(source.name, target.name).lost is None) == case.may_talk(source, target)


def large(topology: str, links: float, moved: float) -> Case:
    """200 nodes in five sites of which one has no gateway, with IPv6; ``links`` and ``moved`` are parts of them all."""
    chance = random.Random(topology)
    sites = tuple(Site(f"s{n}", "aws", IPv4Network(f"10.100.{n}.0/24"), "r") for n in range(1, 6))
    network = Network(IPv4Network("10.100.0.0/16"), sites, topology, overlay6=OVERLAY6)
    gateways = [
        Node(f"gw{n}", f"s{n}", sites[n - 1].subnet[254], "gateway", key(n), f"198.51.100.{n}:51820")
        for n in range(1, 5)
    ]
    spokes = [
        Node(f"n{n}", f"s{n % 5 + 1}", sites[n % 5].subnet[1 + n // 5], "spoke", key(100 + n)) for n in range(196)
    ]
    nodes = (*gateways, *spokes)
    attached = {node.name: chance.choice(gateways).name for node in spokes if chance.random() < moved}
    pairs = [
        (one.name, other.name)
        for index, one in enumerate(spokes)
        for other in spokes[index + 1 :]
        if chance.random() < links
    ]
    return Case(network, nodes, both_ways(pairs), attached)


LARGE: Mapping[str, tuple[str, float, float]] = {
    "mesh, a third linked": ("mesh", 0.33, 0),
    "mesh, all linked": ("mesh", 1, 0),
    "hub": ("hub", 0, 0),
    "sites, half of them still elsewhere": ("sites", 0, 0.5),
    "mesh, half of them still elsewhere": ("mesh", 0.33, 0.5),
}


@pytest.mark.parametrize("what", LARGE)
def test_in_a_network_of_two_hundred_every_pair_has_the_way_of_its_topology(what: str) -> None:
    case = large(*LARGE[what])
    assert len(case.nodes) == 200
    net, longest = simulated(case), {"hub": 3 if "elsewhere" not in what else 5, "sites": 4, "mesh": 4}
    lengths: set[int] = set()
    for source, target in permutations([node.name for node in case.nodes], 2):
        for version in (4, 6):
            trip = net.trip(source, target, version)
            assert trip.lost is None, trip
            lengths.add(len(trip.path))
    assert max(lengths) == (3 if what == "mesh, all linked" else longest[case.network.topology])


def test_a_link_of_a_spoke_and_another_sites_gateway_is_not_used() -> None:
    """Else two nodes, each with a link to the other's gateway, would expect each other on different ways."""
    sites = (
        Site("a", "aws", IPv4Network("10.100.1.0/24"), "r"),
        Site("b", "aws", IPv4Network("10.100.2.0/24"), "r"),
    )
    nodes = (
        Node("gw-a", "a", sites[0].subnet[254], "gateway", key(1), "198.51.100.1:51820"),
        Node("gw-b", "b", sites[1].subnet[254], "gateway", key(2), "198.51.100.2:51820"),
        Node("a-1", "a", sites[0].subnet[1], "spoke", key(3)),
        Node("b-1", "b", sites[1].subnet[1], "spoke", key(4)),
    )
    network = Network(IPv4Network("10.100.0.0/16"), sites, "mesh")
    both = Case(network, nodes, both_ways([("a-1", "gw-b"), ("b-1", "gw-a")]), {})
    assert simulated(both).trip("a-1", "b-1") == Trip(("a-1", "gw-a", "gw-b", "b-1"))
    assert simulated(both).trip("b-1", "a-1") == Trip(("b-1", "gw-b", "gw-a", "a-1"))
