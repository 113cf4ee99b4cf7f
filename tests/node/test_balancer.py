"""A gateway's load balancer in the whole service, with real health checks and nginx in memory."""

from __future__ import annotations

import asyncio
import re
import stat
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from node import stage0
from node.gateway.serving import balancer as balancing
from node.gateway.serving import checks
from node.gateway.serving.balancer import Balancer
from node.gateway.serving.conf import servers_of
from overlay.serving import Check, Share, canonical_credentials
from tests.node.place import SPOKE, Place, target
from tests.node.pools import Member, PoolGateway, pool, pool_roster, serving
from tests.node.serving import API_KEY, balancer, credentials, signed_credentials
from tests.node.support import Stack


@pytest.fixture
async def place(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    monkeypatch.setattr(balancing, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(balancing, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(balancing, "FIRST_RETRY_SECONDS", 0.1)
    for name in ("CONNECT_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(checks, name, 60.0)
    async with serving(tmp_path, stack) as gateway:
        await gateway.push(pool_roster())
        made = Place(tmp_path, stack, gateway)
        yield made
        for server in made.servers.values():
            await server.stop()


async def test_without_a_load_balancer_nginx_is_left_alone(place: Place) -> None:
    await place.credentials()
    status = await place.gateway.status()
    assert status["load_balancer"] is None
    assert (status["credentials"]["number"], place.nginx.taken, place.nginx.stops) == (1, [], 0)
    assert not (place.gateway.state / "nginx").exists()


async def test_it_waits_for_credentials_and_says_so(place: Place) -> None:
    await place.spoke()
    await place.problem("no credentials yet")
    assert (await place.told())["state"] == "waiting"
    assert not place.nginx.running
    await place.credentials()
    await place.until(str(SPOKE))
    told = await place.told()
    assert (told["state"], told["problem"]) == ("serving", None)


async def test_what_only_a_push_can_mend_is_not_looked_at_without_a_pause(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    step = Balancer._step  # pyright: ignore[reportPrivateUsage]

    async def noted(self: Balancer) -> float:
        pauses.append(await step(self))
        return pauses[-1]

    monkeypatch.setattr(Balancer, "_step", noted)
    monkeypatch.setattr(balancing, "_CALM", 0.0)
    await place.roster(balancer())
    await place.problem("no credentials yet")
    before = len(pauses)
    await place.gateway.until(lambda: len(pauses) >= before + 3, "three more steps")
    assert set(pauses[before:]) == {balancing.LOOK_SECONDS}


async def test_a_machine_gets_requests_while_its_health_checks_succeed(place: Place) -> None:
    server = await place.server(str(SPOKE))
    server.status = 503
    await place.credentials()
    await place.roster(balancer({"spoke-1": target(server.port)}))
    await place.until()
    await place.gateway.until(lambda: server.checks > 0, "a check")
    assert (await place.told())["targets"] == [
        {
            "name": "spoke-1",
            "address": str(SPOKE),
            "port": server.port,
            "healthy": False,
            "draining": False,
            "weight": 10,
            "backup": False,
            "in_rotation": False,
        }
    ]
    server.status = 204
    await place.until(str(SPOKE))
    assert [(each["healthy"], each["in_rotation"]) for each in (await place.told())["targets"]] == [(True, True)]
    server.status = 302
    await place.until()
    await server.stop()
    assert place.rotations() == [("serve", "spoke-1", None), ("unserve", "spoke-1", "its health check answered 302")]


async def test_another_health_path_takes_no_machine_out(place: Place) -> None:
    server = await place.spoke()
    await place.credentials()
    await place.until(str(SPOKE))
    before = len(place.nginx.taken)
    await place.roster(balancer({"spoke-1": replace(target(server.port), health_path="/health?new")}))
    await place.gateway.until(lambda: server.path == "/health?new", "a check of the new path")
    await place.roster(balancer({"spoke-1": replace(target(server.port, 20), health_path="/health?new")}))
    await place.gateway.until(lambda: "weight=20" in (place.nginx.text or ""), "the next configuration")
    assert all(f"server {SPOKE}:" in text for text in place.nginx.taken[before:])
    assert place.rotations() == [("serve", "spoke-1", None)]


async def test_a_pools_machines_come_with_their_lease_drain_at_once_and_go(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balancing, "OUT_SECONDS", 30.0)
    first = await place.server("127.0.1.128")
    await place.server("127.0.1.129", first.port)
    await place.credentials()
    share = Share(10, backup=False, max_conns=7)
    await place.roster(balancer(pools={"burst": share}), pools=(pool(port=first.port),))
    members = [Member("i-1"), Member("i-2")]
    for member in members:
        await place.gateway.join(member)
    await place.until("127.0.1.128", "127.0.1.129")
    assert re.findall(r"server (\S+) weight=(\d+) max_conns=(\d+)", place.nginx.text or "") == [
        (f"127.0.1.{last}:{first.port}", "10", "7") for last in (128, 129)
    ]
    await place.gateway.tell(members[0], "PATCH", {"weight": 5, "reason": "rebalance"})
    await place.gateway.until(lambda: " weight=1 " in (place.nginx.text or ""), "the smaller share")
    await place.gateway.tell(members[0], "PATCH", {"state": "draining"})
    assert place.sends_to() == {"127.0.1.129"}, "it was answered before that"
    await place.until("127.0.1.129")
    told = {each["name"]: (each["draining"], each["healthy"]) for each in (await place.told())["targets"]}
    assert told == {"burst-i1": (True, True), "burst-i2": (False, True)}
    assert (await place.gateway.tell(members[1], "DELETE"))[0] == 200
    assert place.sends_to() == set()
    await place.until()
    events = place.rotations()
    assert sorted(events[:2]) == [("serve", "burst-i1", None), ("serve", "burst-i2", None)]
    assert events[2:] == [("unserve", "burst-i1", "draining"), ("unserve", "burst-i2", "draining")]


async def test_a_machine_that_drains_while_nginx_takes_it_in_waits_until_it_is_out(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balancing, "OUT_SECONDS", 30.0)
    server = await place.server("127.0.1.128")
    await place.credentials()
    await place.roster(balancer(pools={"burst": Share(10, backup=False, max_conns=0)}), pools=(pool(port=server.port),))
    await place.until()
    before, takes = len(place.nginx.taken), place.nginx.takes
    place.nginx.gate.clear()
    member = Member("i-1")
    await place.gateway.join(member)
    await place.gateway.until(lambda: place.nginx.takes > takes, "a configuration with the machine")
    draining = asyncio.create_task(place.gateway.tell(member, "PATCH", {"state": "draining"}))
    await place.gateway.until(lambda: place.gateway.audit()[-1]["event"] == "drain", "its word")
    place.nginx.gate.set()
    status, told = await draining
    assert (status, told["state"]) == (200, "draining")
    assert [bool(servers_of(text)) for text in place.nginx.taken[before:]] == [True, False]


async def test_a_machine_that_drains_is_answered_though_nginx_goes_on_with_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await place.server("127.0.1.128")
    await place.credentials()
    await place.roster(balancer(pools={"burst": Share(10, backup=False, max_conns=0)}), pools=(pool(port=server.port),))
    member = Member("i-1")
    await place.gateway.join(member)
    await place.until("127.0.1.128")
    place.nginx.refusal = "no"
    monkeypatch.setattr(balancing, "OUT_SECONDS", 0.1)
    status, told = await place.gateway.tell(member, "PATCH", {"state": "draining"})
    assert (status, told["state"]) == (200, "draining")
    place.nginx.refusal = None
    await place.until()


async def test_what_changes_at_once_is_one_change(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await place.spoke()
    await place.credentials()
    await place.until(str(SPOKE))
    monkeypatch.setattr(balancing, "PAUSE_SECONDS", 1.0)
    began = time.monotonic()
    await place.roster(balancer({"spoke-1": target(server.port, 20)}))
    await place.gateway.until(lambda: "weight=20" in (place.nginx.text or ""), "the first change")
    before = len(place.nginx.taken)
    for weight in range(30, 40):
        await place.roster(balancer({"spoke-1": target(server.port, weight)}))
    await place.gateway.until(lambda: "weight=39" in (place.nginx.text or ""), "the last change")
    assert len(place.nginx.taken) - before <= time.monotonic() - began, "one each second after the first change"


async def test_what_is_refused_leaves_the_old_and_is_tried_again(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await place.spoke()
    await place.credentials()
    await place.until(str(SPOKE))
    good = (place.gateway.state / "nginx" / "nginx.conf").read_text()
    place.nginx.refusal = "nginx does not take it"
    await place.roster(balancer({"spoke-1": target(server.port, 77)}))
    await place.problem("does not take it")
    assert (place.gateway.state / "nginx" / "nginx.conf").read_text() == good
    assert (await place.told())["state"] == "serving"
    place.nginx.refusal = None
    await place.gateway.until(lambda: "weight=77" in (place.nginx.text or ""), "another try")
    await place.until(str(SPOKE))
    assert capsys.readouterr().err.count("does not take it") == 1


async def test_an_nginx_that_takes_nothing_of_ours_is_told(place: Place) -> None:
    place.nginx.is_ours = False
    await place.credentials()
    await place.spoke()
    await place.problem("raise its `revision`")


async def test_an_nginx_that_died_is_started_again_and_a_lost_configuration_comes_back(place: Place) -> None:
    await place.spoke()
    await place.credentials()
    await place.until(str(SPOKE))
    place.nginx.running = False
    await place.gateway.until(lambda: place.nginx.running, "nginx")
    conf = place.gateway.state / "nginx" / "nginx.conf"
    right = conf.read_text()
    conf.write_text("# somebody's own\n")
    await place.gateway.until(lambda: conf.read_text() == right, "its configuration")


async def test_renewed_credentials_are_taken_and_the_old_files_go(place: Place) -> None:
    await place.spoke()
    await place.credentials(api_keys={"team": API_KEY}, client_ca=credentials().certificate)
    await place.until(str(SPOKE))
    old = place.files()
    assert len(old) == 5
    assert {stat.S_IMODE((place.gateway.state / "nginx" / name).stat().st_mode) for name in old} == {0o600}
    assert stat.S_IMODE((place.gateway.state / "nginx").stat().st_mode) == 0o700
    await place.credentials(2)
    await place.gateway.until(lambda: "api_key" in (place.nginx.text or "") and API_KEY not in place.files(), "it")
    await place.gateway.until(lambda: len(place.files()) == 4, "that the old files go")
    assert set(place.files()) & set(old) == {"nginx.conf", "taken"}
    for name in place.files():
        if name.startswith("tls"):
            assert f"nginx/{name};" in (place.nginx.text or "")


async def test_a_restart_changes_nothing_and_trusts_who_had_requests(tmp_path: Path, place: Place) -> None:
    server = await place.spoke()
    await place.credentials()
    await place.until(str(SPOKE))
    slow = replace(balancer({"spoke-1": target(server.port)}), check=Check(1, 50, 2))
    await place.roster(slow)
    before = place.files(), place.nginx.text
    other = tmp_path / "again"
    await asyncio.to_thread(_copy, place.gateway, other)
    async with serving(other, place.stack) as again:
        again.nginx.running, again.nginx.text = True, place.nginx.text
        second = Place(other, place.stack, again, number=place.number)
        await again.until(lambda: server.checks > 3, "checks")
        told = await second.told()
        assert [each["in_rotation"] for each in told["targets"]] == [True], "though fifty checks would be needed"
        text = (again.state / "nginx" / "nginx.conf").read_text()
        assert text == (before[1] or "").replace(str(place.gateway.state), str(again.state))
        await server.stop()
        await second.until()


def _copy(gateway: PoolGateway, folder: Path) -> None:
    import shutil

    shutil.copytree(gateway.state, folder / "state", ignore=shutil.ignore_patterns("*.new"))
    conf = folder / "state" / "nginx" / "nginx.conf"
    conf.write_text(conf.read_text().replace(str(gateway.state), str(folder / "state")))


async def test_it_is_turned_off_with_everything(place: Place) -> None:
    await place.spoke()
    await place.credentials()
    await place.until(str(SPOKE))
    await place.roster(None)
    await place.gateway.until(lambda: place.nginx.stops == 1, "the end of nginx")
    await place.gateway.until(lambda: not (place.gateway.state / "nginx").exists(), "the end of its files")
    status = await place.gateway.status()
    assert (status["load_balancer"], status["credentials"]) == (None, None)
    assert not (place.gateway.state / "credentials.json").exists()
    assert place.rotations()[-1][:2] == ("unserve", "spoke-1")


async def test_credentials_that_come_before_the_load_balancer_is_on_again_are_kept(place: Place) -> None:
    server = await place.spoke()
    await place.credentials(7)
    await place.until(str(SPOKE))
    place.nginx.refusal = "nginx does not stop"
    await place.roster(None)
    await place.gateway.until(lambda: not (place.gateway.state / "credentials.json").exists(), "the end of the old")
    await place.credentials(1)
    tries = place.nginx.stops_tried
    await place.gateway.until(lambda: place.nginx.stops_tried > tries, "another try")
    place.nginx.refusal = None
    await place.gateway.until(lambda: not (place.gateway.state / "nginx").exists(), "the end of nginx's files")
    await place.roster(balancer({"spoke-1": target(server.port)}))
    await place.until(str(SPOKE))
    assert (await place.gateway.status())["credentials"]["number"] == 1


@pytest.mark.parametrize("text", ["no JSON", '{"schema_version": 1, "body": "x", "signature": "eA=="}', ""])
async def test_credentials_that_are_damaged_stop_only_the_balancer(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "credentials.json").write_text(text)
    async with serving(tmp_path, stack) as gateway:
        place = Place(tmp_path, stack, gateway)
        server = await place.spoke()
        await place.problem("credentials.json cannot be used")
        await place.problem("pulumi up --refresh")
        assert (await gateway.status())["healthy"] is True
        await place.credentials()
        await place.until(str(SPOKE))
        await server.stop()


async def test_the_keys_of_credentials_are_nowhere_but_in_nginxs_files(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    await place.spoke()
    made = credentials(api_keys={"team": API_KEY})
    assert (await place.offer(*signed_credentials(place.stack, made)))[0] == 201
    await place.until(str(SPOKE))
    shown = str(await place.gateway.status()) + capsys.readouterr().err + str(place.gateway.audit())
    for secret in (API_KEY, made.private_key.splitlines()[1]):
        assert secret not in shown
    assert canonical_credentials(made).decode() not in shown
