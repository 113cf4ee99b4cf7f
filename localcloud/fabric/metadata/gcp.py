"""Compute Engine's metadata server.

https://cloud.google.com/compute/docs/metadata/querying-metadata and predefined-metadata-keys; identity tokens:
https://cloud.google.com/compute/docs/instances/verifying-instance-identity.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from localcloud.fabric.metadata.service import Answer, Request, find, walk
from localcloud.spec import JSON, Interface, MachineSpec

ISSUER = "https://accounts.google.com"
TOKEN_SECONDS = 3600
_OWN = {"Metadata-Flavor": "Google"}
_PREFIX = "/computeMetadata/v1"
_ACCOUNT = re.compile(r"/instance/service-accounts/(?P<name>[^/]+)/identity")


class Signer(Protocol):
    """Signs identity tokens."""

    def token(self, claims: Mapping[str, JSON], /) -> str:
        """A JSON Web Token with these claims."""
        ...


def answer(spec: MachineSpec, request: Request, signer: Signer, now: float) -> Answer:
    """The answer to an instance. `now` is Unix time."""
    if request.method != "GET":
        return Answer(405)
    if request.path == "/":
        return Answer(200, "computeMetadata/\n", _OWN)
    if request.headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in request.headers:
        return Answer(403, "Missing Metadata-Flavor:Google header.\n", _OWN)
    if not request.path.startswith(_PREFIX):
        return Answer(404, headers=_OWN)
    path = request.path[len(_PREFIX) :]
    tree = _tree(spec)
    if match := _ACCOUNT.fullmatch(path.rstrip("/")):
        known = find(tree, f"instance/service-accounts/{match['name']}") is not None
        return _identity(spec, request.query, signer, now) if known else Answer(404, headers=_OWN)
    if request.query.get("recursive", "").lower() == "true":
        found = find(tree, path)
        if found is None:
            return Answer(404, headers=_OWN)
        kind = {**_OWN, "Content-Type": "application/json"}
        return Answer(200, json.dumps(_camel(found, keep="attributes" in path.split("/"))), kind)
    listed = walk(tree, path, lambda name, value: name + ("/" if isinstance(value, Mapping | list) else ""))
    return Answer(listed.status, listed.body, _OWN)


def _identity(spec: MachineSpec, query: Mapping[str, str], signer: Signer, now: float) -> Answer:
    if not query.get("audience"):
        return Answer(400, "non-empty audience parameter required\n", _OWN)
    if query.get("format", "standard") not in ("standard", "full"):
        return Answer(400, headers=_OWN)
    told = spec.metadata
    email = str(told["service_account"])
    subject = str(int(hashlib.sha256(email.encode()).hexdigest(), 16))[:21]
    claims: dict[str, JSON] = {
        "aud": query["audience"],
        "azp": subject,
        "exp": int(now) + TOKEN_SECONDS,
        "iat": int(now),
        "iss": ISSUER,
        "sub": subject,
    }
    if query.get("format") == "full":
        created = datetime.fromisoformat(str(told["created"]))
        engine: dict[str, JSON] = {
            "instance_creation_timestamp": int(created.timestamp()),
            "instance_id": spec.instance_id,
            "instance_name": _name(spec),
            "project_id": told.get("project"),
            "project_number": int(str(told["project_number"])),
            "zone": told.get("zone"),
        }
        claims |= {"email": email, "email_verified": True, "google": {"compute_engine": engine}}
    return Answer(200, signer.token(claims), _OWN)


def _tree(spec: MachineSpec) -> Mapping[str, JSON]:
    told = spec.metadata
    number = told.get("project_number", "")
    keys = "\n".join(f"ubuntu:{key}" for key in spec.ssh_keys)
    cards: list[JSON] = [_card(card) for card in spec.interfaces]
    return {
        "instance": {
            "attributes": {
                **({"user-data": spec.user_data} if spec.user_data else {}),
                **({"ssh-keys": keys} if keys else {}),
            },
            "hostname": spec.hostname,
            "id": spec.instance_id,
            "image": str(told.get("image", "")),
            "machine-type": f"projects/{number}/machineTypes/{told.get('instance_type', '')}",
            "maintenance-event": "NONE",
            "name": _name(spec),
            "network-interfaces": cards,
            "preempted": _flag(told.get("preempted") is True),
            "scheduling": {"preemptible": _flag(told.get("preemptible") is True)},
            "service-accounts": _accounts(told.get("service_account")),
            "zone": f"projects/{number}/zones/{told.get('zone', '')}",
        },
        "project": {"attributes": {}, "numeric-project-id": str(number), "project-id": str(told.get("project", ""))},
    }


def _accounts(email: JSON) -> Mapping[str, JSON]:
    if not email:
        return {}
    account: dict[str, JSON] = {"aliases": "default", "email": email}
    return {"default": account, str(email): account}


def _name(spec: MachineSpec) -> str:
    return str(spec.metadata.get("name") or spec.hostname.partition(".")[0])


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _card(card: Interface) -> Mapping[str, JSON]:
    configs: list[JSON] = [{"external-ip": card.public, "type": "ONE_TO_ONE_NAT"}] if card.public else []
    return {"access-configs": configs, "ip": card.address, "mtu": str(card.mtu)}


def _camel(value: JSON, *, keep: bool) -> JSON:
    """Recursive answers name things in camelCase; the attributes keep the names that users gave them."""
    if isinstance(value, Mapping):
        names = {name: name if keep else re.sub(r"-(\w)", lambda match: match[1].upper(), name) for name in value}
        return {names[name]: _camel(inner, keep=keep or name == "attributes") for name, inner in value.items()}
    if isinstance(value, list):
        return [_camel(inner, keep=keep) for inner in value]
    return value
