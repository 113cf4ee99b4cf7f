"""The internet between machines: firewalls, translation, forged addresses, cuts, metadata."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localcloud.fabric.metadata_server import MetadataServers
from localcloud.fabric.process import run
from localcloud.spec import INTERNET, Interface, MachineSpec, Rule
from tests.localcloud.fabric.machines import OVERLAY, World
from tests.localcloud.fabric.worlds import ANYWHERE, AWS, GCP, HETZNER, SSH_FROM_DESK

pytestmark = pytest.mark.localcloud
HUB = "198.18.1.5"

EXTRA = MachineSpec(
    id="202",
    node="hetzner-1",
    cloud="hetzner",
    hostname="hetzner-1",
    user_data="#cloud-config\n{}\n",
    ssh_keys=(),
    interfaces=(Interface("eth0", INTERNET, "198.18.1.6", 32, 1500, "198.18.1.6", "2001:db8:1::2"),),
    ingress=(),
    egress=None,
    forwarding=False,
)


def test_a_port_answers_only_whom_the_firewall_lets_in(world: World) -> None:
    world.wait("the desk's SSH", lambda: world.banner(world.cloud.desk, HUB, 22) == "SSH")
    assert world.banner(world.cloud.stranger, HUB, 22) == ""
    listening = "ss -Hltn sport = :9999 | grep -q 9999"
    world.on("hetzner-gw", "sh", "-c", "setsid python3 -m http.server 9999 >/dev/null 2>&1 & echo $! >/run/server")
    world.wait("a server listens", lambda: world.on("hetzner-gw", "sh", "-c", listening).status == 0)
    assert world.banner(world.cloud.desk, HUB, 9999) == ""
    open_ = replace(world.specs[HETZNER.id], ingress=(*HETZNER.ingress, Rule("tcp", (9999, 9999), ANYWHERE)))  # type: ignore[misc]
    world.apply(open_)
    url = f"http://{HUB}:9999/"
    assert world.at(world.cloud.stranger, "curl", "-sf", "-m", "20", "-o", "/dev/null", url).status == 0
    world.on("hetzner-gw", "sh", "-c", "kill $(cat /run/server)")


def test_a_withdrawn_rule_ends_the_flow_and_no_other(world: World) -> None:
    narrowed = (Rule("udp", (51820, 51820), ("198.18.9.1/32",)), SSH_FROM_DESK)
    world.apply(replace(world.specs[HETZNER.id], ingress=narrowed))
    assert world.pings("gcp-1", OVERLAY["hetzner-gw"]), "still let in, and not disturbed"
    assert not world.pings("aws-1", OVERLAY["hetzner-gw"])
    world.apply()
    world.wait_for_mesh()


def test_a_rule_for_leaving_holds(world: World) -> None:
    world.apply(replace(world.specs[AWS.id], egress=(Rule("udp", None, (f"{HUB}/32",)),)))
    assert world.pings("aws-1", OVERLAY["hetzner-gw"])
    assert world.on("aws-1", "timeout", "1", "bash", "-c", f"</dev/tcp/{HUB}/22").status != 0
    assert not world.pings("aws-1", HUB)


def test_the_same_private_range_in_two_networks_stays_apart(world: World) -> None:
    assert AWS.interfaces[0].address == GCP.interfaces[0].address
    neighbour = replace(
        AWS, id="i-2", node="aws-2", interfaces=(Interface("eth0", "vpc-1", "10.0.1.11", 24, 9001),), ingress=None
    )
    world.apply(neighbour)
    assert world.pings("aws-1", "10.0.1.11")
    assert not world.pings("gcp-1", "10.0.1.11")
    assert not world.pings("aws-2", HUB), "without a public or shared address nothing leaves"
    jumbo = world.on("aws-1", "ping", "-c1", "-W1", "-M", "do", "-s", "8900", "10.0.1.11")
    assert jumbo.status == 0, jumbo


def test_a_packet_that_is_too_big_is_told_so_on_either_side_of_a_router(world: World) -> None:
    def told(node: str, size: str, to: str) -> str:
        return world.on(node, "ping", "-c", "1", "-W", "1", "-M", "do", "-s", size, to).stdout

    world.apply(
        replace(
            world.specs[GCP.id], interfaces=(replace(GCP.interfaces[0], nat=None, public="198.18.3.9"),), ingress=None
        ),
        replace(world.specs[HETZNER.id], ingress=()),
    )
    assert "mtu = 1460" in told("hetzner-gw", "1450", "198.18.3.9"), "by the router of the far end's network"
    assert "mtu = 1500" in told("aws-1", "1600", "198.18.3.9"), "by the router of its own network"


@pytest.mark.parametrize("forwarding", [False, True])
def test_a_forged_source_passes_only_where_the_check_is_off(world: World, forwarding: bool) -> None:
    neighbour = replace(
        AWS, id="i-2", node="aws-2", interfaces=(Interface("eth0", "vpc-1", "10.0.1.11", 24, 9001),), ingress=None
    )
    world.apply(neighbour, replace(world.specs[AWS.id], forwarding=forwarding))
    world.on("aws-2", "nft", "add table ip t; add counter ip t c")
    world.on(
        "aws-2",
        "nft",
        "add chain ip t i { type filter hook input priority 0; }; add rule ip t i ip saddr 192.0.2.9 counter name c",
    )
    world.on("aws-1", "ip", "address", "add", "192.0.2.9/32", "dev", "lo")
    world.on("aws-1", "ping", "-c", "1", "-W", "1", "-I", "192.0.2.9", "10.0.1.11")
    counted = world.on("aws-2", "nft", "list", "counter", "ip", "t", "c").stdout
    assert ("packets 1 " in counted) is forwarding, counted
    world.on("aws-1", "ip", "address", "del", "192.0.2.9/32", "dev", "lo")


def test_a_private_card_is_plugged_into_a_running_machine_and_not_filtered(world: World) -> None:
    def on_network(spec: MachineSpec, address: str) -> MachineSpec:
        return replace(spec, interfaces=(spec.interfaces[0], Interface("eth1", "hcloud-7", address, 16, 1450)))

    world.apply(EXTRA)
    inits = [world.fabric.init_of(node) for node in ("hetzner-gw", "hetzner-1")]
    assert not world.pings("hetzner-gw", "10.1.0.3")
    world.apply(on_network(EXTRA, "10.1.0.3"), on_network(world.specs[HETZNER.id], "10.1.0.2"))
    assert world.pings("hetzner-gw", "10.1.0.3"), "its empty firewall filters the public side only"
    assert not world.pings("hetzner-gw", "198.18.1.6")
    assert "mtu 1450" in world.on("hetzner-1", "ip", "link", "show", "eth1").stdout
    assert [world.fabric.init_of(node) for node in ("hetzner-gw", "hetzner-1")] == inits
    world.apply(EXTRA)
    assert world.on("hetzner-gw", "ip", "link", "show", "eth1").status != 0, "unplugged again"


def test_ipv6_is_routed_and_filtered(world: World) -> None:
    world.apply(replace(EXTRA, ingress=(Rule("icmp", None, ("2001:db8:1::1/128",)),)))
    assert world.pings("hetzner-gw", "2001:db8:1::2")
    world.apply(replace(EXTRA, ingress=(Rule("icmp", None, ("2001:db8:2::/48",)),)))
    assert not world.pings("hetzner-gw", "2001:db8:1::2")


def test_a_cut_pair_and_a_cut_machine(world: World) -> None:
    assert world.command("cut", "aws-1", "hetzner-gw").status == 0
    assert not world.pings("aws-1", OVERLAY["hetzner-gw"])
    assert world.pings("gcp-1", OVERLAY["hetzner-gw"])
    world.apply(replace(world.specs[HETZNER.id], ingress=(*HETZNER.ingress, Rule("icmp", None, ANYWHERE))))  # type: ignore[misc]
    assert not world.pings("aws-1", HUB), "a firewall's refresh keeps the cut"
    assert world.pings("gcp-1", HUB)
    healed = world.command("heal", "aws-1", "hetzner-gw")
    assert (healed.status, healed.stdout.strip()) == (0, "aws-1 and hetzner-gw: healed")
    assert "no such cut, so nothing changes" in world.command("heal", "aws-1", "hetzner-gw").stdout
    world.wait("the healed pair", lambda: world.pings("aws-1", OVERLAY["hetzner-gw"]))
    world.fabric.cut("hetzner-gw")
    assert not world.pings("gcp-1", OVERLAY["hetzner-gw"])
    assert {m.spec.node: m.cut_from for m in world.fabric.machines()}["hetzner-gw"] == ("*",)
    world.fabric.heal("hetzner-gw")
    world.wait_for_mesh()
    assert not any(m.cut_from for m in world.fabric.machines())


def test_a_machine_behind_a_shared_address_is_cut_from_a_public_one_both_ways(world: World) -> None:
    assert GCP.interfaces[0].nat
    world.apply(replace(world.specs[HETZNER.id], ingress=(*HETZNER.ingress, Rule("icmp", None, ANYWHERE))))  # type: ignore[misc]
    assert world.pings("gcp-1", HUB)
    world.fabric.cut("hetzner-gw", "gcp-1")
    assert not world.pings("gcp-1", HUB)
    assert not world.pings("hetzner-gw", OVERLAY["gcp-1"]), "on the flow that it keeps open"
    assert not world.pings("gcp-1", OVERLAY["hetzner-gw"])
    assert world.pings("aws-1", OVERLAY["hetzner-gw"])
    world.fabric.heal("gcp-1", "hetzner-gw")
    world.wait_for_mesh()


def test_two_machines_are_cut_on_their_private_network_and_on_the_internet(world: World) -> None:
    card = replace(world.specs[AWS.id].interfaces[0], address="10.0.1.11", public="198.18.2.8")
    opened = replace(world.specs[AWS.id], ingress=(*(AWS.ingress or ()), Rule("icmp", None, ANYWHERE)))
    world.apply(opened, replace(opened, id="i-2", node="aws-2", interfaces=(card,), user_data="#cloud-config\n{}\n"))
    ways = ("10.0.1.11", "198.18.2.8")
    assert [world.pings("aws-1", address) for address in ways] == [True, True]
    world.fabric.cut("aws-1", "aws-2")
    assert [world.pings("aws-1", address) for address in ways] == [False, False]
    assert [world.pings("aws-2", address) for address in ("10.0.1.10", "198.18.2.7")] == [False, False]
    world.fabric.heal("aws-2")
    assert [world.pings("aws-1", address) for address in ways] == [True, True]


def test_each_machine_is_told_its_own_metadata_and_containers_on_it_get_no_token(world: World) -> None:
    servers = MetadataServers(world.cloud)
    servers.follow()
    token = "curl -sf -m 8 -X PUT -H X-aws-ec2-metadata-token-ttl-seconds:60 http://169.254.169.254/latest/api/token"
    ask = f"curl -s -m 8 -H X-aws-ec2-metadata-token:$({token}) http://169.254.169.254/latest/meta-data/instance-id"
    gcp = "curl -s -m 8 -H Metadata-Flavor:Google http://169.254.169.254/computeMetadata/v1/instance/id"
    try:
        assert world.on("aws-1", "sh", "-c", ask).stdout == AWS.id
        assert world.on("gcp-1", "sh", "-c", gcp).stdout == GCP.id
        assert (
            world.on("hetzner-gw", "curl", "-s", "http://169.254.169.254/hetzner/v1/metadata/hostname").stdout == "gw"
        )
        assert world.at(world.cloud.stranger, "curl", "-s", "-m", "1", "http://169.254.169.254/").status != 0
        setup = """
            set -e
            ip netns add box
            ip link add box0 type veth peer name eth0 netns box
            ip address add 172.20.0.1/24 dev box0; ip link set box0 up
            ip -n box address add 172.20.0.2/24 dev eth0; ip -n box link set eth0 up
            ip -n box route add default via 172.20.0.1
            sysctl -q -w net.ipv4.ip_forward=1
            nft add table ip box
            nft 'add chain ip box post { type nat hook postrouting priority srcnat; }'
            nft add rule ip box post ip saddr 172.20.0.0/24 masquerade
        """
        assert world.on("aws-1", "sh", "-c", setup).status == 0
        inside = ("ip", "netns", "exec", "box", "sh", "-c", token)
        assert world.on("aws-1", *inside).status != 0, "one hop is the machine itself"
        hops = {"tokens_required": True, "hop_limit": 2}
        world.apply(replace(world.specs[AWS.id], metadata={**AWS.metadata, "imds": hops}))
        assert world.on("aws-1", *inside).status == 0
    finally:
        servers.close()
        world.on("aws-1", "sh", "-c", "ip netns del box; nft delete table ip box")


def test_the_host_sees_nothing_of_it(world: World) -> None:
    assert "198.18." not in run("ip", "address") + run("ip", "route", "show", "table", "all")
    assert "fabric" not in run("nft", "list", "tables")
