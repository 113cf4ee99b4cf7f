"""What a gateway shows Prometheus."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from node.gateway.counts import Counts
from node.gateway.members import Members
from node.gateway.rotation import Rotation
from node.tunnels.own import OwnKeys
from node.tunnels.tunnels import Tunnels
from node.wireguard import Change, WireGuardError
from overlay.model import host_network
from tests.node.memory_devices import MemoryDevice, MemoryRoutes
from tests.node.metrics_support import DOWN, interface_up, types, values
from tests.node.pools import GATEWAY_KEYS, SEAL_KEY, TOKENS, Member, PoolGateway, pool, pool_roster
from tests.node.promtool import complaints
from tests.node.serving import credentials, signed_credentials
from tests.node.support import Stack, Time, key, signed

SPOKE = key("spoke-1")


@pytest.fixture(autouse=True)
def interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The flags of an interface that is up."""
    return interface_up(tmp_path / "net", monkeypatch)


async def shown(gateway: PoolGateway) -> bytes:
    return await gateway.service.metrics.text()


async def until(gateway: PoolGateway, name: str, is_met: Callable[[dict[tuple[str, ...], float]], bool]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 60
    while not is_met(values(await shown(gateway), name)):
        assert loop.time() < end, f"waited in vain for {name}"
        await asyncio.sleep(0.02)


async def test_peers_are_told_with_names_roles_and_sites(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    told = values(await shown(gateway), "wireguard_peer_allowed_ips_count")
    assert told == {("wg0", "spoke-1", "spoke", "aws"): 1, ("wg0", "burst-i1", "pool", "aws"): 1}
    their = values(await shown(gateway), "wireguard_latest_handshake_seconds")
    assert (f"{member.address}/32", "burst-i1", "wg0", member.public_key) in their
    status, _ = await gateway.tell(member, "DELETE")
    assert status == 200
    await gateway.until(lambda: member.public_key not in gateway.peers(), "the end of its lease")
    left = values(await shown(gateway), "wireguard_peer_allowed_ips_count")
    assert left == {("wg0", "spoke-1", "spoke", "aws"): 1}


async def test_peers_are_counted_as_desired_observed_and_healthy(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)

    async def counted() -> list[float]:
        text = await shown(gateway)
        return [values(text, f"hybridnet_peers_{what}")[()] for what in ("desired", "observed", "healthy")]

    assert await counted() == [2, 2, 0]
    gateway.probe.alive = {host_network(node.address).network_address for node in gateway.network.declared()}
    await until(gateway, "hybridnet_peers_healthy", lambda found: found[()] == 1)
    gateway.wireguard.broken = True
    gateway.network.observed.pop(SPOKE)
    assert (await counted())[:2] == [2, 1], "what the interface had at the last look"


async def test_a_stranger_on_the_interface_is_drift_and_repaired(gateway: PoolGateway) -> None:
    before = values(await shown(gateway), "hybridnet_drift_repaired_total")[()]
    gateway.wireguard.apply([Change(key("stranger"), allowed_ips=())])
    gateway.wireguard.apply([Change(SPOKE, keepalive=7)])
    gateway.service.wake()
    await until(gateway, "hybridnet_drift_repaired_total", lambda found: found[()] == before + 2)


async def test_without_an_interface_no_peer_is_told(gateway: PoolGateway, interface: Path) -> None:
    assert values(await shown(gateway), "hybridnet_interface_up") == {("wg0",): 1}
    await asyncio.to_thread(interface.write_text, DOWN)
    text = await shown(gateway)
    assert values(text, "hybridnet_interface_up") == {("wg0",): 0}
    assert values(text, "wireguard_peer_allowed_ips_count") == {}


async def test_who_it_is(gateway: PoolGateway) -> None:
    text = await shown(gateway)
    assert values(text, "hybridnet_node_info") == {("gw", "3", "gateway", "aws"): 1}
    assert values(text, "hybridnet_key_created_timestamp_seconds") == {}
    assert values(text, "hybridnet_rotation_in_progress") == {(): 0}


async def test_how_old_its_key_is_and_whether_one_changes(
    gateway: PoolGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = OwnKeys(tmp_path / "keys.json", lambda: GATEWAY_KEYS[0], lambda: 1_800_000_000.5)
    tunnels = Tunnels(MemoryDevice(key=GATEWAY_KEYS[1]), MemoryDevice(), MemoryRoutes(), own)
    monkeypatch.setattr(gateway.network, "rotation", Rotation(tunnels, "gw", tmp_path))
    text = await shown(gateway)
    assert values(text, "hybridnet_key_created_timestamp_seconds") == {("gw",): 1_800_000_000.5}
    assert values(text, "hybridnet_rotation_in_progress") == {(): 0}
    monkeypatch.setattr(Rotation, "is_on", True)
    assert values(await shown(gateway), "hybridnet_rotation_in_progress") == {(): 1}


async def test_what_machines_say_of_their_health(gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert values(await shown(gateway), "hybridnet_node_healthy") == {}
    report = b'{"schema_version": 1, "healthy": false, "problems": ["the tunnel is down"]}'
    gateway.service.conditions.take("127.0.1.1", report)
    text = await shown(gateway)
    assert values(text, "hybridnet_node_healthy") == {("spoke-1",): 0}
    assert values(text, "hybridnet_healthy") == {}, "it has not looked at itself"
    own = {"gw": True, "spoke-1": False}
    monkeypatch.setattr(gateway.service.conditions, "healthy", lambda: own)
    text = await shown(gateway)
    assert values(text, "hybridnet_node_healthy") == {("gw",): 1, ("spoke-1",): 0}
    assert values(text, "hybridnet_healthy") == {(): 1}


async def test_leases_joins_and_addresses_are_told_by_pool(gateway: PoolGateway) -> None:
    first, second = Member("i-1"), Member("i-2")
    for member in (first, second, first):
        await gateway.join(member)
    await gateway.tell(first, "PATCH", {"state": "draining"})
    text = await shown(gateway)
    assert values(text, "hybridnet_joins_total") == {("burst",): 2, ("other",): 0}
    assert values(text, "hybridnet_leases") == {
        ("burst", "active"): 1, ("burst", "draining"): 1, ("burst", "left"): 0,
        ("other", "active"): 0, ("other", "draining"): 0, ("other", "left"): 0,
    }  # fmt: skip
    # A /25 that ends with its subnet, whose last address nobody can have.
    assert values(text, "hybridnet_pool_addresses") == {("burst",): 127, ("other",): 127}
    assert values(text, "hybridnet_pool_addresses_free") == {("burst",): 125, ("other",): 127}


async def test_an_address_that_rests_is_not_free(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    await gateway.tell(member, "DELETE")
    await gateway.until(lambda: not gateway.live(), "the end of the lease")
    text = await shown(gateway)
    assert values(text, "hybridnet_pool_addresses")["burst",] == 127
    assert values(text, "hybridnet_pool_addresses_free")["burst",] == 126


async def test_refusals_are_counted_by_what_they_were_about(gateway: PoolGateway) -> None:
    await gateway.push(pool_roster(2, pools=(pool(limit=1), pool("other"))))
    await gateway.join(Member("i-1"))
    assert (await gateway.join(Member("i-2")))[0] == 503
    assert (await gateway.join(Member("i-3", token="nobody's")))[0] == 403
    assert (await gateway.join(Member("i-3", token=TOKENS["other"])))[0] == 403
    assert (await gateway.join(Member("i-3", gateway_key=key("another gateway"))))[0] == 403
    assert (await gateway.ask("POST", "/v1/join", b"{", {"Authorization": f"Bearer {TOKENS['burst']}"}))[0] == 400
    assert (await gateway.ask("GET", "/v1/lease"))[0] == 403
    assert (await gateway.ask("GET", "/v1/release"))[0] == 403
    told = values(await shown(gateway), "hybridnet_refusals_total")
    assert {reason: count for (reason,), count in told.items() if count} == {
        "pool_full": 1, "token": 3, "possession": 1, "malformed": 1, "forbidden": 1
    }  # fmt: skip


async def test_too_many_attempts_are_counted_as_that(gateway: PoolGateway) -> None:
    await asyncio.gather(*(gateway.join(Member("i-3", token="nobody's")) for _ in range(90)))
    told = values(await shown(gateway), "hybridnet_refusals_total")
    assert told["too_often",] >= 1
    assert told["too_often",] + told["token",] == 90


async def test_the_roster_that_is_followed_and_those_that_are_offered(gateway: PoolGateway, stack: Stack) -> None:
    first = await shown(gateway)
    assert values(first, "hybridnet_roster_number") == {(): 1}
    assert values(first, "hybridnet_roster_refused_total") == {(): 0}
    await gateway.push(pool_roster(7))
    taken = await shown(gateway)
    assert values(taken, "hybridnet_roster_number") == {(): 7}
    offered, accepted = (f"hybridnet_roster_{what}_timestamp_seconds" for what in ("offered", "accepted"))
    assert values(taken, offered) == values(taken, accepted)
    assert values(taken, offered)[()] > values(first, offered)[()]
    body, signature = signed(stack, pool_roster(8))
    strange, proof = signed(stack, replace(pool_roster(8), nodes=pool_roster(8).nodes[1:]))
    assert (await gateway.ask("PUT", "/v1/roster", strange, {"X-Hybridnet-Signature": proof}))[0] == 400
    refused = await shown(gateway)
    assert values(refused, "hybridnet_roster_refused_total") == {(): 1}
    assert values(refused, accepted) == values(taken, accepted)
    assert values(refused, offered)[()] > values(taken, offered)[()]
    assert (await gateway.ask("PUT", "/v1/roster", body, {"X-Hybridnet-Signature": "bm8="}))[0] == 403
    body, signature = signed(stack, pool_roster(3))
    assert (await gateway.ask("PUT", "/v1/roster", body, {"X-Hybridnet-Signature": signature}))[0] == 409
    forged = await shown(gateway)
    assert values(forged, "hybridnet_roster_refused_total") == {(): 3}
    assert values(forged, offered) == values(refused, offered), "a stranger cannot make it look as if it was one"


async def test_when_certificates_expire(gateway: PoolGateway, stack: Stack) -> None:
    name = "hybridnet_certificate_expiry_timestamp_seconds"
    ends = {what: _end(pem) for what, pem in (("control", stack.certificate_pem), ("ca", stack.ca_pem))}
    assert values(await shown(gateway), name) == {(what,): end for what, end in ends.items()}
    made = credentials()
    body, signature = signed_credentials(stack, made)
    await gateway.ask("PUT", "/v1/credentials", body, {"X-Hybridnet-Signature": signature})
    assert values(await shown(gateway), name)["serving",] == _end(made.certificate)


def _end(pem: str) -> float:
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp()


async def test_a_certificate_that_cannot_be_read_is_not_told_and_said_once(
    gateway: PoolGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    (gateway.files / "ca.pem").write_text("no certificate\n")
    for _ in range(2):
        told = values(await shown(gateway), "hybridnet_certificate_expiry_timestamp_seconds")
        assert set(told) == {("control",)}
    assert capsys.readouterr().err.count("cannot be found out: ca: it cannot be read") == 1


async def test_the_end_of_the_audit_log(gateway: PoolGateway) -> None:
    await gateway.join(Member("i-1"))
    text, last = await shown(gateway), gateway.audit()[-1]
    assert values(text, "hybridnet_audit_events_total") == {(): last["number"]}
    assert values(text, "hybridnet_audit_head_info") == {(last["hash"],): 1}


async def test_a_clean_up_that_has_stopped(gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert values(await shown(gateway), "hybridnet_cleanup_paused") == {(): 0}
    monkeypatch.setattr(Members, "pause", "no peer answers")
    assert values(await shown(gateway), "hybridnet_cleanup_paused") == {(): 1}


async def test_reconciles_that_succeed_are_timed(gateway: PoolGateway) -> None:
    text = await shown(gateway)
    at = values(text, "hybridnet_reconcile_last_success_timestamp_seconds")[()]
    assert abs(at - datetime.datetime.now(datetime.UTC).timestamp()) < 60
    buckets = values(text, "hybridnet_reconcile_duration_seconds_bucket")
    assert buckets["+Inf",] == values(text, "hybridnet_reconcile_duration_seconds_count")[()] > 0


async def test_reconciles_that_fail_are_not_counted(gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def failing() -> list[Change]:
        nonlocal tries
        tries += 1
        gateway.service.wake()
        raise WireGuardError("wg: no such device")

    monkeypatch.setattr(gateway.network, "reconcile", failing)
    gateway.service.wake()
    await gateway.until(lambda: tries > 0, "a failure")
    before = gateway.service.counts.reconciles
    await gateway.until(lambda: tries > 2, "more of them")
    assert gateway.service.counts.reconciles == before


def test_counts_of_reconciles_and_offers() -> None:
    time = Time()
    counts = Counts(None, time.clock)
    assert (counts.roster_offered, counts.roster_accepted, counts.reconciled) == (None, None, None)
    for seconds in (0.02, 0.5, 11.0):
        counts.reconcile(seconds)
    assert counts.buckets == {0.01: 0, 0.03: 1, 0.1: 1, 0.3: 1, 1.0: 2, 3.0: 2, 10.0: 2}
    assert (counts.reconciles, counts.reconcile_seconds, counts.reconciled) == (3, 11.52, time.wall)
    start = time.wall
    counts.offer_roster(403)
    assert (counts.roster_offered, counts.roster_accepted, counts.rosters_refused) == (None, None, 1)
    counts.offer_roster(200)
    time.go(5)
    counts.offer_roster(409)
    assert (counts.roster_offered, counts.roster_accepted, counts.rosters_refused) == (start, start, 2)
    counts.offer_roster(400)
    assert (counts.roster_offered, counts.roster_accepted, counts.rosters_refused) == (start + 5, start, 3)
    assert Counts(start).roster_accepted == start, "it was taken before the service's start"


async def test_no_secret_is_told(gateway: PoolGateway) -> None:
    member = Member("i-1")
    await gateway.join(member)
    assert member.answer
    body, signature = signed_credentials(gateway.stack, credentials())
    await gateway.ask("PUT", "/v1/credentials", body, {"X-Hybridnet-Signature": signature})
    text = (await shown(gateway)).decode()
    assert member.public_key in text
    for secret in (GATEWAY_KEYS[0], member.keys[0], member.answer.secret, SEAL_KEY, *TOKENS.values()):
        assert secret not in text


async def test_promtool_accepts_a_gateways_metrics(gateway: PoolGateway) -> None:
    await gateway.join(Member("i-1"))
    text = await shown(gateway)
    assert complaints(text) == ["wireguard_peer_allowed_ips_count"]
    assert types(text)["hybridnet_reconcile_duration_seconds"] == "histogram"
