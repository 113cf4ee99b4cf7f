"""Prometheus' configuration for a stack: whom it scrapes, by which way it knows of them, and by which labels."""

from __future__ import annotations

import json
from typing import Any

import yaml

from components.outputs import StackOutputs
from overlay.model import CONTROL_PORT

JOB = "hybridnet"
"""The job that the rules know."""
RULES_FILE = "hybridnet-rules.yaml"
TARGETS_FILE = "hybridnet-targets.json"
"""Beside the configuration, as the rules are."""
CA_FILE = "/etc/hybridnet/ca.pem"
"""Where a machine of the stack has the stack's authority."""
DISCOVERIES = ("http", "file", "static")
_SECONDS = 15
"""Between two scrapes: the shortest `for` of the rules is four of them."""
_ALERTMANAGER = "127.0.0.1:9093"


def _restored(label: str) -> list[dict[str, Any]]:
    """A peer's ``label`` where its metric had it.

    Prometheus gives the target's own labels to every sample and moves those of the same name to ``exported_…``; the
    target's are kept where there is no other. With ``honor_labels`` a node could speak in another one's name.
    """
    moved = f"exported_{label}"
    return [
        {"source_labels": [moved], "regex": "(.+)", "target_label": label},
        {"regex": moved, "action": "labeldrop"},
    ]


def _discovery(outputs: StackOutputs, how: str, ca_file: str) -> dict[str, Any]:
    if how == "static":
        return {"static_configs": [dict(group) for group in outputs.prometheus_targets]}
    if how == "file":
        return {"file_sd_configs": [{"files": [TARGETS_FILE]}]}
    # Each gateway tells of everybody, so that one of them is enough. They themselves are known without: one that has
    # never answered is down, too, and of two targets with the same labels Prometheus takes one.
    return {
        "static_configs": [dict(group) for group in outputs.prometheus_targets if group["labels"]["role"] == "gateway"],
        "http_sd_configs": [
            {
                "url": f"https://{gateway.address}:{CONTROL_PORT}/v1/targets",
                "refresh_interval": "30s",
                "tls_config": {"ca_file": ca_file},
            }
            for gateway in outputs.gateways
        ],
    }


def prometheus_config(
    outputs: StackOutputs, how: str = DISCOVERIES[0], ca_file: str = CA_FILE, alertmanager: str | None = _ALERTMANAGER
) -> str:
    """The text of ``prometheus.yml``; ``how`` is one of :data:`DISCOVERIES`.

    Alerts go to ``alertmanager`` (host and port); with None they are seen in Prometheus alone.
    """
    alerting = {"alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}}
    document = {
        "global": {"scrape_interval": f"{_SECONDS}s", "evaluation_interval": f"{_SECONDS}s"},
        "rule_files": [RULES_FILE],
        **({} if alertmanager is None else alerting),
        "scrape_configs": [
            {
                "job_name": JOB,
                **_discovery(outputs, how, ca_file),
                "metric_relabel_configs": [*_restored("site"), *_restored("role")],
            }
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)


def file_targets(outputs: StackOutputs) -> str:
    """The text of ``file_sd``'s file: the declared nodes. Machines of pools are known to ``http_sd`` alone."""
    return json.dumps([dict(group) for group in outputs.prometheus_targets], indent=2) + "\n"
