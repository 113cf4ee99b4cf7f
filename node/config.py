"""Where things are on a machine, and who it is: what first boot wrote."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

SCHEMA_VERSION = 1


class ConfigError(ValueError):
    """First boot's configuration cannot be used; the message names the file and the way out."""


@dataclass(frozen=True)
class Membership:
    """What a pool's machine joins with: its ``cloud`` and the gateway's WireGuard key.

    ``cloud`` is aws, gcp, hetzner, or external where nobody knows it.
    """

    cloud: str
    gateway_public_key: str


@dataclass(frozen=True)
class Config:
    """This machine.

    ``name`` is its node's, or its pool's. ``control`` is the gateway's control plane as (address, TCP port), on the
    overlay or, for a pool's machine, on the internet; ``signing_public_key`` is the base64 of the stack's raw ED25519
    key; ``state`` and ``files`` are the folders of state and of first boot's files.
    """

    role: str
    name: str
    control: tuple[IPv4Address, int]
    signing_public_key: str
    state: Path
    files: Path
    membership: Membership | None = None


def _membership(document: dict[str, Any]) -> Membership | None:
    if document["role"] != "pool":
        return None
    return Membership(str(document["cloud"]), str(document["gateway_public_key"]))


def load() -> Config:
    """The configuration of this machine; its folders are those that systemd names, or the usual ones."""
    files = Path(os.environ.get("CONFIGURATION_DIRECTORY", "/etc/hybridnet"))
    state = Path(os.environ.get("STATE_DIRECTORY", "/var/lib/hybridnet"))
    path = files / "config.json"
    try:
        document = cast("dict[str, Any]", json.loads(path.read_text()))
        if document["schema_version"] != SCHEMA_VERSION:
            raise ConfigError(f"{path}: version {document['schema_version']} is not {SCHEMA_VERSION}")
        host, _, port = str(document["control"]).rpartition(":")
        return Config(
            str(document["role"]),
            str(document["name"]),
            (IPv4Address(host), int(port)),
            str(document["signing_public_key"]),
            state,
            files,
            _membership(document),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be used ({error}); make this machine anew: raise its `revision`") from error
