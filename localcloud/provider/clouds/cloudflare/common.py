"""Tokens, ids and places: what Cloudflare's kinds have in common."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import ClassVar, Literal

from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind
from localcloud.provider.rules.cloudflare import ID
from localcloud.provider.world import Record, World
from localcloud.wire import Value

DNS_RECORD = "cloudflare:index/dnsRecord:DnsRecord"
ORIGIN_CERTIFICATE = "cloudflare:index/originCaCertificate:OriginCaCertificate"
MONITOR = "cloudflare:index/loadBalancerMonitor:LoadBalancerMonitor"
POOL = "cloudflare:index/loadBalancerPool:LoadBalancerPool"
LOAD_BALANCER = "cloudflare:index/loadBalancer:LoadBalancer"
HEALTHCHECK = "cloudflare:index/healthcheck:Healthcheck"
ZONE_SETTING = "cloudflare:index/zoneSetting:ZoneSetting"

_CREATED = "2026-11-01T00:00:00Z"


def next_id(world: World) -> str:
    """Ids are 32 hexadecimal digits."""
    return hashlib.sha256(f"cloudflare {world.next('cloudflare')}".encode()).hexdigest()[:32]


def need(world: World, token: str, id_: str | None, what: str) -> None:
    """Raise CloudError unless there is a resource with that id; one that is not known yet is passed over."""
    if id_ is not None and world.get(token, id_) is None:
        raise CloudError(f"{what} {id_} not found (1001)")


def one_of(check: Check, path: str, value: str | None, allowed: Collection[str]) -> None:
    """Refuse a known value that is none of the allowed ones, whatever its case."""
    if value is not None and value.lower() not in {each.lower() for each in allowed}:
        listed = " ".join(f'"{each}"' for each in allowed)
        check.refuse(path, f'value must be one of: [{listed}], got: "{value}"')


class CloudflareKind(Kind):
    """A kind in a zone or an account, which alone replaces it unless it says more."""

    scope: ClassVar[Literal["zoneId", "accountId"]] = "zoneId"

    def check(self, check: Check) -> None:
        id_ = check.inputs.text(self.scope)
        if id_ is not None and not re.fullmatch(ID, id_):
            place = "zones" if self.scope == "zoneId" else "accounts"
            check.refuse(
                self.scope,
                f"Could not route to /{place}/{id_}, perhaps your object identifier is invalid? (7003): "
                "ids are 32 hexadecimal digits",
            )

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        return path == self.scope or super().replaces(path, old, new)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return world.put(Record(self.token, next_id(world), inputs.values))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"createdOn": _CREATED, "modifiedOn": _CREATED}
