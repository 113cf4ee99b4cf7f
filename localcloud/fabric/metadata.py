"""What 169.254.169.254 answers a machine: EC2's instance metadata (v2), Compute Engine's and Hetzner's.

Pure but for the session tokens. Shapes as the clouds document them:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html,
https://cloud.google.com/compute/docs/metadata/querying-metadata, https://docs.hetzner.cloud/#server-metadata.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from localcloud.spec import JSON, Interface, MachineSpec

TOKEN_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"
MAX_TOKEN_SECONDS = 21600
_VERSION = re.compile(r"latest|\d{4}-\d{2}-\d{2}|1\.0")


@dataclass(frozen=True)
class Request:
    """A request of a machine; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Answer:
    """What goes back. `hops` is how many hops it may take, as EC2 limits it for session tokens."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    hops: int | None = None


class Tokens:
    """EC2's session tokens, each good for one machine and its own time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def issue(self, machine_id: str, seconds: int) -> str:
        """A new token; forgotten ones of every machine go at the same time."""
        now = self._clock()
        self._until = {key: until for key, until in self._until.items() if until > now}
        token = secrets.token_urlsafe(40)
        self._until[machine_id, token] = now + seconds
        return token

    def accepts(self, machine_id: str, token: str) -> bool:
        """Whether the machine got this token and it still holds."""
        return self._until.get((machine_id, token), 0.0) > self._clock()


def answer(spec: MachineSpec, request: Request, tokens: Tokens) -> Answer:
    """The cloud's metadata service's answer to its machine `spec`."""
    if spec.cloud == "aws":
        return _aws(spec, request, tokens)
    if request.method != "GET":
        return Answer(405)
    return _gcp(spec, request) if spec.cloud == "gcp" else _hetzner(spec, request)


def _aws(spec: MachineSpec, request: Request, tokens: Tokens) -> Answer:
    imds = _mapping(spec.metadata.get("imds"))
    if imds.get("enabled", True) is False:
        return Answer(403)
    version, _, rest = request.path.strip("/").partition("/")
    if request.method == "PUT" and request.path == "/latest/api/token":
        if "x-forwarded-for" in request.headers:
            return Answer(403)
        ttl = request.headers.get(TOKEN_TTL, "")
        if not ttl.isdecimal() or not 1 <= int(ttl) <= MAX_TOKEN_SECONDS:
            return Answer(400)
        hops = cast("int", imds.get("hop_limit", 1))
        return Answer(200, tokens.issue(spec.id, int(ttl)), {TOKEN_TTL: ttl}, hops)
    if request.method != "GET":
        return Answer(405)
    token = request.headers.get(TOKEN)
    if (token is None and imds.get("tokens_required")) or (token is not None and not tokens.accepts(spec.id, token)):
        return Answer(401)
    if not version:
        return Answer(200, "1.0\nlatest")
    if not _VERSION.fullmatch(version):
        return Answer(404)
    return _walk(_aws_tree(spec), rest, lambda name, value: name + ("/" if isinstance(value, Mapping) else ""))


def _aws_tree(spec: MachineSpec) -> Mapping[str, JSON]:
    told, card = spec.metadata, spec.interfaces[0]
    zone, region = str(told.get("zone", "")), str(told.get("region", ""))
    identity = {
        "instanceId": spec.instance_id,
        "instanceType": told.get("instance_type"),
        "imageId": told.get("image"),
        "availabilityZone": zone,
        "region": region,
        "privateIp": card.address,
        "version": "2017-09-30",
    }
    data: dict[str, JSON] = {
        "ami-id": str(told.get("image", "")),
        "hostname": spec.hostname,
        "instance-id": spec.instance_id,
        "instance-type": str(told.get("instance_type", "")),
        "local-hostname": spec.hostname,
        "local-ipv4": card.address,
        "placement": {"availability-zone": zone, "region": region},
    }
    if card.public:
        data["public-ipv4"] = card.public
    if spec.ssh_keys:
        data["public-keys"] = {str(index): {"openssh-key": key} for index, key in enumerate(spec.ssh_keys)}
    if _mapping(told.get("imds")).get("instance_tags"):
        data["tags"] = {"instance": told.get("labels")}
    tree: dict[str, JSON] = {
        "dynamic": {"instance-identity": {"document": json.dumps(identity, indent=2)}},
        "meta-data": data,
    }
    return {**tree, "user-data": spec.user_data} if spec.user_data else tree


def _gcp(spec: MachineSpec, request: Request) -> Answer:
    own = {"Metadata-Flavor": "Google"}
    if request.path == "/":
        return Answer(200, "computeMetadata/\n", own)
    if request.headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in request.headers:
        return Answer(403, "Missing Metadata-Flavor:Google header.\n", own)
    prefix = "/computeMetadata/v1"
    if not request.path.startswith(prefix):
        return Answer(404, headers=own)
    path = request.path[len(prefix) :]
    tree = _gcp_tree(spec)
    if request.query.get("recursive", "").lower() == "true":
        found = _find(tree, path)
        if found is None:
            return Answer(404, headers=own)
        kind = {**own, "Content-Type": "application/json"}
        return Answer(200, json.dumps(_camel(found, keep="attributes" in path.split("/"))), kind)
    listed = _walk(tree, path, lambda name, value: name + ("/" if isinstance(value, Mapping | list) else ""))
    return Answer(listed.status, listed.body, own)


def _gcp_tree(spec: MachineSpec) -> Mapping[str, JSON]:
    told = spec.metadata
    project = str(told.get("project", ""))
    keys = "\n".join(f"ubuntu:{key}" for key in spec.ssh_keys)
    cards: list[JSON] = [_gcp_card(card) for card in spec.interfaces]
    return {
        "instance": {
            "attributes": {
                **({"user-data": spec.user_data} if spec.user_data else {}),
                **({"ssh-keys": keys} if keys else {}),
            },
            "hostname": spec.hostname,
            "id": spec.instance_id,
            "image": str(told.get("image", "")),
            "machine-type": f"projects/{project}/machineTypes/{told.get('instance_type', '')}",
            "name": spec.hostname.partition(".")[0],
            "network-interfaces": cards,
            "preempted": "FALSE",
            "zone": f"projects/{project}/zones/{told.get('zone', '')}",
        },
        "project": {"attributes": {}, "project-id": project},
    }


def _gcp_card(card: Interface) -> Mapping[str, JSON]:
    configs: list[JSON] = [{"external-ip": card.public, "type": "ONE_TO_ONE_NAT"}] if card.public else []
    return {"access-configs": configs, "ip": card.address, "mtu": str(card.mtu)}


def _hetzner(spec: MachineSpec, request: Request) -> Answer:
    if request.path == "/hetzner/v1/userdata":
        return Answer(200, spec.user_data) if spec.user_data else Answer(404)
    prefix = "/hetzner/v1/metadata"
    if not request.path.startswith(prefix):
        return Answer(404)
    public = next((card.public for card in spec.interfaces if card.public), None)
    told = spec.metadata
    private = [
        {"ip": card.address, "interface_num": index} for index, card in enumerate(spec.interfaces) if not card.public
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


def _find(tree: JSON, path: str) -> JSON:
    for part in filter(None, path.split("/")):
        if isinstance(tree, Mapping) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return tree


def _walk(tree: JSON, path: str, entry: Callable[[str, JSON], str]) -> Answer:
    """The value at `path`, or the list of what is below it."""
    found = _find(tree, path)
    if found is None:
        return Answer(404)
    if isinstance(found, Mapping):
        return Answer(200, "\n".join(entry(name, value) for name, value in sorted(found.items())))
    if isinstance(found, list):
        return Answer(200, "\n".join(entry(str(index), value) for index, value in enumerate(found)))
    return Answer(200, str(found))


def _camel(value: JSON, *, keep: bool) -> JSON:
    """Recursive answers name things in camelCase; the attributes keep the names that users gave them."""
    if isinstance(value, Mapping):
        names = {name: name if keep else re.sub(r"-(\w)", lambda match: match[1].upper(), name) for name in value}
        return {names[name]: _camel(inner, keep=keep or name == "attributes") for name, inner in value.items()}
    if isinstance(value, list):
        return [_camel(inner, keep=keep) for inner in value]
    return value


def _mapping(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, Mapping) else {}
