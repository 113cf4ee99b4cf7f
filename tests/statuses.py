"""Statuses as ``GET /v1/status`` tells them, for pages and tables that need no machine."""

from __future__ import annotations

import datetime
from typing import Any

NOW = 1_800_000_000.0
HOSTILE = '<script>document.title="owned"</script>'
"""What must be shown as the text that it is."""
TURNED = "\u202egnp.exe\u2066\u200b\U000e0041"
"""Characters that turn or hide what is around them."""


def peer(name: str, site: str, address: str, role: str = "spoke", **changes: Any) -> dict[str, Any]:
    """A declared node that is well."""
    seed = sum(map(ord, name))
    return {
        "name": name,
        "public_key": f"{name[:20]:A<43}=".replace("-", "0"),
        "address": address,
        "endpoint": f"198.18.{seed % 9}.{seed % 200 + 2}:51820",
        "handshake_age": float(seed % 118),
        "rx": seed << 16,
        "tx": seed << 15,
        "healthy": True,
        "site": site,
        "role": role,
        "gateway": "hetzner-gw" if role == "spoke" else None,
        "rtt": (seed % 40 + 3) / 1000,
        "rx_rate": seed * seed % 900_000,
        "tx_rate": seed * 7919 % 4_000_000,
        **changes,
    }


def lease(name: str, pool: str, site: str, address: str, **changes: Any) -> dict[str, Any]:
    """A pool's machine that is well."""
    found = peer(name, site, address)
    del found["role"]
    return {
        **found,
        "pool": pool,
        "state": "active",
        "weight": 100,
        "instance_id": f"i-{name[-8:]}",
        "joined": NOW - 900,
        **changes,
    }


def target(name: str, address: str, **changes: Any) -> dict[str, Any]:
    """A machine that gets requests."""
    return {
        "name": name,
        "address": address,
        "port": 8000,
        "healthy": True,
        "draining": False,
        "weight": 100,
        "backup": False,
        "in_rotation": True,
        **changes,
    }


def status(**changes: Any) -> dict[str, Any]:
    """A hub in the likeness of the dev stack, and well."""
    leases = [
        lease("aws-burst-7ff38b67", "aws-burst", "aws", "10.100.2.128"),
        lease("aws-burst-91c2aa03", "aws-burst", "aws", "10.100.2.129"),
        lease("gcp-burst-48271639", "gcp-burst", "gcp", "10.100.3.128"),
    ]
    return {
        "schema_version": 1,
        "stage": "service",
        "healthy": True,
        "release": {"number": 14, "sha256": "0" * 64},
        "failed_release": None,
        "newest_release": 14,
        "roster": {"number": 31, "sha256": "1" * 64, "content": "2" * 64},
        "credentials": {"number": 3, "sha256": "3" * 64, "content": "4" * 64},
        "peers": [
            peer("aws-1", "aws", "10.100.2.1"),
            peer("aws-2", "aws", "10.100.2.2"),
            peer("gcp-1", "gcp", "10.100.3.1"),
            peer("hetzner-1", "hetzner", "10.100.1.1"),
            peer("hetzner-2", "hetzner", "10.100.1.2"),
        ],
        "topology": "hub",
        "attached": {},
        "links": [],
        "neighbours": {},
        "drift_repaired": 0,
        "leases": leases,
        "pools": {
            "aws-burst": {"limit": 6, "working": 2, "leases": 2, "resting": 1, "free": 123, "site": "aws"},
            "gcp-burst": {"limit": 4, "working": 1, "leases": 1, "resting": 0, "free": 125, "site": "gcp"},
        },
        "cleanup": None,
        "load_balancer": {
            "state": "serving",
            "problem": None,
            "certificate": {"not_after": "2027-11-02T08:00:00+00:00"},
            "reloads": 12,
            "targets": [
                target("hetzner-1", "10.100.1.1"),
                target("hetzner-2", "10.100.1.2"),
                target("aws-burst-7ff38b67", "10.100.2.128", backup=True),
                target("aws-burst-91c2aa03", "10.100.2.129", backup=True),
                target("gcp-burst-48271639", "10.100.3.128", backup=True),
            ],
        },
        "gateway": {"name": "hetzner-gw", "address": "10.100.0.1", "site": "hetzner"},
        "time": NOW,
        "sites": {
            "aws": {"cloud": "aws", "region": "eu-central-1", "subnet": "10.100.2.0/24"},
            "gcp": {"cloud": "gcp", "region": "europe-west3", "subnet": "10.100.3.0/24"},
            "hetzner": {"cloud": "hetzner", "region": "fsn1", "subnet": "10.100.1.0/24"},
        },
        "elsewhere": [],
        "conditions": {},
        "rotation": {"phase": None, "missing": [], "nodes": {}},
        "revoked": [],
        "alerts": [],
        "events": [
            event("join", 40, node="aws-burst-91c2aa03", pool="aws-burst", address="10.100.2.129"),
            event("serve", 55, node="aws-burst-91c2aa03", address="10.100.2.129"),
            event("refuse", 310, source="203.0.113.77", status=403, reason="no such token"),
            event("roster", 905, roster=31),
        ],
        **changes,
    }


def event(name: str, seconds: float, **fields: Any) -> dict[str, Any]:
    """What happened so many seconds ago."""
    at = datetime.datetime.fromtimestamp(NOW - seconds, datetime.UTC)
    return {"time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "event": name, **fields}


def alert(name: str, subject: str, severity: str, summary: str, seconds: float = 42) -> dict[str, Any]:
    """One that began so many seconds ago."""
    return {"name": name, "subject": subject, "severity": severity, "summary": summary, "since": NOW - seconds}


def revoked(name: str, seconds: float, reason: str, instance: str | None = None) -> dict[str, Any]:
    """Who was cut off so many seconds ago."""
    at = int((NOW - seconds) * 1000)
    return {"name": name, "at": at, "keys": [], "instance": instance, "token": None, "reason": reason}


def troubled() -> dict[str, Any]:
    """The same network at three in the morning."""
    found = status()
    gcp = next(each for each in found["peers"] if each["name"] == "gcp-1")
    gcp.update(healthy=False, rtt=None, handshake_age=74.0, rx_rate=0, tx_rate=148)
    old = next(each for each in found["peers"] if each["name"] == "aws-2")
    old.update(handshake_age=151.0)
    found["leases"][1].update(state="draining")
    found["conditions"]["hetzner-2"] = {"healthy": False, "problems": ["the disk is full: 12 MiB free"], "at": NOW - 20}
    found["leases"].append(
        lease(
            "gcp-burst-0d55e1f2",
            "gcp-burst",
            "gcp",
            "10.100.3.129",
            healthy=False,
            handshake_age=None,
            rtt=None,
            rx_rate=0,
            tx_rate=0,
            joined=NOW - 4,
        )
    )
    found["pools"]["gcp-burst"].update(leases=2, free=124)
    found["rotation"] = {
        "phase": "out",
        "missing": ["gcp-1"],
        "nodes": {name: {"public_key": None, "is_turning": name == "aws-1"} for name in ("aws-1", "aws-2")},
    }
    found["revoked"] = [
        revoked("hetzner-9", 3 * 86400, "its disk was sold"),
        revoked("aws-burst-0badcafe", 60, "mined coins", "i-0badcafe"),
    ]
    found["load_balancer"]["targets"][3].update(draining=True, in_rotation=False)
    found["alerts"] = [
        alert("NodeSilent", "gcp-1", "critical", "gcp-1 in gcp does not answer through its tunnel", 62),
        alert("NodeReportsProblem", "hetzner-2", "warning", "hetzner-2 reports: the disk is full: 12 MiB free", 1500),
        alert("CertificateEnding", "serving", "warning", "the serving certificate ends on 2027-02-02 08:00 UTC", 9000),
    ]
    found["events"] = [
        event("join", 4, node="gcp-burst-0d55e1f2", pool="gcp-burst", address="10.100.3.129"),
        event("drain", 21, node="aws-burst-91c2aa03", pool="aws-burst", reason="spot interruption notice"),
        event("disconnect", 60, node="gcp-1", address="10.100.3.1"),
        *found["events"],
    ]
    return found


def crowd(count: int = 600) -> dict[str, Any]:
    """A network of hundreds of nodes in three sites, a few of them silent."""
    found = status(leases=[])
    sites = list(found["sites"])
    found["peers"] = [
        peer(
            f"{sites[number % 3]}-{number}",
            sites[number % 3],
            f"10.100.{number // 250 + 1}.{number % 250 + 1}",
        )
        for number in range(count)
    ]
    for silent in found["peers"][::97]:
        silent.update(healthy=False, rtt=None)
    return found


def hostile() -> dict[str, Any]:
    """A status whose every text was chosen by somebody who means harm."""
    long = "x" * 300
    found = status()
    found["peers"].append(peer(HOSTILE, "aws", HOSTILE, endpoint=HOSTILE))
    found["peers"].append(peer("\"'><img src=x onerror=alert(1)>", "gcp", "10.100.3.9"))
    found["peers"].append(peer(TURNED, "gcp", "10.100.3.10", healthy=False))
    found["peers"].append(peer(long, HOSTILE, "10.100.3.11"))
    found["sites"][HOSTILE] = {"cloud": HOSTILE, "region": TURNED, "subnet": long}
    found["leases"].append(lease(HOSTILE, HOSTILE, "aws", "10.100.2.130", instance_id=HOSTILE, state="draining"))
    found["pools"][HOSTILE] = {**found["pools"]["aws-burst"], "site": HOSTILE}
    found["elsewhere"] = [
        {"name": TURNED + HOSTILE, "pool": long, "site": "aws", "address": "10.100.2.9", "state": "active"}
    ]
    found["neighbours"] = {HOSTILE: {"reachable": False, "age": None, "leases": 3}}
    found["load_balancer"]["targets"].append(target(HOSTILE, HOSTILE))
    found["load_balancer"]["problem"] = HOSTILE
    found["conditions"] = {HOSTILE: {"healthy": False, "problems": [HOSTILE], "at": NOW}}
    turning = {"public_key": HOSTILE, "is_turning": True}
    found["rotation"] = {"phase": "out", "missing": [HOSTILE, TURNED], "nodes": {HOSTILE: turning, TURNED: turning}}
    found["revoked"] = [revoked(HOSTILE, 9, f"{TURNED}{HOSTILE}{long}", HOSTILE)]
    found["alerts"] = [alert(HOSTILE, HOSTILE, "critical", f"{HOSTILE} {TURNED} {long}")]
    found["events"] = [event(HOSTILE, 3, node=HOSTILE, reason=f"{TURNED}{HOSTILE}", **{HOSTILE: long})]
    return found
