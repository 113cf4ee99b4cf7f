"""Machines that reach others, and the internet, by a machine of their network that forwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from localcloud.fabric.process import run
from localcloud.fabric.steering import steering
from localcloud.fabric.store import Store
from localcloud.spec import INTERNET, Interface, MachineSpec, Route, Rule
from tests.localcloud.fabric.machines import World
from tests.localcloud.fabric.worlds import ANYWHERE, AWS, HETZNER

pytestmark = pytest.mark.localcloud

EVERYTHING = (Rule("any", None, ANYWHERE),)
SERVER = "198.18.1.5"
"""The Hetzner server, on the internet."""
BEHIND = "10.77.0.1"
"""An address that the gateway alone knows how to reach."""
FORWARDS = """\
#cloud-config
bootcmd:
- sysctl -q -w net.ipv4.ip_forward=1
- ip address replace 10.77.0.1/32 dev lo
- nft add table ip t
- nft 'add chain ip t post { type nat hook postrouting priority srcnat; }'
- nft add rule ip t post ip saddr 10.0.9.0/24 ip daddr != 10.0.0.0/16 masquerade
"""


def gateway(forwarding: bool = True) -> MachineSpec:
    """A machine with a public address that forwards what its neighbours send, and masquerades it."""
    card = Interface("eth0", "vpc-1", "10.0.1.10", 24, 9001, "198.18.2.7")
    return replace(
        AWS, node="gateway", interfaces=(card,), user_data=FORWARDS, ingress=EVERYTHING, forwarding=forwarding
    )


def inside(*routes: Route) -> MachineSpec:
    """A machine of a subnet without public addresses."""
    card = Interface("eth0", "vpc-1", "10.0.9.9", 24, 9001, routes=routes)
    return replace(AWS, id="i-9", node="inside", interfaces=(card,), ingress=EVERYTHING)


def to(destination: str, via: str = "10.0.1.10") -> Route:
    return Route(destination, via)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server on the internet, and a network with a gateway and a machine behind it."""
    world = World(tmp_path_factory.mktemp("steering") / "cloud")
    world.specs = {spec.id: spec for spec in (replace(HETZNER, node="server", ingress=EVERYTHING), gateway(), inside())}
    try:
        world.apply()
        yield world
    finally:
        world.fabric.down()


@pytest.fixture
def scene(cloud: World) -> Iterator[World]:
    yield cloud
    cloud.apply()


def ways(world: World) -> tuple[str, str]:
    """The network's router's rules, and the routes of all its tables.

    Of IPv4 alone, as what a network's cards ask for: those of IPv6 come by themselves, when the kernel has found
    that nobody else has a device's address.
    """
    router = world.cloud.network_namespace(1)
    return run("ip", "-n", router, "-4", "rule", "show"), run("ip", "-n", router, "-4", "route", "show", "table", "all")


def test_only_what_a_route_is_for_goes_by_the_gateway(scene: World) -> None:
    assert not scene.pings("inside", BEHIND)
    assert not scene.pings("inside", SERVER), "it has no address on the internet"
    scene.apply(inside(to("10.77.0.0/16")))
    assert scene.pings("inside", BEHIND)
    assert not scene.pings("inside", SERVER)
    assert scene.pings("inside", "10.0.1.10"), "its own network"
    scene.apply(inside())
    assert not scene.pings("inside", BEHIND)


def test_the_internet_is_reached_with_the_gateways_address(scene: World) -> None:
    scene.apply(inside(to("0.0.0.0/0")))
    assert scene.pings("inside", SERVER)
    assert scene.pings("inside", BEHIND)
    hops = scene.on("inside", "traceroute", "-n", "-q", "1", "-w", "1", SERVER).stdout
    assert "10.0.1.10" in hops, "by way of the gateway"
    only_the_gateway = (Rule("icmp", None, ("198.18.2.7/32",)),)
    scene.apply(inside(to("0.0.0.0/0")), replace(HETZNER, node="server", ingress=only_the_gateway))
    assert scene.pings("inside", SERVER)


def test_the_longest_prefix_counts_and_leads_nowhere_rather_than_elsewhere(scene: World) -> None:
    scene.apply(inside(to("0.0.0.0/0"), to("198.18.1.0/24", "10.0.1.99")))
    assert scene.pings("inside", BEHIND)
    assert not scene.pings("inside", SERVER), "no machine has that address"
    scene.apply(inside(to("0.0.0.0/0", "10.0.1.99")))
    assert scene.pings("inside", "10.0.1.10"), "its own network is nearer"
    has_a_public_address = replace(inside(to("198.18.1.0/24", "10.0.1.99")).interfaces[0], public="198.18.2.9")
    scene.apply(replace(inside(), interfaces=(has_a_public_address,)))
    assert not scene.pings("inside", SERVER), "nor does it go out by itself"
    scene.apply(replace(inside(), interfaces=(replace(has_a_public_address, routes=()),)))
    assert scene.pings("inside", SERVER)


def test_a_machine_with_the_check_on_is_sent_nothing_for_others(scene: World) -> None:
    scene.apply(inside(to("10.77.0.0/16")), gateway(forwarding=False))
    assert not scene.pings("inside", BEHIND)
    scene.apply(inside(to("10.77.0.0/16")))
    assert scene.pings("inside", BEHIND)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_gateway_that_is_off_neither_answers_nor_forwards_and_comes_back(scene: World, end: str) -> None:
    scene.apply(inside(to("0.0.0.0/0")))
    assert scene.pings("inside", SERVER)
    assert scene.command(end, "gateway").status == 0
    assert not scene.pings("inside", SERVER)
    assert not scene.pings("inside", "10.0.1.10")
    assert not scene.pings("server", "198.18.2.7")
    assert scene.command("start", "gateway").status == 0
    scene.wait("it forwards again", lambda: scene.pings("inside", SERVER))


def test_a_gateway_that_boots_again_by_itself_forwards_again(scene: World) -> None:
    scene.apply(inside(to("0.0.0.0/0")))
    before = scene.fabric.init_of("gateway")
    scene.on("gateway", "systemctl", "reboot")

    def back() -> bool:
        (state,) = (state for state in scene.fabric.machines() if state.spec.node == "gateway")
        return state.status == "running" and scene.fabric.init_of("gateway") != before

    scene.wait("it is back", back)
    scene.wait("it forwards again", lambda: scene.pings("inside", SERVER))


def test_a_way_that_was_lost_is_made_anew_and_one_that_is_no_longer_asked_for_goes(scene: World) -> None:
    router, before = scene.cloud.network_namespace(1), ways(scene)
    scene.apply(inside(to("10.77.0.0/16"), to("10.78.0.0/16")))
    whole = ways(scene)
    (table,) = steering(Store(scene.cloud).records(), "vpc-1").tables.values()
    for lost in (["rule", "del", "pref", "1001"], ["route", "flush", "table", str(table)]):
        run("ip", "-n", router, *lost)
        assert not scene.pings("inside", BEHIND)
        scene.fabric.repair()
        assert ways(scene) == whole
        assert scene.pings("inside", BEHIND)
    scene.apply(inside(to("10.78.0.0/16", "10.0.1.99")))
    assert "10.77.0.0" not in "".join(ways(scene))
    scene.apply(inside())
    assert ways(scene) == before


def test_a_card_with_ipv6_alone(scene: World) -> None:
    card = Interface("eth0", INTERNET, None, 32, 1500, address6="2001:db8:1::6")
    lonely = replace(HETZNER, id="106", node="lonely", interfaces=(card,), ingress=(Rule("icmp", None, ("::/0",)),))
    scene.apply(lonely)
    assert scene.pings("server", "2001:db8:1::6")
    assert scene.pings("lonely", "2001:db8:1::1")
    assert not scene.pings("lonely", SERVER)
    assert "inet " not in scene.on("lonely", "ip", "address", "show", "dev", "eth0").stdout
    scene.fabric.cut("lonely", "server")
    assert not scene.pings("server", "2001:db8:1::6")
    scene.fabric.heal("lonely")
    assert scene.pings("server", "2001:db8:1::6")
