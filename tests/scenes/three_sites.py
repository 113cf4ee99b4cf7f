"""What the scenes of several gateways share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.scenes.scene import Scene

GATEWAYS = {"hetzner": "10.100.1.254", "aws": "10.100.2.254", "gcp": "10.100.3.254"}
"""The last host of each site's subnet, as docs/settings.md says."""
HIDDEN = ("aws-1", "gcp-1")
"""The declared nodes without a public address."""
DOMAIN = "wg.internal"


def members(scene: Scene) -> list[dict[str, Any]]:
    """The leases of all gateways."""
    return [lease for address in GATEWAYS.values() for lease in scene.gateway_status(address)["leases"]]


def everyone(scene: Scene) -> dict[str, str]:
    """Overlay address by name, of all that run."""
    running = {machine["node"] for machine in scene.status()["machines"]}
    declared = {name: address for name, address in scene.nodes().items() if name in running}
    return declared | {lease["name"]: lease["address"] for lease in members(scene)}


def sites_of(scene: Scene) -> dict[str, str]:
    """Site by name of node."""
    pools = {pool["name"]: pool["site"] for pool in scene.outputs()["pools"]}
    found = {peer["name"]: peer["site"] for peer in scene.outputs()["peers"]}
    return found | {lease["name"]: pools[lease["pool"]] for lease in members(scene)}


def change_topology(scene: Scene, topology: str) -> None:
    document = scene.config_file.read_text()
    (line,) = [line for line in document.splitlines() if "topology:" in line and not line.lstrip().startswith("#")]
    before = line.partition("topology:")[2].split(",")[0].strip(" }")
    scene.config_file.write_text(document.replace(line, line.replace(f"topology: {before}", f"topology: {topology}")))


def way(nodes: Mapping[str, str], places: Mapping[str, str], topology: str, source: str, target: str) -> list[str]:
    """The hops that the model promises from one node to another; in a mesh those who cannot be called go by sites.

    ``nodes`` are addresses by name, ``places`` sites by name.
    """
    ends = (source, target)
    if topology == "mesh" and not (source in HIDDEN and target in HIDDEN) and not any("-gw" in end for end in ends):
        return [nodes[target]]
    between = [GATEWAYS["hetzner"]] if topology == "hub" else [GATEWAYS[places[source]], GATEWAYS[places[target]]]
    return [*dict.fromkeys(hop for hop in between if hop not in (nodes[source], nodes[target])), nodes[target]]


def resolves(scene: Scene, node: str, name: str) -> str | None:
    said = scene.run("exec", node, "--", "getent", "ahostsv4", name, check=False).stdout.split()
    return said[0] if said else None
