"""A firewall for tunnels on a port that no machine of the network listens on."""

import pulumi_gcp as gcp

network = gcp.compute.Network("network", auto_create_subnetworks=False, project="hybrid-wireguard-dev")
gcp.compute.Firewall(
    "tunnels",
    network=network.id,
    direction="INGRESS",
    allows=[gcp.compute.FirewallAllowArgs(protocol="udp", ports=["51820", "51825"])],
    source_ranges=["0.0.0.0/0"],
    project="hybrid-wireguard-dev",
)
