"""EC2's instance metadata service, version 2.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html, and on the same site:
instancedata-data-categories (paths), instance-identity-documents, verify-signature, rebalance-recommendations,
spot-instance-termination-notices. Of autoscaling/target-lifecycle-state:
https://docs.aws.amazon.com/autoscaling/ec2/userguide/retrieving-target-lifecycle-state-through-imds.html.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from localcloud.fabric.metadata.service import Answer, Request, mapping, walk
from localcloud.spec import JSON, MachineSpec

TOKEN_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"
MAX_TOKEN_SECONDS = 21600
_VERSION = re.compile(r"latest|\d{4}-\d{2}-\d{2}|1\.0")


class Signer(Protocol):
    """Signs identity documents."""

    def signature(self, document: bytes, /) -> str:
        """RSA PKCS #1 v1.5 with SHA-256, in base64."""
        ...


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


def answer(spec: MachineSpec, request: Request, tokens: Tokens, signer: Signer) -> Answer:
    """The answer to an instance."""
    imds = mapping(spec.metadata.get("imds"))
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
    tree = _tree(spec, signer if rest.startswith("dynamic") else None)
    return walk(tree, rest, lambda name, value: name + ("/" if isinstance(value, Mapping) else ""))


def _tree(spec: MachineSpec, signer: Signer | None) -> Mapping[str, JSON]:
    """Everything; without a signer the signature is empty, which takes no time."""
    told, card = spec.metadata, spec.interfaces[0]
    data: dict[str, JSON] = {
        "ami-id": str(told.get("image", "")),
        "hostname": spec.hostname,
        "instance-id": spec.instance_id,
        "instance-life-cycle": str(told.get("lifecycle", "on-demand")),
        "instance-type": str(told.get("instance_type", "")),
        "local-hostname": spec.hostname,
        "local-ipv4": card.address,
        "placement": {"availability-zone": str(told.get("zone", "")), "region": str(told.get("region", ""))},
        **_events(told),
    }
    if card.public:
        data["public-ipv4"] = card.public
    if spec.ssh_keys:
        data["public-keys"] = {str(index): {"openssh-key": key} for index, key in enumerate(spec.ssh_keys)}
    if mapping(told.get("imds")).get("instance_tags"):
        data["tags"] = {"instance": told.get("labels")}
    document = _identity_document(spec)
    signature = signer.signature(document.encode()) if signer else ""
    tree: dict[str, JSON] = {
        "dynamic": {"instance-identity": {"document": document, "signature": signature}},
        "meta-data": data,
    }
    return {**tree, "user-data": spec.user_data} if spec.user_data else tree


def _events(told: Mapping[str, JSON]) -> Mapping[str, JSON]:
    """What is there only while something is to be told."""
    found: dict[str, JSON] = {}
    if state := told.get("lifecycle_state"):
        found["autoscaling"] = {"target-lifecycle-state": state}
    if action := mapping(told.get("spot_action")):
        ends = {"termination-time": action["time"]} if action["action"] == "terminate" else {}
        found["spot"] = {"instance-action": json.dumps(action), **ends}
    if recommended := told.get("rebalance"):
        found["events"] = {"recommendations": {"rebalance": json.dumps({"noticeTime": recommended})}}
    return found


def _identity_document(spec: MachineSpec) -> str:
    """The instance identity document: these bytes are what is signed."""
    told = spec.metadata
    document: dict[str, JSON] = {
        "accountId": told.get("account"),
        "architecture": "x86_64",
        "availabilityZone": told.get("zone"),
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": told.get("image"),
        "instanceId": spec.instance_id,
        "instanceType": told.get("instance_type"),
        "kernelId": None,
        "pendingTime": told.get("created"),
        "privateIp": spec.interfaces[0].address,
        "ramdiskId": None,
        "region": told.get("region"),
        "version": "2017-09-30",
    }
    return json.dumps(document, indent=2, separators=(",", " : "))
