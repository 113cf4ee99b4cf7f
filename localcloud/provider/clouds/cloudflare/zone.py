"""What belongs to a zone: DNS records, settings, and health checks of origins."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.clouds.cloudflare.common import (
    DNS_RECORD,
    HEALTHCHECK,
    ZONE_SETTING,
    CloudflareKind,
    one_of,
)
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check
from localcloud.provider.rules.cloudflare import (
    AUTOMATIC_TTL,
    HEALTHCHECK_METHODS,
    HEALTHCHECK_TYPES,
    HOSTNAME,
    NAME,
    PROXIED_TYPES,
    RECORD_TYPES,
    REGIONS,
    SWITCHES,
    TTL,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value

_ALIASED = ("A", "AAAA")


class DnsRecord(CloudflareKind):
    """The zone alone replaces it: terraform-provider-cloudflare, internal/services/dns_record/schema.go."""

    token = DNS_RECORD
    defaults: ClassVar[Mapping[str, Value]] = {"proxied": False}

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        kind, content = inputs.text("type"), inputs.text("content")
        one_of(check, "type", kind, RECORD_TYPES)
        self._check_content(check, kind, content)
        ttl, proxied = inputs.number("ttl"), inputs.flag("proxied")
        if ttl is not None and ttl != AUTOMATIC_TTL and not TTL[0] <= ttl <= TTL[1]:
            check.refuse("ttl", f"TTL must be {TTL[0]} to {TTL[1]} seconds, or {AUTOMATIC_TTL} for automatic (9021)")
        elif proxied and ttl is not None and ttl != AUTOMATIC_TTL:
            check.refuse("ttl", f"ttl must be set to {AUTOMATIC_TTL} when `proxied` is true")
        if proxied and kind is not None and kind not in PROXIED_TYPES:
            check.refuse("proxied", "This record type cannot be proxied (9004)")
        if not (check.same("name") and check.same("content") and check.same("type")):
            self._check_taken(check)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        proxiable = record.inputs.text("type") in PROXIED_TYPES
        return {**super().computed(record, world), "proxiable": proxiable, "meta": "{}"}

    @staticmethod
    def _check_content(check: Check, kind: str | None, content: str | None) -> None:
        versions = {"A": ipaddress.IPv4Address, "AAAA": ipaddress.IPv6Address}
        if kind not in versions or content is None:
            return
        try:
            versions[kind](content)
        except ValueError:
            code = "9005" if kind == "A" else "9006"
            version = "IPv4" if kind == "A" else "IPv6"
            check.refuse("content", f"Content for {kind} record must be a valid {version} address ({code})")

    @staticmethod
    def _check_taken(check: Check) -> None:
        """https://developers.cloudflare.com/dns/manage-dns-records/troubleshooting/records-with-same-name/"""
        name, kind, zone = (check.inputs.text(each) for each in ("name", "type", "zoneId"))
        for other in check.world.all(DNS_RECORD):
            if name is None or other.inputs.text("name") != name or other.inputs.text("zoneId") != zone:
                continue
            theirs = other.inputs.text("type")
            if theirs == kind and other.inputs.text("content") == check.inputs.text("content"):
                check.refuse("name", "An identical record already exists (81058)")
            elif kind == "CNAME" and theirs in (*_ALIASED, "CNAME"):
                check.refuse("name", "An A, AAAA, or CNAME record with that host already exists (81053)")
            elif kind in _ALIASED and theirs == "CNAME":
                check.refuse("name", "A CNAME record with that host already exists (81054)")


class Healthcheck(CloudflareKind):
    """The zone alone replaces it: terraform-provider-cloudflare, internal/services/healthcheck/schema.go."""

    token = HEALTHCHECK
    defaults: ClassVar[Mapping[str, Value]] = {
        "consecutiveFails": 1,
        "consecutiveSuccesses": 1,
        "interval": 60,
        "retries": 2,
        "suspended": False,
        "timeout": 5,
        "type": "HTTP",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        name, address = inputs.text("name"), inputs.text("address")
        if name is not None and not re.fullmatch(NAME, name):
            check.refuse("name", f'name "{name}" may hold only letters, digits, hyphens and underscores')
        if address is not None and not is_origin(address):
            check.refuse("address", f'"{address}" is neither a hostname nor an IP address')
        one_of(check, "type", inputs.text("type"), HEALTHCHECK_TYPES)
        for index, region in enumerate(inputs.texts("checkRegions")):
            one_of(check, f"checkRegions[{index}]", region, REGIONS)
        config = inputs.object("httpConfig")
        if config is not None:
            one_of(check, "httpConfig.method", config.text("method"), HEALTHCHECK_METHODS)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {**super().computed(record, world), "status": "unknown", "failureReason": ""}


class ZoneSetting(CloudflareKind):
    """Zone and name replace it: terraform-provider-cloudflare, internal/services/zone_setting/schema.go."""

    token = ZONE_SETTING
    replace = frozenset({"settingId"})

    def check(self, check: Check) -> None:
        super().check(check)
        setting = check.inputs.text("settingId")
        if setting is not None and setting not in SWITCHES:
            check.refuse("settingId", f"the local cloud does not know the setting {setting}; it has {list(SWITCHES)}")
        one_of(check, "value", check.inputs.text("value"), ("on", "off"))

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        id_ = f"{inputs.text('zoneId')}/{inputs.text('settingId')}"
        return world.put(Record(self.token, id_, inputs.values))

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {"editable": True}


def is_origin(text: str) -> bool:
    """Whether it is an address or the name of a host."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return re.fullmatch(HOSTNAME, text) is not None and not re.fullmatch(r"[\d.]+", text)
    return True


KINDS = (DnsRecord(), Healthcheck(), ZoneSetting())
