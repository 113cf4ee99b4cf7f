"""A hub and two spokes made by hand, as guides tell people to: wg-quick, the hub's forwarding lines, one open port.

A configuration each and nothing else on the machines. The provider's firewall lets in WireGuard from everywhere, so
that packets pass as many hooks here as with the program: that firewall's, and the hub's own filter and translation.
"""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.place import Place
from localcloud import host, image
from localcloud.cloud import Cloud
from localcloud.fabric import Fabric
from localcloud.spec import INTERNET, Interface, MachineSpec, Rule

HUB, ONE, TWO = "hub", "one", "two"
PUBLIC = {HUB: "198.18.1.10", ONE: "198.18.1.11", TWO: "198.18.1.12"}
OVERLAY = {HUB: "10.100.0.1", ONE: "10.100.1.1", TWO: "10.100.1.2"}

FORWARDING = (
    "PostUp = sysctl -w net.ipv4.ip_forward=1",
    "PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -A FORWARD -o %i -j ACCEPT",
    "PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
)
OPEN = Rule("udp", (51820, 51820), ("0.0.0.0/0", "::/0"))

USER_DATA = """\
#cloud-config
packages: [wireguard-tools]
write_files:
- path: /etc/wireguard/wg0.conf
  permissions: "0600"
  content: |
{config}
runcmd:
- [systemctl, enable, --now, wg-quick@wg0]
"""


class Handmade:
    """The machines, in an instance of the local cloud of their own, with the tunnels' MTU in bytes."""

    def __init__(self, directory: Path, mtu: int) -> None:
        self.place = Place(directory)
        self._fabric = Fabric(Cloud(directory))
        keys = {name: X25519PrivateKey.generate() for name in PUBLIC}
        public = {name: base64.b64encode(key.public_key().public_bytes_raw()).decode() for name, key in keys.items()}
        private = {name: base64.b64encode(key.private_bytes_raw()).decode() for name, key in keys.items()}
        peers = {HUB: [_peer(public[name], f"{OVERLAY[name]}/32") for name in (ONE, TWO)]}
        for name in (ONE, TWO):
            peers[name] = [_peer(public[HUB], "10.100.0.0/16", f"{PUBLIC[HUB]}:51820")]
        self._specs = {name: _machine(name, private[name], peers[name], mtu) for name in PUBLIC}

    def up(self) -> None:
        """Boot all three."""
        host.prepare(lambda _: None)
        image.ensure(lambda _: None)
        self._fabric.apply(self._specs)

    def make_anew(self, name: str) -> None:
        """Destroy a machine and boot a new one in its place."""
        self._fabric.apply({other: spec for other, spec in self._specs.items() if other != name})
        self._fabric.apply(self._specs)

    def down(self) -> None:
        """Destroy everything."""
        self._fabric.down()


def _peer(public_key: str, allowed: str, endpoint: str | None = None) -> list[str]:
    lines = ["", "[Peer]", f"PublicKey = {public_key}", f"AllowedIPs = {allowed}"]
    return lines if endpoint is None else [*lines, f"Endpoint = {endpoint}", "PersistentKeepalive = 25"]


def _machine(name: str, private_key: str, peers: list[list[str]], mtu: int) -> MachineSpec:
    lines = [
        "[Interface]",
        f"Address = {OVERLAY[name]}/16",
        f"PrivateKey = {private_key}",
        "ListenPort = 51820",
        f"MTU = {mtu}",
        *(FORWARDING if name == HUB else ()),
        *(line for peer in peers for line in peer),
    ]
    return MachineSpec(
        id=name,
        node=name,
        cloud="hetzner",
        hostname=name,
        user_data=USER_DATA.format(config="\n".join(f"    {line}" for line in lines)),
        ssh_keys=(),
        interfaces=(Interface("eth0", INTERNET, PUBLIC[name], 32, 1500, public=PUBLIC[name]),),
        ingress=(OPEN,),
        egress=None,
        forwarding=True,
    )
