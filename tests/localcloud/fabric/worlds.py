"""Machines that the fabric's tests ask for."""

from __future__ import annotations

from pathlib import Path

from localcloud.cloud import Cloud
from localcloud.fabric.store import Record, Store
from localcloud.spec import INTERNET, Interface, MachineSpec, Rule

ANYWHERE = ("0.0.0.0/0", "::/0")
WIREGUARD = Rule("udp", (51820, 51820), ANYWHERE)
SSH_FROM_DESK = Rule("tcp", (22, 22), ("203.0.113.0/24",))

HETZNER = MachineSpec(
    id="101",
    node="hetzner-gw",
    cloud="hetzner",
    hostname="gw",
    user_data="#cloud-config\n{}\n",
    ssh_keys=("ssh-ed25519 AAAA someone",),
    interfaces=(Interface("eth0", INTERNET, "198.18.1.5", 32, 1500, "198.18.1.5", "2001:db8:1::1"),),
    ingress=(WIREGUARD, SSH_FROM_DESK),
    egress=None,
    forwarding=True,
    metadata={"region": "eu-central", "zone": "fsn1-dc14"},
)
AWS = MachineSpec(
    id="i-0123456789abcdef0",
    node="aws-1",
    cloud="aws",
    hostname="ip-10-0-1-10",
    user_data="#cloud-config\n{}\n",
    ssh_keys=("ssh-ed25519 AAAA someone",),
    interfaces=(Interface("eth0", "vpc-1", "10.0.1.10", 24, 9001, "198.18.2.7"),),
    ingress=(WIREGUARD,),
    egress=(Rule("any", None, ANYWHERE),),
    forwarding=False,
    metadata={
        "region": "eu-central-1",
        "zone": "eu-central-1a",
        "account": "123456789012",
        "created": "2026-03-04T05:06:07Z",
        "image": "ami-1",
        "instance_type": "t3.micro",
        "labels": {"node": "aws-1"},
        "imds": {"tokens_required": True, "hop_limit": 1},
    },
)
GCP = MachineSpec(
    id="projects/p/zones/europe-west3-a/instances/gcp-1",
    node="gcp-1",
    cloud="gcp",
    hostname="gcp-1.europe-west3-a.c.p.internal",
    user_data="#cloud-config\n{}\n",
    ssh_keys=(),
    interfaces=(Interface("eth0", "network-1", "10.0.1.10", 24, 1460, nat="198.18.9.1"),),
    ingress=(WIREGUARD,),
    egress=None,
    forwarding=False,
    metadata={
        "project": "p",
        "project_number": "4711",
        "zone": "europe-west3-a",
        "instance_type": "e2-small",
        "created": "2026-03-04T05:06:07Z",
        "service_account": "burst@p.iam.gserviceaccount.com",
    },
)


def recorded(directory: Path, *specs: MachineSpec) -> tuple[dict[str, Record], dict[str, int]]:
    """The records of these machines in a fresh instance, and the numbers of their networks."""
    store = Store(Cloud(directory))
    for spec in specs:
        store.save(spec)
    records = store.records()
    return records, store.networks(records)
