"""Documents for the tools that use the network: SkyPilot's pools and services, Prometheus' targets."""

from __future__ import annotations

from typing import Any

import yaml

from cloudinit import TOKEN_VARIABLE
from components.images import login_user
from components.names import site_name
from components.plan import Machine, Plan
from components.pool_plan import PoolPlan

METRICS_PORT = 9586
"""Port of each node's metrics, on its overlay address."""
MODEL_PORT = 8000
"""Port of the inference server (vLLM's default)."""
HEALTH_PATH = "/health"
"""vLLM's."""
MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
FIRST_ANSWER_SECONDS = 1200
"""Until a machine has its packages and the model; SkyServe's own default."""
REQUESTS_A_SECOND = 5
"""Of one replica: what SkyServe scales by, and needs as soon as there may be more replicas than at least."""
_CLOUDS_OF_SKYPILOT = ("aws", "gcp")
"""Those of a stack's that SkyPilot makes machines in."""


class _Dumper(yaml.SafeDumper):
    """Writes scripts as they are."""


def _text(_: yaml.SafeDumper, text: str) -> yaml.Node:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1 << 20)


def _login(machine: Machine) -> str:
    """The account that SSH gives: Hetzner's images know root only."""
    if machine.cloud == "hetzner":
        return "root"
    if machine.cloud == "aws" and "debian" in machine.image:
        return "admin"
    return login_user(machine.image)


def key_file(prefix: str) -> str:
    """Where whoever uses the documents keeps the private key of the stack's machines."""
    return f"~/.ssh/{prefix}"


def _made_spokes(plan: Plan) -> list[Machine]:
    return [machine for machine in plan.spokes.values() if not machine.is_external]


def _node_pools(plan: Plan, prefix: str) -> dict[str, list[Machine]]:
    """The spokes by SkyPilot's pool of their site."""
    found: dict[str, list[Machine]] = {}
    for machine in _made_spokes(plan):
        found.setdefault(site_name(prefix, machine.site), []).append(machine)
    return found


def ssh_node_pools(plan: Plan, prefix: str) -> str:
    """SkyPilot's ``~/.sky/ssh_node_pools.yaml``: the spokes of each site in a pool, by their overlay addresses."""
    return _yaml(
        {
            name: {
                "user": _login(machines[0]),
                "identity_file": key_file(prefix),
                "hosts": [{"ip": str(machine.address), "user": _login(machine)} for machine in machines],
            }
            for name, machines in _node_pools(plan, prefix).items()
        }
    )


def _service(
    plan: Plan, name: str, *, most: int, path: str, port: int, resources: dict[str, Any], script: str | None
) -> str:
    """A SkyServe service of one to ``most`` replicas; ``script`` is what each joins the network by, if it must.

    While there is no spot machine to be had, SkyServe takes others, where ``resources`` ask for spot.
    """
    fallback = {"dynamic_ondemand_fallback": True} if resources.get("use_spot") else {}
    return _yaml(
        {
            "name": name,
            "service": {
                "readiness_probe": {"path": path, "initial_delay_seconds": FIRST_ANSWER_SECONDS},
                "replica_policy": {
                    "min_replicas": 1,
                    "max_replicas": most,
                    "target_qps_per_replica": REQUESTS_A_SECOND,
                    **fallback,
                },
            },
            "resources": {"ports": port, **resources},
            "envs": {"MODEL": MODEL, "CLUSTER_NETWORK": str(plan.network.overlay)},
            **({} if script is None else {"secrets": {TOKEN_VARIABLE: None}}),
            "setup": f"{script or ''}pip install vllm\n",
            "run": f'exec vllm serve "$MODEL" --host 0.0.0.0 --port {port}\n',
        }
    )


def service_on_pool(plan: Plan, prefix: str, pool: PoolPlan, script: str) -> str:
    """A SkyServe service whose replicas are the machines of an external pool, which ``script`` lets join.

    SkyServe starts the replicas of an update beside those that there are: all of them shall have room in the pool.
    """
    place = {"infra": f"{pool.cloud}/{pool.region}"} if pool.cloud in _CLOUDS_OF_SKYPILOT else {}
    return _service(
        plan,
        prefix,
        most=max(pool.limit // 2, 1),
        path=pool.health_path,
        port=pool.port,
        resources={**place, "accelerators": {"L4": 1}, "use_spot": True},
        script=script,
    )


def service_on_spokes(plan: Plan, prefix: str) -> str:
    """A SkyServe service on the declared spokes, which are in the network already: at most one replica a spoke."""
    places = [{"infra": f"ssh/{name}"} for name in _node_pools(plan, prefix)]
    return _service(
        plan,
        prefix,
        most=max(len(_made_spokes(plan)), 1),
        path=HEALTH_PATH,
        port=MODEL_PORT,
        resources={"any_of": places} if places else {},
        script=None,
    )


def prometheus_targets(plan: Plan) -> list[dict[str, Any]]:
    """Prometheus' ``file_sd`` targets: one a node, with what tells it from the others."""
    return [
        {
            "targets": [f"{machine.address}:{METRICS_PORT}"],
            "labels": {"node": machine.name, "site": machine.site, "role": machine.role, "cloud": machine.cloud},
        }
        for machine in plan.made.values()
    ]
