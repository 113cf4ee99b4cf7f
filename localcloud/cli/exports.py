"""What the stack exports, as files for the tools that use the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from localcloud.cloud import LocalCloudError, write_private

TOKEN_VARIABLE = "HYBRIDNET_JOIN_TOKEN"
"""The secret of the SkyServe service; docs/exports.md."""
_OWN = "outputs.json"


def files(outputs: Mapping[str, Any], secrets: Mapping[str, Any]) -> dict[str, str]:
    """Name -> text. ``outputs`` have their secrets masked, ``secrets`` are the same in plain text.

    Secrets are in no file but those that are for them: the private key of the machines, what SkyPilot is to be told
    besides the service, and what people and machines of external sites connect with.
    """
    found = {_OWN: json.dumps(outputs, indent=2, sort_keys=True) + "\n"}
    found |= {f"{name}.yaml": value for name, value in outputs.items() if isinstance(value, str) and "\n" in value}
    if secrets.get("ssh_private_key"):
        found["ssh_private_key"] = secrets["ssh_private_key"].rstrip("\n") + "\n"
    pools = cast("list[Mapping[str, str]]", outputs.get("pools") or [])
    external = next((pool["name"] for pool in pools if pool.get("kind") == "external"), None)
    if external is not None:
        found["skyserve_service.env"] = f"{TOKEN_VARIABLE}={secrets['join']['tokens'][external]}\n"
    if secrets.get("configurations"):
        found["configurations.json"] = json.dumps(secrets["configurations"], indent=2, sort_keys=True) + "\n"
    return found


def write(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write the files, for their owner alone; LocalCloudError before any, where one would replace somebody else's."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {folder / name: text for name, text in texts.items()}
    there = [path for path in paths if path.exists() or path.is_symlink()]
    if there and not _is_ours(folder):
        raise LocalCloudError(
            f"{there[0]} exists, and nothing says that this command wrote it: move it away or name another folder"
        )
    for path, text in paths.items():
        write_private(path, text)
    return list(paths)


def _is_ours(folder: Path) -> bool:
    """Whether this command has written the folder's files before: then there are the outputs of a stack."""
    try:
        document: object = json.loads((folder / _OWN).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and "schema_version" in document
