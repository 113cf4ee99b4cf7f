"""Several gateways: whom each has as peers, by the topology, all leases, and where nodes say that they hang."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from node import joining
from node.gateway import planning
from node.gateway.lease import Refusal
from node.gateway.network import HOLD_SECONDS
from node.neighbour_document import NEIGHBOUR, parse_neighbour
from overlay.model import EXTERNAL, Node
from overlay.topology import gateway_of
from tests.node.gateways import KEYS, Gateway, Trio, spoke_peers, three_sites, way
from tests.node.support import Stack, key, signed


@pytest.fixture
def trio(tmp_path: Path, stack: Stack, request: pytest.FixtureRequest) -> Iterator[Trio]:
    made = Trio(tmp_path, stack, three_sites(getattr(request, "param", "sites")))
    yield made
    made.close()


def everybody(trio: Trio) -> list[Node]:
    """Declared nodes, and the machines of all pools."""
    return trio.gateways["gw-a"].network.whole.nodes()


def ways(trio: Trio, attached: dict[str, str] | None = None) -> dict[tuple[str, str], list[str]]:
    """The way between each pair: gateways as their interfaces are, spokes as they should be."""
    nodes = everybody(trio)
    peers = {
        node.name: trio.gateways[node.name].peers()
        if node.role == "gateway"
        else spoke_peers(trio.roster, node, nodes, attached or {})
        for node in nodes
    }
    keys = {node.public_key: node.name for node in nodes}
    return {(one.name, other.name): way(peers, keys, one, other) for one, other in permutations(nodes, 2)}


@pytest.mark.parametrize(
    ("trio", "from_b_to_c"),
    [
        ("hub", ["b-1", "gw-a", "c-1"]),
        ("sites", ["b-1", "gw-b", "gw-c", "c-1"]),
        ("mesh", ["b-1", "gw-b", "gw-c", "c-1"]),
    ],
    indirect=["trio"],
)
def test_everybody_reaches_everybody_with_machines_of_pools_on_every_gateway(
    trio: Trio, from_b_to_c: list[str]
) -> None:
    for gateway in trio.gateways.values():
        gateway.join(1)
    trio.exchange()
    found = ways(trio)
    assert len(found) == 9 * 8
    assert [pair for pair, passed in found.items() if not passed] == []
    assert found["b-1", "c-1"] == from_b_to_c


@pytest.mark.parametrize("trio", ["hub"], indirect=True)
def test_in_a_hub_a_machine_is_there_for_its_home_as_soon_as_it_is_planned(trio: Trio) -> None:
    root, home = trio.gateways["gw-a"], trio.gateways["gw-b"]
    lease = home.join(1)
    assert home.network.has(lease)
    assert lease.public_key not in home.wireguard.state
    assert lease.public_key not in root.wireguard.state
    trio.exchange()
    assert root.wireguard.state[lease.public_key].allowed_ips == {f"{lease.address}/32"}
    assert lease.address in root.network.addresses()
    [peer] = home.network.member_peers(lease)
    assert peer.public_key == trio.node("gw-a").public_key
    home.network.leases.end([lease.id])
    trio.exchange()
    assert lease.public_key not in root.wireguard.state


def test_a_machine_hangs_on_its_home_and_its_peer_is_there_when_it_is_answered(trio: Trio) -> None:
    home = trio.gateways["gw-b"]
    trio.exchange()
    lease = home.join(1)
    assert home.network.has(lease)
    del home.wireguard.state[lease.public_key]
    home.network.observed = {}
    assert not home.network.has(lease)


@pytest.mark.parametrize("trio", ["hub"], indirect=True)
def test_a_spoke_moves_by_its_report_and_every_pair_has_a_way_at_each_step(trio: Trio) -> None:
    """From hub to sites: the spokes follow one after the other."""
    lease = trio.gateways["gw-c"].join(1)
    trio.exchange()
    still = {node.name: "gw-a" for node in everybody(trio) if node.role == "spoke"}
    for stamp, (name, where) in enumerate(still.items(), 1):
        node = next(node for node in everybody(trio) if node.name == name)
        trio.gateways["gw-a"].ask(node, trio.report(name, where, stamp=stamp))
    trio.exchange()
    trio.push(three_sites("sites", 2))
    left = dict(still)
    assert trio.gateways["gw-b"].bare() == {trio.node("b-1").public_key}
    assert trio.gateways["gw-c"].bare() == {trio.node("c-1").public_key, lease.public_key}
    for stamp, name in enumerate([*still, ""], 100):
        broken = [pair for pair, passed in ways(trio, left).items() if not passed]
        assert broken == [], f"before {name} follows"
        if name:
            node = next(node for node in everybody(trio) if node.name == name)
            target = gateway_of(trio.roster.network, trio.roster.nodes, node.site).name
            trio.gateways["gw-a"].ask(node, trio.report(name, target, stamp=stamp))
            left[name] = target
            trio.time.go(1)
            trio.exchange()
    assert all(not gateway.bare() for gateway in trio.gateways.values())
    assert trio.gateways["gw-a"].network.whole.attached == {}


def held(trio: Trio, gateway: Gateway, name: str) -> bool:
    """Whether the gateway sends packets for the declared spoke ``name`` to it alone."""
    gateway.network.reconcile()
    node = trio.node(name)
    state = gateway.wireguard.state.get(node.public_key)
    return state is not None and f"{node.address}/32" in state.allowed_ips


def test_the_answer_to_a_move_gets_back_before_the_old_way_goes(trio: Trio) -> None:
    trio.gateways["gw-a"].ask(trio.node("b-1"), trio.report("b-1", "gw-a"))
    trio.time.go(1)
    trio.exchange()
    old, new = trio.gateways["gw-a"], trio.gateways["gw-b"]
    assert held(trio, old, "b-1")
    assert not held(trio, new, "b-1")
    assert old.ask(trio.node("b-1"), trio.report("b-1", "gw-b", stamp=2)).known == 2
    assert held(trio, old, "b-1"), "the answer is on its way"
    trio.exchange()
    assert held(trio, new, "b-1"), "the others are told at once"
    trio.time.go(HOLD_SECONDS)
    assert not held(trio, old, "b-1")


def test_however_long_the_disk_takes_the_old_way_stays_until_after_the_answer(trio: Trio) -> None:
    async def slow() -> None:
        trio.time.go(5)

    gateway = Gateway("b", trio.gateways["gw-b"].network, trio.gateways["gw-b"].wireguard, trio.time, slow)
    gateway.ask(trio.node("b-1"), trio.report("b-1", "gw-a"))
    assert held(trio, gateway, "b-1")
    trio.time.go(HOLD_SECONDS)
    assert not held(trio, gateway, "b-1")


def test_a_node_of_a_new_site_is_answered_before_its_peers_are_there(trio: Trio) -> None:
    made = three_sites("sites", 2)
    site = replace(made.network.sites[0], name="d", subnet=IPv4Network("127.0.4.0/24"))
    spoke = replace(trio.node("a-1"), name="d-1", site="d", address=IPv4Address("127.0.4.1"), public_key=key("d-1"))
    network = replace(made.network, sites=(*made.network.sites, site))
    gateway = trio.gateways["gw-a"]
    roster = replace(made, network=network, nodes=(*made.nodes, spoke))
    assert gateway.network.rosters.offer(*signed(trio.stack, roster))[0] == 201
    assert gateway.ask(spoke, trio.report("d-1", "gw-b")).known == 1
    assert "d-1" not in gateway.network.hanging_here()
    trio.time.go(1)
    gateway.network.reconcile()
    assert gateway.network.whole.attached == {"d-1": "gw-b"}


@pytest.mark.parametrize("trio", ["mesh"], indirect=True)
def test_where_people_are_is_told_to_nobody(trio: Trio) -> None:
    """Machines of external sites have no direct links."""
    network, wireguard = trio.gateways["gw-a"].network, trio.gateways["gw-a"].wireguard
    made = three_sites("mesh", 2)
    sites = tuple(replace(site, cloud=EXTERNAL) if site.name == "c" else site for site in made.network.sites)
    nodes = tuple(node for node in made.nodes if node.name != "gw-c")
    pools = tuple(pool for pool in made.pools if pool.site != "c")
    roster = replace(made, network=replace(made.network, sites=sites), nodes=nodes, pools=pools)
    assert network.rosters.offer(*signed(trio.stack, roster))[0] == 201
    network.reconcile()
    for name in ("a-1", "c-1"):
        key = trio.node(name).public_key
        wireguard.state[key] = wireguard.state[key]._replace(endpoint="203.0.113.5:51820", handshake=1)
    network.reconcile()
    assert network.seen == {"a-1": "203.0.113.5:51820"}


def test_a_node_that_is_held_while_the_plan_is_made_stays_held(trio: Trio) -> None:
    network = trio.gateways["gw-b"].network

    class Moment(float):
        def __lt__(self, other: float) -> bool:
            trio.time.steady = float(self)
            network.hold("c-1", "gw-b")
            return float(self) < float(other)

    network.hold("b-1", "gw-a")
    trio.time.steady = Moment(trio.time.steady)
    network.plan()
    network.plan()
    assert network.whole.attached == {"b-1": "gw-a", "c-1": "gw-b"}


def test_the_newest_report_holds_and_an_older_one_changes_nothing(trio: Trio) -> None:
    one, other = trio.gateways["gw-a"], trio.gateways["gw-c"]
    one.ask(trio.node("b-1"), trio.report("b-1", "gw-c", stamp=10))
    assert other.ask(trio.node("b-1"), trio.report("b-1", "gw-a", stamp=9)).known == 9
    trio.time.go(1)
    trio.exchange()
    assert all(each.network.whole.attached == {"b-1": "gw-c"} for each in trio.gateways.values())
    assert one.ask(trio.node("b-1"), trio.report("b-1", "gw-b", stamp=5)).known == 10
    trio.time.go(1)
    trio.exchange()
    assert held(trio, other, "b-1")


def test_a_report_of_a_gateway_that_there_is_not_moves_nobody(trio: Trio) -> None:
    trio.gateways["gw-b"].ask(trio.node("b-1"), trio.report("b-1", "gw-z"))
    trio.time.go(1)
    trio.exchange()
    assert held(trio, trio.gateways["gw-b"], "b-1")
    assert [pair for pair, passed in ways(trio).items() if not passed] == []


def test_a_node_that_leaves_the_roster_takes_its_report_with_it(trio: Trio) -> None:
    trio.gateways["gw-a"].ask(trio.node("b-1"), trio.report("b-1", "gw-a"))
    trio.exchange()
    nodes = tuple(node for node in trio.roster.nodes if node.name != "b-1")
    trio.push(three_sites("sites", 2, nodes=nodes))
    trio.exchange()
    assert all(each.network.reports.of("b-1") is None for each in trio.gateways.values())


def test_a_dead_gateways_machines_and_reports_are_kept_over_a_restart(trio: Trio) -> None:
    dead, other = trio.gateways["gw-b"], trio.gateways["gw-a"]
    lease = dead.join(1)
    dead.ask(trio.node("c-1"), trio.report("c-1", "gw-a", stamp=7))
    trio.exchange()
    other.network.leases.close()
    again = trio.gateways["gw-a"] = trio.made("a")
    again.network.reconcile()
    assert again.network.whole.members[lease.public_key].address == lease.address
    assert again.network.whole.attached == {"c-1": "gw-a"}
    assert held(trio, again, "c-1")
    assert again.network.status()["neighbours"]["gw-b"] == {"reachable": False, "age": None, "leases": 1}


def test_a_gateway_that_the_roster_drops_takes_its_machines_with_it(trio: Trio) -> None:
    lease = trio.gateways["gw-b"].join(1)
    trio.exchange()
    root = trio.gateways["gw-a"].network
    assert lease.public_key in root.whole.members
    nodes = tuple(node for node in trio.roster.nodes if node.name != "gw-b")
    body = three_sites("sites", 2, nodes=nodes)
    assert root.rosters.offer(*signed(trio.stack, body))[0] == 201
    root.reconcile()
    assert lease.public_key not in root.whole.members
    assert root.neighbours.answers.keys() == {"gw-c"}


def test_a_gateways_address_is_not_enough_to_be_told_what_gateways_know(trio: Trio) -> None:
    """Machines of a site's own network come from its gateway's address."""
    told = trio.gateways["gw-b"].directory
    right = joining.possession(KEYS["a"][0], KEYS["b"][1], NEIGHBOUR)
    others = [
        joining.possession(KEYS["c"][0], KEYS["b"][1], NEIGHBOUR),
        joining.possession(KEYS["a"][0], KEYS["b"][1], b""),
        None,
    ]
    assert told.neighbour("127.0.1.254", right, None, by_tunnel=True)
    for claim in others:
        with pytest.raises(Refusal) as caught:
            told.neighbour("127.0.1.254", claim, None, by_tunnel=True)
        assert caught.value.status == 403
        with pytest.raises(Refusal) as caught:
            told.neighbour("gw-a", claim, None, by_tunnel=False)
        assert caught.value.status == 403
    assert told.neighbour("gw-a", right, None, by_tunnel=False)
    with pytest.raises(Refusal):
        told.neighbour("a-1", right, None, by_tunnel=False)
    with pytest.raises(Refusal):
        trio.gateways["gw-b"].ask(trio.node("gw-a"))


@pytest.mark.parametrize("trio", ["hub"], indirect=True)
def test_a_neighbour_is_believed_about_its_own_pools_alone(trio: Trio) -> None:
    """What one says of others' pools, of addresses outside a range, or of declared nodes' keys counts nothing."""
    root, liar = trio.gateways["gw-a"].network, trio.gateways["gw-b"]
    liar.join(1)
    claim = joining.possession(KEYS["a"][0], KEYS["b"][1], NEIGHBOUR)
    told = parse_neighbour(liar.directory.neighbour("127.0.1.254", claim, None, by_tunnel=True) or b"")
    [lease] = told.leases
    for wrong in (
        {"pool": "burst-c", "address": IPv4Address("127.0.3.66")},
        {"pool": "none"},
        {"address": IPv4Address("127.0.3.65")},
        {"public_key": trio.node("c-1").public_key},
        {"name": "c-1"},
    ):
        bad = replace(lease, member=replace(lease.member, **wrong))
        root.neighbours.take(replace(told, leases=(bad,)))
        root.reconcile()
        assert root.whole.members == {}, wrong
    root.neighbours.take(told)
    root.reconcile()
    assert set(root.whole.members) == {lease.member.public_key}


@pytest.mark.parametrize("trio", ["mesh"], indirect=True)
def test_in_a_mesh_every_gateway_tells_where_nodes_are_seen_and_which_links_both_ends_report(trio: Trio) -> None:
    home, other, spoke = trio.gateways["gw-b"], trio.gateways["gw-c"], trio.node("b-1")
    state = home.wireguard.state
    state[spoke.public_key] = state[spoke.public_key]._replace(endpoint="203.0.113.5:51820")
    trio.exchange()
    assert other.ask(trio.node("c-1")).seen == {}, "it has not shaken hands yet"
    state[spoke.public_key] = state[spoke.public_key]._replace(handshake=1)
    trio.exchange()
    before = other.ask(trio.node("c-1"))
    assert before.seen == {"b-1": "203.0.113.5:51820"}
    for endpoint, told in (("203.0.113.5:1024", {}), ("10.0.0.5:1024", {"b-1": "10.0.0.5:1024"})):
        state[spoke.public_key] = state[spoke.public_key]._replace(endpoint=endpoint)
        trio.exchange()
        assert other.ask(trio.node("c-1")).seen == told, "nobody else is answered at a translator's port"
    home.ask(spoke, trio.report("b-1", "gw-b", ("c-1",)))
    trio.exchange()
    assert other.ask(trio.node("c-1")).links == frozenset(), "one end alone makes no link"
    document = other.ask(trio.node("c-1"), trio.report("c-1", "gw-c", ("b-1",)))
    assert document.links == {"b-1"}
    assert document.version != before.version
    trio.exchange()
    assert home.ask(spoke).links == {"c-1"}
    assert trio.gateways["gw-a"].network.status()["links"] == [["b-1", "c-1"]]
    home.ask(spoke, trio.report("b-1", "gw-b", stamp=2))
    trio.exchange()
    assert [each.network.status()["links"] for each in trio.gateways.values()] == [[]] * 3
    assert all(not each.bare() for each in trio.gateways.values()), "gateways are no ends of links"


def test_links_do_not_count_where_the_topology_is_no_mesh(trio: Trio) -> None:
    home = trio.gateways["gw-a"]
    home.ask(trio.node("a-1"), trio.report("a-1", "gw-a", ("b-1",)))
    home.ask(trio.node("b-1"), trio.report("b-1", "gw-b", ("a-1",)))
    assert home.ask(trio.node("a-1")).links == frozenset()
    assert home.network.status()["links"] == []


def test_for_a_machine_that_joins_nobody_elses_peer_is_worked_out_anew(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = trio.gateways["gw-a"]
    home.join(0)
    made: list[int] = []
    whole = planning.Peering

    def counted(*given: Any, **named: Any) -> planning.Peering:
        made.append(1)
        return whole(*given, **named)

    monkeypatch.setattr(planning, "Peering", counted)
    for number in range(1, 6):
        lease = home.join(number)
        assert home.wireguard.state[lease.public_key].allowed_ips == {f"{lease.address}/32"}
    assert made == []
    home.ask(trio.node("b-1"), trio.report("b-1", "gw-a"))
    trio.time.go(1)
    home.network.reconcile()
    assert made == [1]
    assert IPv4Network("127.0.2.1/32") in home.peers()[trio.node("b-1").public_key].allowed_ips
