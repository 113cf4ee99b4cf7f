"""Hetzner's metadata service: https://docs.hetzner.cloud/#server-metadata."""

from __future__ import annotations

import json

from localcloud.fabric.metadata.service import Answer, Request
from localcloud.spec import INTERNET, JSON, MachineSpec


def answer(spec: MachineSpec, request: Request) -> Answer:
    """The answer to a server."""
    if request.method != "GET":
        return Answer(405)
    if request.path == "/hetzner/v1/userdata":
        return Answer(200, spec.user_data) if spec.user_data else Answer(404)
    prefix = "/hetzner/v1/metadata"
    if not request.path.startswith(prefix):
        return Answer(404)
    public = next((card.public for card in spec.interfaces if card.public), None)
    told = spec.metadata
    private = [
        {"ip": card.address, "interface_num": index}
        for index, card in enumerate(spec.interfaces)
        if card.network != INTERNET
    ]
    data: dict[str, JSON] = {
        "availability-zone": str(told.get("zone", "")),
        "hostname": spec.hostname,
        "instance-id": spec.instance_id,
        "private-networks": json.dumps(private),
        "public-keys": json.dumps(list(spec.ssh_keys)),
        "region": str(told.get("region", "")),
        **({"public-ipv4": public} if public else {}),
    }
    name = request.path[len(prefix) :].strip("/")
    if not name:
        return Answer(200, "".join(f"{key}: {value}\n" for key, value in sorted(data.items())))
    return Answer(200, str(data[name])) if name in data else Answer(404)
