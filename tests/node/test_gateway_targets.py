"""What the gateway tells Prometheus' ``http_sd``: whom to scrape, and who may ask."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from node.gateway.plain import serve_plainly
from node.gateway.targets import Targets
from overlay.model import Node, Site
from tests.node.gateways import Trio
from tests.node.pools import GATEWAY_ADDRESS, PUBLIC_ADDRESS, Member, PoolGateway, pool, pool_roster
from tests.node.real_nginx import free_port
from tests.node.support import Stack, key

Groups = list[dict[str, Any]]


async def asked(gateway: PoolGateway, source: str, address: str = GATEWAY_ADDRESS) -> tuple[int, str, Any]:
    """Status, content type and document of ``GET /v1/targets``."""
    tls = ssl.create_default_context(cadata=gateway.stack.ca_pem)
    connector = aiohttp.TCPConnector(ssl=tls, local_addr=(source, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"https://{address}:{gateway.port}/v1/targets") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], json.loads(await answer.read())


def names(groups: Groups) -> dict[str, str]:
    """Role by the name of the node."""
    return {group["labels"]["node"]: group["labels"]["role"] for group in groups}


async def test_every_declared_node_and_every_machine_with_a_lease_is_a_target(gateway: PoolGateway) -> None:
    member = Member("i-1")
    assert (await gateway.join(member))[0] == 201
    status, content_type, groups = await asked(gateway, "127.0.1.1")
    # Prometheus takes no other type, and no other charset.
    assert (status, content_type) == (200, "application/json; charset=utf-8")
    assert member.answer
    of_aws = {"site": "aws", "cloud": "aws"}
    assert groups == [
        {"targets": [f"{GATEWAY_ADDRESS}:9586"], "labels": {"node": "gw", "role": "gateway", **of_aws}},
        {"targets": ["127.0.1.1:9586"], "labels": {"node": "spoke-1", "role": "spoke", **of_aws}},
        {"targets": [f"{member.address}:9586"], "labels": {"node": member.answer.name, "role": "pool", **of_aws}},
    ]
    await gateway.tell(member, "DELETE")
    await gateway.until(lambda: member.public_key not in gateway.peers(), "the end of the lease")
    assert names((await asked(gateway, "127.0.1.1"))[2]) == {"gw": "gateway", "spoke-1": "spoke"}


async def test_laptops_are_no_targets(gateway: PoolGateway) -> None:
    made = pool_roster(2)
    laptop = Node("laptop-1", "home", IPv4Address("127.0.9.1"), "spoke", key("laptop-1"))
    home = Site("home", "external", IPv4Network("127.0.9.0/24"), "external")
    network = replace(made.network, sites=(*made.network.sites, home))
    await gateway.push(replace(made, nodes=(*made.nodes, laptop), network=network))
    assert names((await asked(gateway, "127.0.1.1"))[2]) == {"gw": "gateway", "spoke-1": "spoke"}


async def test_before_the_first_roster_there_is_nobody(trio: Trio) -> None:
    fresh = trio.made("a")
    fresh.network.rosters.kept = None
    assert Targets(fresh.network, lambda _: True).groups() == []


@pytest.fixture
def trio(tmp_path: Path, stack: Stack) -> Iterator[Trio]:
    made = Trio(tmp_path, stack)
    yield made
    made.close()


def test_machines_that_joined_at_another_gateway_are_targets_too(trio: Trio) -> None:
    lease = trio.gateways["gw-b"].join(1)
    trio.exchange()
    told = {name: Targets(gateway.network, lambda _: True).groups() for name, gateway in trio.gateways.items()}
    for groups in told.values():
        found = {group["labels"]["node"]: group for group in groups}
        assert found.keys() == {"gw-a", "gw-b", "gw-c", "a-1", "b-1", "c-1", lease.name}
        assert found[lease.name]["targets"] == [f"{lease.address}:9586"]
        assert found[lease.name]["labels"]["role"] == "pool"


async def test_who_did_not_come_by_the_tunnel_is_told_nothing(gateway: PoolGateway) -> None:
    status, _, document = await asked(gateway, "127.9.9.9", PUBLIC_ADDRESS)
    assert (status, document["reason"]) == (403, "only over the overlay")


async def test_where_there_are_groups_only_administrators_are_told(gateway: PoolGateway) -> None:
    made = pool_roster(2, spokes=2)
    nodes = tuple(
        node if node.role == "gateway" else replace(node, group="people" if node.name == "spoke-1" else "workers")
        for node in made.nodes
    )
    pools = tuple(replace(each, group="workers") for each in (pool(), pool("other")))
    groups = {"people": ("all",), "workers": ("workers", "loadbalancer")}
    await gateway.push(replace(made, nodes=nodes, pools=pools, network=replace(made.network, groups=groups)))
    assert (await asked(gateway, "127.0.1.1"))[0] == 200
    status, _, document = await asked(gateway, "127.0.1.2")
    assert (status, document["reason"]) == (403, "only for members of a group that reaches all")
    assert (await asked(gateway, GATEWAY_ADDRESS))[0] == 200, "the gateway itself"


async def test_the_plain_port_tells_the_same(gateway: PoolGateway) -> None:
    port = free_port()
    routes = gateway.service.targets.routes("/targets", lambda _: True)
    running = asyncio.create_task(serve_plainly(routes, IPv4Address(GATEWAY_ADDRESS), port))
    connector = aiohttp.TCPConnector(local_addr=("127.0.1.1", 0))
    found: Groups | None = None
    end = time.monotonic() + 60
    async with aiohttp.ClientSession(connector=connector) as session:
        while time.monotonic() < end:
            try:
                async with session.get(f"http://{GATEWAY_ADDRESS}:{port}/targets") as answer:
                    found = await answer.json()
                    break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert found == (await asked(gateway, "127.0.1.1"))[2] != []
