"""``POST /v1/network`` and who is answered: over the overlay by address, from the internet by key."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from node import joining
from node.gateway import network_api
from node.gateway.lease import Refusal
from node.network_document import (
    NetworkDocument,
    Own,
    Packed,
    Request,
    SignedRoster,
    document_body,
    parse_document,
    request_body,
    roster_digest,
)
from node.network_words import Report
from overlay.roster import canonical
from tests.node.pools import GATEWAY_KEYS, PUBLIC_ADDRESS, STRANGER, Member, PoolGateway, key_pair, pool_roster
from tests.node.support import GATEWAY_ADDRESS
from tests.node.test_gateway_refusals import told_raw

SPOKE, SPOKE_KEYS = "127.0.1.1", key_pair()


@pytest.fixture
async def place(gateway: PoolGateway) -> PoolGateway:
    """The gateway, with a declared spoke whose key the tests have."""
    made = pool_roster(2)
    spoke = replace(made.node("spoke-1"), public_key=SPOKE_KEYS[1])
    await gateway.push(replace(made, nodes=(made.nodes[0], spoke)))
    return gateway


async def ask(
    place: PoolGateway, request: Request, source: str = SPOKE, address: str = GATEWAY_ADDRESS, **headers: str
) -> tuple[int, dict[str, Any]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await place.ask("POST", "/v1/network", request_body(request), named, address, source)


async def told(place: PoolGateway, request: Request, source: str = SPOKE) -> NetworkDocument:
    status, found = await ask(place, request, source)
    assert status == 200, found
    return parse_document(json.dumps(found).encode())


def possession(request: Request, keys: tuple[str, str] = SPOKE_KEYS, gateway: str = GATEWAY_KEYS[1]) -> dict[str, str]:
    return {joining.POSSESSION: joining.possession(keys[0], gateway, request_body(request))}


async def test_a_spoke_is_told_everything_over_the_overlay_and_the_roster_once(place: PoolGateway) -> None:
    member = Member("i-1")
    await place.join(member)
    document = await told(place, Request("spoke-1"))
    kept = place.network.rosters.kept
    assert kept
    assert document.roster == SignedRoster(kept.body, kept.signature)
    assert document.roster_sha256 == roster_digest(kept.body)
    assert [(each.name, str(each.address), each.public_key) for each in document.members] == [
        (member.answer.name if member.answer else "", member.address, member.public_key)
    ]
    again = await told(place, Request("spoke-1", document.roster_sha256))
    assert again == replace(document, roster=None)


@pytest.mark.usefixtures("still")
async def test_a_spoke_gets_its_first_release_on_the_internet_if_it_shows_its_key(place: PoolGateway) -> None:
    async def ask(name: str, proof: str | None, keys: tuple[str, str] = SPOKE_KEYS) -> int:
        claim = joining.possession(keys[0], GATEWAY_KEYS[1], b"") if proof is None else proof
        headers = {"X-Hybridnet-Name": name, joining.POSSESSION: claim}
        tls = ssl.create_default_context(cadata=place.stack.ca_pem)
        url = f"https://{PUBLIC_ADDRESS}:{place.port}/v1/release"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=tls) as answer:
            body = await answer.read()
            assert (answer.status == 200) == (body == place.service.offers.archive()[0])
            return answer.status

    assert await ask("spoke-1", None) == 200
    other = joining.possession(SPOKE_KEYS[0], GATEWAY_KEYS[1], b"another body")
    for name, proof in (("spoke-2", None), ("gw", None), ("", None), ("spoke-1", other), ("spoke-1", "no base64")):
        assert await ask(name, proof) == 403, name
    assert await ask("gw", None, GATEWAY_KEYS) == 403
    assert place.audit()[-1]["path"] == "/v1/release"
    while await ask("spoke-1", other) == 403:
        pass
    assert await ask("spoke-1", other) == 429


async def test_a_machine_of_a_pool_is_told_too_until_it_has_left(place: PoolGateway) -> None:
    member = Member("i-1")
    await place.join(member)
    assert member.answer
    assert (await told(place, Request(member.answer.name), member.address)).members
    await place.tell(member, "DELETE")
    await place.until(lambda: not place.live(), "the end of the lease")
    assert (await ask(place, Request(member.answer.name), member.address))[0] == 403


async def test_nobody_is_told_anything_in_anothers_name(place: PoolGateway) -> None:
    member = Member("i-1")
    await place.join(member)
    assert (await ask(place, Request("spoke-1"), member.address))[0] == 403
    assert (await ask(place, Request("spoke-1"), "127.0.1.77"))[0] == 403
    assert (await ask(place, Request("gw"), member.address))[0] == 403


async def test_from_the_internet_only_the_holder_of_a_declared_nodes_key_is_answered(place: PoolGateway) -> None:
    member, request = Member("i-1"), Request("spoke-1", report=Report("spoke-1", 7, "gw"))
    await place.join(member)
    assert member.answer

    async def asked(wish: Request, **headers: str) -> tuple[int, dict[str, Any]]:
        return await place.ask("POST", "/v1/network", request_body(wish), headers, PUBLIC_ADDRESS)

    # An overlay address as source is worth nothing where anybody can write one.
    assert (await ask(place, request, SPOKE, PUBLIC_ADDRESS))[0] == 403
    assert (await asked(request))[0] == 403
    assert (await asked(request, **possession(request, key_pair())))[0] == 403
    assert (await asked(request, **possession(replace(request, roster="0" * 64))))[0] == 403, "another body's proof"
    own = Request(member.answer.name)
    assert (await asked(own, **possession(own, member.keys)))[0] == 403, "machines of pools join again"
    assert (await asked(Request("nobody"), **possession(Request("nobody"))))[0] == 403
    status, found = await asked(request, **possession(request))
    assert (status, found["known"]) == (200, 7)


async def test_an_older_report_that_is_sent_again_changes_nothing(place: PoolGateway) -> None:
    old = Request("spoke-1", report=Report("spoke-1", 5, "gw", ("x",)))
    new = Request("spoke-1", report=Report("spoke-1", 6, "gw", ("y",)))
    for request, known in ((old, 5), (new, 6), (old, 6)):
        body = request_body(request)
        status, found = await place.ask("POST", "/v1/network", body, possession(request), PUBLIC_ADDRESS)
        assert (status, found["known"]) == (200, known)
    assert place.network.reports.of("spoke-1") == new.report


async def test_a_gateway_is_no_node_that_asks_not_even_with_its_key(place: PoolGateway) -> None:
    request = Request("gw")
    assert (await ask(place, request, GATEWAY_ADDRESS))[0] == 403
    claim = possession(request, GATEWAY_KEYS)
    assert (await place.ask("POST", "/v1/network", request_body(request), claim, PUBLIC_ADDRESS))[0] == 403


async def test_a_header_that_is_no_text_is_refused(place: PoolGateway) -> None:
    body = request_body(Request("spoke-1"))
    head = ["POST /v1/network HTTP/1.1", "Host: gw", f"{joining.POSSESSION}: \xff", f"Content-Length: {len(body)}"]
    assert await told_raw(place, "\r\n".join([*head, "", ""]).encode("latin-1") + body) == 403


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"schema_version": 3}', b"\xff" * 100, b'{"schema_version": 1}'])
async def test_what_is_no_request_is_refused(place: PoolGateway, body: bytes) -> None:
    assert (await place.ask("POST", "/v1/network", body, {}, GATEWAY_ADDRESS, SPOKE))[0] == 400
    headers = {joining.POSSESSION: "eA=="}
    assert (await place.ask("POST", "/v1/network", body, headers, PUBLIC_ADDRESS))[0] == 400


@pytest.mark.usefixtures("still")
async def test_a_stranger_who_fails_too_often_is_told_to_wait_and_harms_nobody_behind_the_same_address(
    place: PoolGateway,
) -> None:
    wrong, right = Request("spoke-1", roster="1" * 64), Request("spoke-1")
    body = request_body(wrong)
    found = [
        await place.ask("POST", "/v1/network", body, {joining.POSSESSION: "eA=="}, PUBLIC_ADDRESS) for _ in range(80)
    ]
    statuses = [status for status, _ in found]
    assert set(statuses) == {403, 429}
    assert statuses[0] == 403
    assert statuses[-1] == 429
    assert found[-1][1]["retry_after"] >= 1
    answer = await place.ask("POST", "/v1/network", request_body(right), possession(right), PUBLIC_ADDRESS)
    assert answer[0] == 200


async def test_a_body_has_a_bound(place: PoolGateway) -> None:
    body = b" " * (network_api.STRANGERS_LIMIT + 1)
    assert (await place.ask("POST", "/v1/network", body, {joining.POSSESSION: "eA=="}, PUBLIC_ADDRESS))[0] == 413


async def test_a_node_that_asks_all_the_time_is_told_to_wait(place: PoolGateway) -> None:
    found = await asyncio.gather(*(ask(place, Request("spoke-1")) for _ in range(60)))
    statuses = [status for status, _ in found]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 20


async def test_a_report_has_no_more_links_than_there_are_nodes_and_no_longer_names(place: PoolGateway) -> None:
    """Each is kept and told by every gateway."""
    many = Report("spoke-1", 5, "gw", tuple(map(str, range(100))))
    assert (await told(place, Request("spoke-1", report=many))).known == 0
    few = replace(many, links=("1" * 128,))
    assert (await told(place, Request("spoke-1", report=few))).known == 5
    for wrong in (replace(many, links=("1" * 129,)), replace(many, links=(), gateway="g" * 129)):
        assert (await ask(place, Request("spoke-1", report=wrong)))[0] == 400


async def test_what_is_no_request_counts_as_asking(place: PoolGateway) -> None:
    asked = (place.ask("POST", "/v1/network", b"{", {}, GATEWAY_ADDRESS, SPOKE) for _ in range(60))
    assert {status for status, _ in await asyncio.gather(*asked)} == {400, 429}


async def test_what_a_machine_was_told_is_forgotten_when_it_is_gone(place: PoolGateway) -> None:
    member = Member("i-1")
    await place.join(member)
    assert member.answer
    await told(place, Request("spoke-1"))
    await told(place, Request(member.answer.name), member.address)
    directory = place.service.directory
    assert set(directory.told) == {"spoke-1", member.answer.name}
    await place.tell(member, "DELETE")
    await place.until(lambda: set(directory.told) == {"spoke-1"}, "the end of what it was told")


async def test_no_gateway_is_told_what_it_is_not_to_know(place: PoolGateway) -> None:
    for source, address in ((SPOKE, GATEWAY_ADDRESS), (STRANGER, PUBLIC_ADDRESS), (GATEWAY_ADDRESS, GATEWAY_ADDRESS)):
        assert (await place.ask("GET", "/v1/neighbour", b"", {}, address, source))[0] == 403


async def test_without_a_roster_there_is_nothing_to_tell(place: PoolGateway) -> None:
    place.network.rosters.kept = None
    with pytest.raises(Refusal) as caught:
        await place.service.directory.ask(SPOKE, None, request_body(Request("spoke-1")), by_tunnel=True)
    assert caught.value.status == 503


async def test_the_version_is_another_one_after_each_change(place: PoolGateway) -> None:
    one = await told(place, Request("spoke-1"))
    assert (await told(place, Request("spoke-1"))).version == one.version
    await place.join(Member("i-1"))
    other = await told(place, Request("spoke-1"))
    assert other.version != one.version
    await place.push(replace(pool_roster(3), nodes=place.network.rosters.kept.roster.nodes))  # type: ignore[union-attr]
    assert (await told(place, Request("spoke-1"))).version not in (one.version, other.version)


def test_what_is_packed_once_reads_as_if_made_for_one() -> None:
    body = canonical(pool_roster())
    shared = NetworkDocument("-", roster_digest(body), SignedRoster(body, "eA=="), (), {"n": "192.0.2.1:51820"})
    made = replace(shared, version="v", links=frozenset({"a", "b"}), known=7)
    packed = Packed(shared)
    assert parse_document(packed.body("v", Own(frozenset({"b", "a"}), 7), with_roster=True)) == parse_document(
        document_body(made)
    )
    assert parse_document(packed.body("v", Own(), with_roster=False)).roster is None


async def test_who_may_see_the_whole_status_where_there_are_groups(place: PoolGateway) -> None:
    async def whole(source: str) -> bool:
        return "peers" in (await place.ask("GET", "/v1/status", b"", {}, GATEWAY_ADDRESS, source))[1]

    assert await whole(SPOKE)
    made = pool_roster(4, spokes=2)
    groups = {"people": ("all",), "workers": ("workers", "loadbalancer")}
    nodes = (made.nodes[0], replace(made.nodes[1], group="people"), replace(made.nodes[2], group="workers"))
    pools = tuple(replace(each, group="workers") for each in made.pools)
    await place.push(replace(made, nodes=nodes, pools=pools, network=replace(made.network, groups=groups)))
    member = Member("i-1")
    await place.join(member)
    assert {source: await whole(source) for source in (SPOKE, "127.0.1.2", member.address, GATEWAY_ADDRESS)} == {
        SPOKE: True,
        "127.0.1.2": False,
        member.address: False,
        GATEWAY_ADDRESS: True,
    }
    assert (await told(place, Request("spoke-2"), "127.0.1.2")).members[0].group == "workers"


async def test_the_status_tells_of_the_topology(place: PoolGateway) -> None:
    status = await place.status()
    assert (status["topology"], status["attached"], status["links"], status["neighbours"]) == ("hub", {}, [], {})
