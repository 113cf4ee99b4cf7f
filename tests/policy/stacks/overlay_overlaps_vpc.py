"""A subnetwork whose machines could not be told from the overlay's."""

import pulumi_gcp as gcp

PROJECT = "hybrid-wireguard-dev"
network = gcp.compute.Network("network", auto_create_subnetworks=False, project=PROJECT)
gcp.compute.Subnetwork(
    "clusters", network=network.id, ip_cidr_range="10.100.64.0/20", region="europe-west3", project=PROJECT
)
