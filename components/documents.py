"""Documents for the tools that use the network: SkyPilot's pools and services, Prometheus' targets."""

from __future__ import annotations

from typing import Any

import yaml

from components.images import login_user
from components.plan import Machine, Plan

METRICS_PORT = 9586
"""Port of each node's metrics, on its overlay address."""
MODEL_PORT = 8000
"""Port of the inference server (vLLM's default)."""


def _login(machine: Machine) -> str:
    """The account that SSH gives: Hetzner's images know root only."""
    if machine.cloud == "hetzner":
        return "root"
    if machine.cloud == "aws" and "debian" in machine.image:
        return "admin"
    return login_user(machine.image)


def ssh_node_pools(plan: Plan, pool: str) -> str:
    """SkyPilot's ``~/.sky/ssh_node_pools.yaml``: every spoke by its overlay address, in one pool."""
    hosts = [{"ip": str(machine.address), "user": _login(machine)} for machine in plan.spokes.values()]
    return yaml.safe_dump({pool: {"hosts": hosts}}, sort_keys=False)


def skyserve_service(plan: Plan, pool: str) -> str:
    """A SkyServe service with one replica a spoke of the pool; the model is an environment variable."""
    service = {
        "name": pool,
        "service": {"readiness_probe": "/health", "replicas": max(len(plan.spokes), 1)},
        "resources": {"infra": f"ssh/{pool}", "ports": MODEL_PORT},
        "envs": {"MODEL": "Qwen/Qwen2.5-0.5B-Instruct"},
        "setup": "pip install vllm",
        "run": f'vllm serve "$MODEL" --host 0.0.0.0 --port {MODEL_PORT}',
    }
    return yaml.safe_dump(service, sort_keys=False)


def prometheus_targets(plan: Plan) -> list[dict[str, Any]]:
    """Prometheus' ``file_sd`` targets: one a node, with what tells it from the others."""
    return [
        {
            "targets": [f"{machine.address}:{METRICS_PORT}"],
            "labels": {"node": machine.name, "site": machine.site, "role": machine.role, "cloud": machine.cloud},
        }
        for machine in plan.machines.values()
    ]
