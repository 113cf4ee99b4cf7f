"""Gateways that tell each other, over real TLS on loopback: nudges, a dead one, pools that move, and requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import pytest

from node import control, files, stage0
from node.gateway import exchange, neighbours, revoking
from node.gateway import service as serving_
from node.gateway.neighbours import Neighbours
from node.gateway.nudges import AT_ONCE, TRIES, Nudges, listen
from node.neighbour_document import Neighbour
from node.network_document import NUDGE
from node.network_words import Report
from overlay.roster import Roster
from overlay.serving import LoadBalancer, Share
from tests.node.gateways import ADDRESSES, KEYS, SITES, SPOKE_KEYS, three_sites
from tests.node.pools import Member, PoolGateway, Who, serving
from tests.node.real_nginx import free_port
from tests.node.serving import balancer
from tests.node.support import Stack, Time


@dataclass
class Cloud:
    """Services of several gateways at the same port, each at its address; nudges go to ``nudge_port``."""

    folder: Path
    stack: Stack
    port: int
    nudge_port: int
    stacked: contextlib.AsyncExitStack
    roster: Roster

    def __post_init__(self) -> None:
        self.gateways: dict[str, PoolGateway] = {}
        self._ends: dict[str, contextlib.AsyncExitStack] = {}

    async def start(self, site: str, *, hears: bool = True) -> PoolGateway:
        """The gateway of ``site`` with what is on its disk; one that ``hears`` takes nudges."""
        own = await self.stacked.enter_async_context(contextlib.AsyncExitStack())
        who = Who(f"gw-{site}", ADDRESSES[site], KEYS[site], ADDRESSES[site], self.port)
        made = await own.enter_async_context(serving(self.folder / site, self.stack, who=who))
        if hears:
            ear = asyncio.create_task(
                listen(IPv4Address(ADDRESSES[site]), made.service.exchange.nudge, self.nudge_port)
            )
            own.push_async_callback(ended, ear)
        self.gateways[f"gw-{site}"], self._ends[site] = made, own
        return made

    async def stop(self, site: str) -> None:
        await self._ends.pop(site).aclose()

    async def push(self, roster: Roster) -> None:
        self.roster = roster
        for gateway in self.gateways.values():
            await self.push_to(gateway)

    async def push_to(self, gateway: PoolGateway) -> None:
        """As the program does it, at the gateway's own address."""
        address, push = str(gateway.network.config.control[0]), gateway.push
        gateway.ask = partial(gateway.ask, address=address)  # type: ignore[method-assign]
        await push(self.roster)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def cloud(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloud]:
    """No gateway asks by itself within a test: what it knows in time it was nudged for."""
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    monkeypatch.setattr(exchange, "ASK_SECONDS", 3600.0)
    for module in (neighbours, revoking):
        monkeypatch.setattr(module, "STALE_SECONDS", 120.0)
    port = free_port()
    monkeypatch.setattr(serving_, "Nudges", partial(Nudges, port=port))
    async with contextlib.AsyncExitStack() as stacked:
        yield Cloud(tmp_path, stack, free_port(), port, stacked, three_sites("hub"))


T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]], is_it: Callable[[T], bool]) -> None:
    """Ask until the answer is as it should be."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if is_it(await ask()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(await ask())


async def join(
    gateway: PoolGateway, site: str, instance: str = "i-1", member: Member | None = None
) -> tuple[Member, Any]:
    """A machine asks ``gateway`` to join the pool of ``site``."""
    made = member or Member(instance, f"burst-{site}", site)
    made.gateway_key = KEYS[gateway.network.config.name.removeprefix("gw-")][1]
    return made, await gateway.join(made)


async def test_a_machine_that_joins_is_known_to_all_gateways_at_once(cloud: Cloud) -> None:
    a, b, c = [await cloud.start(site) for site in SITES]
    await cloud.push(cloud.roster)
    member, (status, _) = await join(b, "b")
    assert status == 201
    assert member.answer
    assert member.answer.control == IPv4Address(ADDRESSES["b"])
    assert [peer.public_key for peer in member.answer.peers] == [KEYS["a"][1]], "it hangs on the root"
    await a.until(lambda: member.public_key in a.wireguard.state, "the machine's peer on the root")
    assert a.wireguard.state[member.public_key].allowed_ips == {f"{member.address}/32"}
    await c.until(lambda: member.public_key in c.network.whole.members, "the news")
    assert (await a.status())["neighbours"]["gw-b"] == {"reachable": True, "age": pytest.approx(0, abs=30), "leases": 1}
    assert (await a.status())["pools"].keys() == {"burst-a"}, "a pool is told of by its home"
    assert (await b.status())["pools"]["burst-b"]["leases"] == 1
    assert [peer["name"] for peer in (await b.status())["peers"]] == ["a-1", "b-1", "c-1", "gw-a", "gw-c"]


async def test_who_is_revoked_on_one_gateway_is_cut_off_on_all_at_once(cloud: Cloud) -> None:
    a, b, c = [await cloud.start(site) for site in SITES]
    await cloud.push(cloud.roster)
    member, _ = await join(b, "b")
    assert member.answer
    await a.until(lambda: member.public_key in a.wireguard.state, "the machine's peer on the root")
    await c.until(lambda: member.public_key in c.network.whole.members, "the news")
    for name in (member.answer.name, "c-1"):
        assert (await c.service.revoker.revoke(name, ""))["unreachable"] == []
    gone = {member.public_key, SPOKE_KEYS["c"][1]}
    for gateway in (a, b, c):
        await gateway.until(lambda each=gateway: gone.isdisjoint(each.wireguard.state), "its peers' end")
    await b.until(lambda: not b.live(), "the end of the lease on the gateway that gave it")
    assert (await join(b, "b", member=Member(member.instance, "burst-b", "b")))[1][0] == 403, "the instance's new key"
    await a.until(lambda: len(a.network.revocations.all) == 3, "what its own gateway adds")


async def test_a_gateway_that_dies_leaves_its_machines_and_is_heard_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(neighbours, "STALE_SECONDS", 1.0)
    a, b, _ = [await cloud.start(site) for site in SITES]
    await cloud.push(cloud.roster)
    member, _ = await join(b, "b")
    await a.until(lambda: member.public_key in a.wireguard.state, "the machine's peer on the root")
    await cloud.stop("b")

    async def reachable(gateway: PoolGateway) -> bool:
        return bool((await gateway.status())["neighbours"]["gw-b"]["reachable"])

    await until(lambda: reachable(a), lambda found: not found)
    assert member.public_key in a.wireguard.state
    await cloud.stop("a")
    a = await cloud.start("a")
    await a.until(lambda: member.public_key in a.wireguard.state, "the peers of the machines of a dead gateway")
    b = await cloud.start("b")
    a.ask = partial(a.ask, address=ADDRESSES["a"])  # type: ignore[method-assign]
    await until(lambda: reachable(a), bool)
    assert member.public_key in a.wireguard.state


async def test_a_pool_of_another_gateway_sends_its_machines_there_and_that_costs_nothing(cloud: Cloud) -> None:
    a, b, _ = [await cloud.start(site) for site in SITES]
    await cloud.push(cloud.roster)
    member, (status, found) = await join(a, "b")
    for _ in range(70):
        assert (status, a.live()) == (421, [])
        _, (status, found) = await join(a, "b", member=member)
    assert found["gateway"] == {"url": f"https://198.51.100.2:{cloud.port}", "public_key": KEYS["b"][1]}
    assert (await join(b, "b", member=member))[1][0] == 201


@pytest.mark.parametrize(("kind", "host"), [("aws", "10.0.0.5"), ("hetzner", "198.51.100.2")])
async def test_machines_of_the_gateways_own_network_are_sent_to_its_address_there_if_its_certificate_has_it(
    cloud: Cloud, kind: str, host: str
) -> None:
    made = cloud.roster
    sites = tuple(replace(site, cloud=kind) for site in made.network.sites)
    nodes = tuple(replace(node, lan_endpoint="10.0.0.5:51820") if node.name == "gw-b" else node for node in made.nodes)
    pools = tuple(replace(pool, lan=pool.site == "b") for pool in made.pools)
    a = await cloud.start("a")
    await cloud.push(replace(made, nodes=nodes, pools=pools, network=replace(made.network, sites=sites)))
    _, (status, found) = await join(a, "b")
    assert (status, found["gateway"]["url"]) == (421, f"https://{host}:{cloud.port}")


async def test_only_who_may_join_is_told_where(cloud: Cloud) -> None:
    a = await cloud.start("a")
    await cloud.push(cloud.roster)
    member = Member("i-1", "burst-b", "a wrong token")
    member.gateway_key = KEYS["a"][1]
    assert (await a.join(member))[0] == 403


async def test_a_pool_that_moves_takes_its_machines_along_with_their_addresses(cloud: Cloud) -> None:
    made = cloud.roster
    without_c = replace(made, nodes=tuple(node for node in made.nodes if node.name != "gw-c"))
    a, c = await cloud.start("a"), await cloud.start("c")
    cloud.roster = without_c
    await cloud.push_to(a)
    member, (status, _) = await join(a, "c")
    assert status == 201
    before = member.answer
    assert before
    cloud.roster = replace(made, number=2)
    for gateway in (a, c):
        await cloud.push_to(gateway)
    await a.until(lambda: not a.live(), "the end of the leases")
    assert [line["reason"] for line in a.audit() if line["event"] == "roster" and "node" in line][-1] == (
        "its machines join at gw-c now"
    )
    found = await a.ask("GET", "/v1/lease", b"", member.secret, source=member.address)
    assert found[0] == 404
    assert (await a.join(member, ticket=before.ticket))[0] == 421
    _, (status, _) = await join(c, "c", "i-2")
    assert status == 503, "machines that were in the network come first"
    member.gateway_key = KEYS["c"][1]
    assert (await c.join(member, ticket=before.ticket))[0] == 201
    assert member.answer
    assert (member.answer.address, member.answer.name) == (before.address, before.name)
    await a.until(lambda: member.public_key in a.wireguard.state, "the peer on the root again")


async def test_gateways_send_requests_to_the_machines_of_all(cloud: Cloud) -> None:
    a, b = await cloud.start("a"), await cloud.start("b")
    share = balancer({}).check
    given = LoadBalancer(share, {}, {"burst-b": Share(10, backup=False, max_conns=0)}, ())
    await cloud.push(replace(cloud.roster, load_balancer=given))
    member, _ = await join(b, "b")

    async def targets() -> list[tuple[str, bool, int]]:
        told = (await a.status())["load_balancer"]["targets"]
        return [(each["address"], each["draining"], each["weight"]) for each in told]

    await until(targets, lambda found: found == [(member.address, False, 10)])
    assert member.answer
    said = json.dumps({"weight": 50, "state": "draining"}).encode()
    assert (await b.ask("PATCH", "/v1/lease", said, member.secret, source=member.address))[0] == 200
    await until(targets, lambda found: found == [(member.address, True, 5)])


async def test_a_gateway_without_the_stacks_ca_says_so_and_serves_its_own(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(files: Path) -> Any:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(control, "trust", gone)
    a = await cloud.start("a")
    await cloud.push(cloud.roster)
    assert (await join(a, "a"))[1][0] == 201
    said, others = "", a.service.exchange.others()
    assert others
    async with asyncio.timeout(10):
        while said.count("the authority cannot be read") < len(others):
            await asyncio.sleep(0.02)
            said += capsys.readouterr().err


# The small parts.


def test_a_node_is_nudged_until_it_was_told_or_has_been_nudged_five_times() -> None:
    nudges = Nudges(IPv4Address("127.0.0.1"))
    wanted = {"a": 1, "b": 1}
    assert [nudges.due(wanted, {"a": 1}) for _ in range(TRIES + 2)] == [["b"]] * TRIES + [[]] * 2
    assert nudges.due({"a": 2, "b": 1}, {"a": 1}) == ["a"], "something new for one"
    assert nudges.due({"a": 2, "b": 2}, {"a": 2}) == ["b"], "something new for the one that did not listen"
    assert nudges.due({"a": 2}, {"a": 2}) == []


async def test_a_thousand_nodes_are_not_nudged_at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[object] = []

    def send(addresses: Iterable[IPv4Address]) -> None:
        log.append(len(list(addresses)))

    async def rest(seconds: float) -> None:
        log.append("rest")

    nudges = Nudges(IPv4Address("127.0.0.1"))
    monkeypatch.setattr(asyncio, "sleep", rest)
    monkeypatch.setattr(nudges, "send", send)
    names = [str(number) for number in range(2 * AT_ONCE + 1)]
    await nudges.round([*names, "gone"], {name: IPv4Address(int(name)) for name in names})
    assert log == [AT_ONCE, "rest", AT_ONCE, "rest", 1]


async def test_only_a_nudge_is_heard_as_one() -> None:
    port, heard = free_port(), asyncio.Queue[str]()
    ear = asyncio.create_task(listen(IPv4Address("127.0.1.254"), heard.put_nowait, port))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        mouth.bind(("127.0.2.254", 0))
        while heard.empty():
            for text in (b"", b"hello", NUDGE + b"x", NUDGE):
                mouth.sendto(text, ("127.0.1.254", port))
            await asyncio.sleep(0.01)
    assert await heard.get() == "127.0.2.254"
    assert heard.qsize() < 2, "one of four datagrams is a nudge"
    await ended(ear)


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 1}', '{"schema_version": 1, "answers": [], "own": 1}'])
def test_a_broken_memory_is_put_aside_loudly(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "neighbours.json"
    path.write_text(text)
    memory = Neighbours(path)
    assert (memory.load(), memory.answers) == ({}, {})
    assert str(path) in capsys.readouterr().err
    assert (tmp_path / "neighbours.json.corrupt").read_text() == text


def test_the_memory_is_written_when_something_worth_keeping_is_new(tmp_path: Path) -> None:
    path, time = tmp_path / "neighbours.json", Time()
    memory, report = Neighbours(path, time.ticks), Report("n", 1, "gw")
    memory.save("gw", dict)
    assert not path.exists()
    told = Neighbour("other", "1", (), {"n": "192.0.2.1:1"}, {"n": report})
    memory.take(told)
    memory.save("gw", lambda: {"n": report})
    inode = path.stat().st_ino
    memory.take(replace(told, version="2", seen={}))
    memory.heard("other")
    memory.save("gw", lambda: {"n": report})
    assert path.stat().st_ino == inode, "where nodes are seen is not worth a write"
    again = Neighbours(path)
    assert again.load() == {"n": report}
    assert again.answers == {"other": replace(told, seen={})}
    again.keep(frozenset())
    again.save("gw", dict)
    last = Neighbours(path)
    assert (last.load(), last.answers) == ({}, {})


def test_whoever_saves_while_another_thread_writes_returns_when_its_own_report_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node is answered after that, and hangs elsewhere from then on."""
    memory, reports = Neighbours(tmp_path / "neighbours.json"), {"n": Report("n", 1, "gw")}
    has_begun, may_end, write = threading.Event(), threading.Event(), files.write

    def slow(path: Path, document: Mapping[str, Any]) -> None:
        has_begun.set()
        assert may_end.wait(20)
        write(path, document)

    monkeypatch.setattr(files, "write", slow)
    memory.changed()
    with ThreadPoolExecutor() as threads:
        first = threads.submit(memory.save, "gw", lambda: dict(reports))
        assert has_begun.wait(20)
        second = threads.submit(memory.save, "gw", lambda: dict(reports))
        reports["n"] = Report("n", 2, "other")
        memory.changed()
        third = threads.submit(memory.save, "gw", lambda: dict(reports))
        done, _ = wait([first, second, third], timeout=0.05)
        may_end.set()
        assert not done
        assert third.result(20) is None
        assert Neighbours(tmp_path / "neighbours.json").load() == reports
        assert (first.result(20), second.result(20)) == (None, None)
