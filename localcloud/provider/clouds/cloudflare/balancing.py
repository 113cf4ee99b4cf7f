"""Load balancing over origins: monitors, pools of origins, and the load balancers of a zone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from localcloud.provider.clouds.cloudflare.common import (
    LOAD_BALANCER,
    MONITOR,
    POOL,
    CloudflareKind,
    need,
    one_of,
)
from localcloud.provider.clouds.cloudflare.zone import is_origin
from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError
from localcloud.provider.rules.cloudflare import (
    AFFINITIES,
    HOSTNAME,
    MONITOR_TYPES,
    NAME,
    ORIGIN_STEERING,
    REGIONS,
    STEERING,
)
from localcloud.provider.world import Record, World
from localcloud.wire import Value


class LoadBalancerMonitor(CloudflareKind):
    """The account alone replaces it: terraform-provider-cloudflare,
    internal/services/load_balancer_monitor/schema.go."""

    token = MONITOR
    scope = "accountId"
    defaults: ClassVar[Mapping[str, Value]] = {
        "allowInsecure": False,
        "consecutiveDown": 0,
        "consecutiveUp": 0,
        "expectedCodes": "200",
        "followRedirects": False,
        "interval": 60,
        "method": "GET",
        "path": "/",
        "port": 0,
        "retries": 2,
        "timeout": 5,
        "type": "http",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        one_of(check, "type", check.inputs.text("type"), MONITOR_TYPES)
        path, port = check.inputs.text("path"), check.inputs.number("port")
        if path is not None and not path.startswith("/"):
            check.refuse("path", f'path "{path}" must begin with / (1002)')
        if port is not None and not 0 <= port <= 65535:
            check.refuse("port", f"port {port} must be 0 to 65535 (1002)")

    def delete(self, record: Record, world: World) -> None:
        _refuse_in_use(
            record, "monitor", (pool for pool in world.all(POOL) if pool.inputs.text("monitor") == record.id)
        )
        world.remove(record)


class LoadBalancerPool(CloudflareKind):
    """The account alone replaces it: terraform-provider-cloudflare, internal/services/load_balancer_pool/schema.go."""

    token = POOL
    scope = "accountId"
    defaults: ClassVar[Mapping[str, Value]] = {"enabled": True, "minimumOrigins": 1}

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        name = inputs.text("name")
        if name is not None and not re.fullmatch(NAME, name):
            check.refuse("name", f'name "{name}" may hold only letters, digits, hyphens and underscores (1002)')
        if inputs.values.get("origins") == []:
            check.refuse("origins", "a pool needs at least one origin (1002)")
        for index, origin in enumerate(inputs.objects("origins")):
            at = f"origins[{index}]"
            address, weight = origin.text("address"), origin.values.get("weight")
            if address is not None and not is_origin(address):
                check.refuse(f"{at}.address", f'"{address}" is neither a hostname nor an IP address (1002)')
            if isinstance(weight, (int, float)) and not 0 <= weight <= 1:
                check.refuse(f"{at}.weight", f"value must be between 0 and 1, got: {weight}")
        for index, region in enumerate(inputs.texts("checkRegions")):
            one_of(check, f"checkRegions[{index}]", region, REGIONS)
        steering = inputs.object("originSteering")
        if steering is not None:
            one_of(check, "originSteering.policy", steering.text("policy"), ORIGIN_STEERING)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        need(world, MONITOR, inputs.text("monitor"), "monitor")
        return super().create(inputs, world, config)

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        need(world, MONITOR, inputs.text("monitor"), "monitor")
        return super().update(record, inputs, world, config)

    def delete(self, record: Record, world: World) -> None:
        _refuse_in_use(record, "pool", (one for one in world.all(LOAD_BALANCER) if record.id in _pools_of(one.inputs)))
        world.remove(record)


class LoadBalancer(CloudflareKind):
    """The zone alone replaces it: terraform-provider-cloudflare, internal/services/load_balancer/schema.go."""

    token = LOAD_BALANCER
    defaults: ClassVar[Mapping[str, Value]] = {
        "enabled": True,
        "proxied": False,
        "sessionAffinity": "",
        "steeringPolicy": "",
    }

    def check(self, check: Check) -> None:
        super().check(check)
        inputs = check.inputs
        name = inputs.text("name")
        if name is not None and not re.fullmatch(HOSTNAME, name):
            check.refuse("name", f'"{name}" is not a fully qualified name of the zone (1002)')
        elif name is not None and not check.same("name") and self._named(check, name):
            check.refuse("name", f'a load balancer for "{name}" already exists in the zone (1002)')
        if inputs.values.get("defaultPools") == []:
            check.refuse("defaultPools", "at least one pool is needed (1002)")
        one_of(check, "steeringPolicy", inputs.text("steeringPolicy") or None, STEERING)
        one_of(check, "sessionAffinity", inputs.text("sessionAffinity") or None, AFFINITIES)
        if inputs.flag("proxied") and inputs.given("ttl"):
            check.refuse("ttl", "ttl only applies to load balancers that are not proxied")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        self._need_pools(inputs, world)
        return super().create(inputs, world, config)

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        self._need_pools(inputs, world)
        return super().update(record, inputs, world, config)

    @staticmethod
    def _need_pools(inputs: Inputs, world: World) -> None:
        for pool in _pools_of(inputs):
            need(world, POOL, pool, "pool")

    def _named(self, check: Check, name: str) -> bool:
        return check.world.find(self.token, "name", name, zoneId=check.inputs.text("zoneId")) is not None


def _pools_of(inputs: Inputs) -> list[str]:
    fallback = inputs.text("fallbackPool")
    return [*inputs.texts("defaultPools"), *([] if fallback is None else [fallback])]


def _refuse_in_use(record: Record, what: str, users: Iterator[Record]) -> None:
    if found := [user.id for user in users]:
        raise CloudError(f"{what} {record.id} is in use by {', '.join(found)} (1005)")


KINDS = (LoadBalancerMonitor(), LoadBalancerPool(), LoadBalancer())
