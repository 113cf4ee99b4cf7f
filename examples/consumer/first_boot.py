"""What the host is told at its first boot, as Hetzner's user data: the same words for the same network."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from components.outputs import StackOutputs

PORT = 9090
"""Where Prometheus answers, on the overlay address alone."""
LIMIT = 32 * 1024
"""Bytes of user data that Hetzner takes (docs.hetzner.cloud, servers)."""
_PACKAGES = ("nftables", "prometheus", "wireguard-tools")
_METADATA = "169.254.169.254"
"""Where the server is told its user data, and with them its key."""
_FIREWALL = f"""\
#!/usr/sbin/nft -f
flush ruleset
table inet guard {{
  chain input {{
    type filter hook input priority filter; policy drop;
    iif lo accept
    ct state established,related accept
    meta l4proto {{ icmp, ipv6-icmp }} accept
    iifname != wg0 tcp dport 22 accept
    iifname wg0 tcp dport {PORT} accept
  }}
  chain output {{
    type filter hook output priority filter;
    ip daddr {_METADATA} meta skuid != 0 reject
  }}
}}
"""
_AFTER_THE_TUNNEL = "[Unit]\nRequires=wg-quick@wg0.service\nAfter=wg-quick@wg0.service\n"
"""Prometheus listens on an address that the tunnel has."""


class FirstBootError(ValueError):
    """The host cannot be told what it needs; the message says why and what to do. Never a secret."""


def _no_place(spoke: str) -> FirstBootError:
    return FirstBootError(
        f"the network's stack has no spoke {spoke} of an external site: declare one there "
        f"(sites.operations: {{cloud: external, subnet: …}}, spokes.{spoke}: {{site: operations}}), update "
        "that stack, and then this one"
    )


def address_of(outputs: StackOutputs, spoke: str) -> IPv4Address:
    """The overlay address of ``spoke``, which is no secret; FirstBootError when the network has no such node."""
    for peer in outputs.peers:
        if peer.name == spoke:
            return peer.address
    raise _no_place(spoke)


@dataclass(frozen=True)
class Joined:
    """As whom the host is in the network. ``configuration`` is wg-quick's text, with the private key: a secret."""

    address: IPv4Address
    configuration: str

    @classmethod
    def of(cls, outputs: StackOutputs, configurations: Mapping[str, str], spoke: str) -> Joined:
        """The place that the network's stack keeps for ``spoke``; FirstBootError when it keeps none."""
        address = address_of(outputs, spoke)
        if spoke not in configurations:
            raise _no_place(spoke)
        configuration = configurations[spoke]
        keys = [line for line in configuration.splitlines() if line.startswith("PrivateKey = ")]
        if not keys or "REPLACE" in keys[0]:
            raise FirstBootError(
                f"the network's stack has a publicKey for spoke {spoke} and so no private key to give to this host: "
                "take publicKey away there, and the stack makes a key"
            )
        return cls(address, configuration)


def render(joined: Joined, prometheus: str, rules: str, ca: str) -> str:
    """The user data. ``prometheus`` is the text of prometheus.yml, which names the others as they are called here.

    FirstBootError when it is more than Hetzner takes.
    """
    files = (
        _file("/etc/wireguard/wg0.conf", joined.configuration, "0600"),
        _file("/etc/prometheus/prometheus.yml", prometheus),
        _file("/etc/prometheus/hybridnet-rules.yaml", rules),
        _file("/etc/prometheus/hybridnet-ca.pem", ca),
        # The distribution's unit reads it. cloud-init has apt keep files that are there before their package.
        _file("/etc/default/prometheus", f'ARGS="--web.listen-address={joined.address}:{PORT}"\n'),
        _file("/etc/systemd/system/prometheus.service.d/overlay.conf", _AFTER_THE_TUNNEL),
        _file("/etc/nftables.conf", _FIREWALL, "0755"),
        _file("/etc/apt/apt.conf.d/90monitor", 'APT::Install-Recommends "false";\n'),
    )
    document = {
        "package_update": True,
        "packages": list(_PACKAGES),
        "write_files": list(files),
        "runcmd": [
            "set -e",  # what fails is told: cloud-init says `error`
            "systemctl enable nftables",
            "systemctl restart nftables",
            "systemctl enable --now wg-quick@wg0 prometheus",
        ],
    }
    text = "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False, width=1 << 20)
    if len(text) > LIMIT:
        raise FirstBootError(f"the user data have {len(text)} bytes, and Hetzner takes {LIMIT}: shorten the rules")
    return text


def _file(path: str, text: str, permissions: str = "0644") -> dict[str, Any]:
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return {"path": path, "permissions": permissions, "encoding": "gz+b64", "content": packed}
