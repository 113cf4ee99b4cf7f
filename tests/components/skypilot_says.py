"""Run by SkyPilot's own Python: what SkyPilot says of documents.

Reads one JSON object from standard input: ``services`` and ``pools``, texts by name. Writes one with the same names:
``error`` (null when the document is well), and what SkyPilot made of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

sky: Any = import_module("sky")
serving: Any = import_module("sky.serve.serve_utils")
ssh: Any = import_module("sky.ssh_node_pools.utils")
core: Any = import_module("sky.ssh_node_pools.core")


def service(path: str) -> dict[str, Any]:
    """A service's document, as ``sky serve up`` reads and checks it."""
    task = sky.Task.from_yaml(path)
    serving.validate_service_task(task, pool=False)
    spec = task.service
    return {
        "replicas": [spec.min_replicas, spec.max_replicas],
        "probe": spec.readiness_path,
        "ports": sorted({port for resources in task.resources for port in resources.ports}),
        "infra": sorted(str(resources.infra.to_str()) for resources in task.resources),
        "envs": dict(task.envs),
        "secrets": sorted(reference.name for reference in task.managed_secret_refs),
        "setup": task.setup,
        "run": task.run,
    }


def pools(path: str) -> dict[str, Any]:
    """The document of pools, as ``sky ssh up`` reads and checks it."""
    found = ssh.get_cluster_config(ssh.load_ssh_targets(path))
    for pool in found.values():
        core.SSHNodePoolManager()._validate_pool_config(pool)
    return {name: ssh.prepare_hosts_info(name, pool) for name, pool in found.items()}


def said(read: Callable[[str], dict[str, Any]], text: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "document.yaml"
        path.write_text(text)
        try:
            return {"error": None, **read(str(path))}
        except (ValueError, RuntimeError, TypeError, KeyError, sky.exceptions.InvalidSkyPilotConfigError) as error:
            return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    told = json.load(sys.stdin)
    answer = {
        "version": sky.__version__,
        "services": {name: said(service, text) for name, text in told["services"].items()},
        "pools": {name: said(pools, text) for name, text in told["pools"].items()},
    }
    print("\n" + json.dumps(answer))


if __name__ == "__main__":
    main()
