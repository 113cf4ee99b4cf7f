"""Pushes to gateways: numbers, signatures, waiting, refusals; over real TLS on 127.0.0.1."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime import rpc

from components import release
from components.control import ControlPlane, Held, PushError, next_number, parse_status
from components.plan import make_plan
from components.push import ReleaseProvider, RosterProvider
from components.roster_document import balancer_inputs, roster_document
from components.settings.load import load
from overlay.pools import AwsIdentity, GcpIdentity, Pool
from overlay.roster import canonical, content_digest, parse
from overlay.serving import Check, LoadBalancer
from tests.components.configs import as_engine_gives, burst, static
from tests.components.gateways import SIGNING_KEY, Gateway, Time, ca_pem, inputs_of, node, serving
from tests.components.recorder import run_program


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with serving(Gateway(), tmp_path) as found:
        yield found


@pytest.fixture
def time() -> Time:
    return Time()


def release_inputs(gateway: Gateway) -> dict[str, Any]:
    return {
        "sha256": release.build().sha256,
        "gateways": {"gw": {"url": gateway.url, "serverId": "7"}},
        "ca": ca_pem(),
        "signingKey": SIGNING_KEY,
        "__provider": "pickled",
    }


@pytest.mark.parametrize(
    ("stored", "digest", "reported", "number"),
    [
        (None, "a", [], 1),
        (None, "a", [7], 8),
        (Held(3, "a"), "a", [3], 3),
        (Held(3, "a"), "a", [2], 3),
        (Held(3, "a"), "a", [], 3),
        (Held(3, "a"), "a", [3, 5], 6),
        (Held(3, "a"), "b", [3], 4),
        (Held(3, "a"), "b", [9], 10),
        (Held(9, "a"), "b", [3], 10),
    ],
)
def test_the_number_is_above_all_and_the_same_for_the_same(
    stored: Held | None, digest: str, reported: list[int], number: int
) -> None:
    assert next_number(stored, digest, reported) == number


def test_a_roster_is_pushed_and_numbered(gateway: Gateway, time: Time) -> None:
    state = RosterProvider().push(inputs_of(gateway), None, time.patience())
    assert state["number"] == 1
    assert gateway.roster is not None
    assert gateway.roster["content"] == state["digest"]
    assert "__provider" not in state
    assert state["signingKey"] == SIGNING_KEY, "the engine keeps it secret only under the input's own name"


def test_an_unchanged_roster_keeps_its_number_and_bytes(gateway: Gateway, time: Time) -> None:
    provider = RosterProvider()
    first = provider.push(inputs_of(gateway), None, time.patience())
    again = provider.push(inputs_of(gateway), Held(first["number"], first["digest"]), time.patience())
    assert (again["number"], again["digest"]) == (first["number"], first["digest"])
    assert gateway.puts == [("roster", 1), ("roster", 1)]


def test_a_gateway_that_lost_its_disk_is_told_again(gateway: Gateway, time: Time) -> None:
    state = RosterProvider().push(inputs_of(gateway), Held(4, "other"), time.patience())
    gateway.roster = None
    again = RosterProvider().push(inputs_of(gateway), Held(state["number"], state["digest"]), time.patience())
    assert again["number"] == state["number"] == 5
    assert gateway.roster is not None


def test_a_changed_roster_goes_above_what_somebody_else_pushed(gateway: Gateway, time: Time) -> None:
    gateway.roster = {"number": 41, "sha256": "x", "content": "theirs"}
    assert RosterProvider().push(inputs_of(gateway), Held(3, "old"), time.patience())["number"] == 42


def test_a_push_waits_for_a_gateway_that_boots_and_says_so(gateway: Gateway, time: Time) -> None:
    gateway.answers_before = [(503, {"reason": "no release yet"})] * 41
    assert RosterProvider().push(inputs_of(gateway), None, time.patience())["number"] == 1
    assert time.now >= 40
    assert 2 <= len(time.said) <= 6, "now and then, not at every try"
    assert "status 503" in time.said[0]


def test_a_push_gives_up_after_ten_minutes_and_says_what_to_do(time: Time) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = Gateway(url=f"https://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(PushError, match=r"gw at 127.*waited 600 s until it answers.*run `pulumi up` again"):
            RosterProvider().push(inputs_of(nobody), None, time.patience())
    assert 600 <= time.now < 605


def test_a_gateway_of_another_authority_is_told_nothing(gateway: Gateway, time: Time) -> None:
    with pytest.raises(PushError, match="certificate is not this stack's"):
        RosterProvider().push(inputs_of(gateway, ca=ca_pem("another")), None, time.patience())
    assert not gateway.puts
    assert time.now == 0, "waiting would not help"


def test_a_refused_signature_says_what_to_do(gateway: Gateway, time: Time) -> None:
    from tests.components.recorder import key_pem

    foreign = key_pem("foreign", "ED25519")[0]
    with pytest.raises(PushError, match=r"gw refused /v1/roster: the signature.*raise its revision") as refused:
        RosterProvider().push(inputs_of(gateway, signingKey=foreign), None, time.patience())
    assert "PRIVATE" not in str(refused.value)


def test_a_conflict_says_what_to_do(gateway: Gateway, time: Time) -> None:
    plane = ControlPlane("gw", gateway.url, ca_pem(), time.patience())
    gateway.answers_before = [(409, {"reason": "number 9 is held"})]
    with pytest.raises(PushError, match=r"number 9 is held; .*pulumi refresh"):
        plane.put("/v1/roster", b"{}", {"X-Hybridnet-Number": "3", "X-Hybridnet-Signature": ""})


def test_a_status_that_cannot_be_read_is_told(gateway: Gateway, time: Time) -> None:
    gateway.answers_before = [(200, {"hello": "world"})]
    with pytest.raises(PushError, match="its status cannot be read"):
        ControlPlane("gw", gateway.url, ca_pem(), time.patience()).status()


def test_stage_0_reports_nothing_held() -> None:
    status = parse_status({"schema_version": 1, "stage": "stage0", "newest_release": 0})
    assert (status.stage, status.healthy, status.release, status.roster) == ("stage0", False, None, None)


def test_a_url_that_is_not_https_is_refused() -> None:
    with pytest.raises(PushError, match="not an https URL"):
        ControlPlane("gw", "http://192.0.2.1:8443", ca_pem())


def test_a_release_is_pushed_and_waited_for(gateway: Gateway, time: Time) -> None:
    state = ReleaseProvider().push(release_inputs(gateway), None, time.patience())
    assert gateway.release == {"number": 1, "sha256": state["digest"]}


def test_a_release_that_fails_is_told_at_once_with_the_gateways_reason(gateway: Gateway, time: Time) -> None:
    gateway.release = {"number": 3, "sha256": "before"}
    gateway.runs_what_it_takes = False
    with pytest.raises(PushError, match=r"gw went back from release 4: its self-check ended with status 7;"):
        ReleaseProvider().push(release_inputs(gateway), Held(3, "before"), time.patience())
    assert time.now == 0


def test_after_a_release_that_failed_the_next_has_a_number_of_its_own(gateway: Gateway, time: Time) -> None:
    gateway.release = {"number": 3, "sha256": "before"}
    gateway.newest_release, gateway.failed_release = 4, {"number": 4, "reason": "it was not healthy"}
    ReleaseProvider().push(release_inputs(gateway), Held(3, "before"), time.patience())
    assert gateway.puts == [("release", 5)]


def test_a_gateway_whose_first_release_failed_takes_the_next(gateway: Gateway, time: Time) -> None:
    gateway.newest_release = 1
    assert ReleaseProvider().push(release_inputs(gateway), None, time.patience())["number"] == 2


def test_a_release_that_never_becomes_healthy_is_told_in_the_end(gateway: Gateway, time: Time) -> None:
    gateway.healthy = False
    with pytest.raises(PushError, match=r"runs the release .*the release is not healthy yet"):
        ReleaseProvider().push(release_inputs(gateway), None, time.patience())


def test_code_that_changed_after_the_plan_is_not_pushed(gateway: Gateway, time: Time) -> None:
    with pytest.raises(PushError, match="changed since the program planned"):
        ReleaseProvider().push({**release_inputs(gateway), "sha256": "planned"}, None, time.patience())
    assert not gateway.puts


def state_of(inputs: dict[str, Any]) -> dict[str, Any]:
    return {**inputs, "number": 3, "digest": content_digest(roster_document(inputs, 1))}


def test_nothing_changed_is_no_change(gateway: Gateway) -> None:
    inputs = inputs_of(gateway)
    assert not RosterProvider().diff("roster", state_of(inputs), inputs).changes


def test_provider_code_alone_is_no_change(gateway: Gateway) -> None:
    inputs = inputs_of(gateway)
    assert not RosterProvider().diff("roster", state_of(inputs), {**inputs, "__provider": "newer"}).changes


@pytest.mark.parametrize(
    "change",
    [
        {"gateways": {"gw": {"url": "https://127.0.0.1:1", "serverId": "8"}}},
        {"gateways": {"gw": {"url": "https://127.0.0.1:1", "serverId": rpc.UNKNOWN}}},
        {"adminCidrs": []},
        {"nodes": {"gw": node("10.100.0.1", rpc.UNKNOWN, "gateway", rpc.UNKNOWN)}},
        {"pools": {"burst": {"site": "aws", "range": "10.100.2.128/25", "tokenSha256": rpc.UNKNOWN}}},
    ],
)
def test_a_changed_or_unknown_input_is_a_change_and_never_a_replacement(
    gateway: Gateway, change: dict[str, Any]
) -> None:
    inputs = inputs_of(gateway)
    result = RosterProvider().diff("roster", state_of(inputs), {**inputs, **change})
    assert result.changes
    assert not result.replaces


def test_a_refresh_shows_a_gateway_that_holds_something_else(
    gateway: Gateway, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = inputs_of(gateway)
    provider = RosterProvider()
    provider.push(inputs, None, time.patience())
    state = {**state_of(inputs), "number": 1, "gateway_keys": {"gw": inputs["nodes"]["gw"]["publicKey"]}}
    same = provider.read("roster", state)
    assert same.outs == {key: value for key, value in state.items() if key != "__provider"}
    gateway.roster = {"number": 5, "sha256": "x", "content": "theirs"}
    drifted = provider.read("roster", state)
    assert drifted.outs is not None
    assert drifted.outs["digest"] == "theirs"
    assert provider.diff("roster", drifted.outs, inputs).changes, "the next update repairs it"


def test_a_refresh_shows_one_gateway_of_several_that_holds_something_else(
    gateway: Gateway, time: Time, tmp_path: Path
) -> None:
    with serving(Gateway(), tmp_path) as other:
        inputs = inputs_of(gateway)
        both = {"gateways": {**inputs["gateways"], "gw-b": {"url": other.url, "serverId": "8"}}}
        inputs["network"]["sites"]["gcp"] = {"cloud": "gcp", "subnet": "10.100.3.0/24", "region": "europe-west3"}
        second = node("10.100.3.254", "9Yk0+6ty0JmGUC8YoaRUeIvHsxYZ6OPN+gSkHgBLKRE=", "gateway", "192.0.2.2:51820")
        inputs["nodes"]["gw-b"] = {**second, "site": "gcp"}
        provider, inputs = RosterProvider(), {**inputs, **both}
        state = provider.push(inputs, None, time.patience())
        gateway.roster = {"number": 5, "sha256": "x", "content": "theirs"}
        drifted = provider.read("roster", state).outs
    assert drifted is not None
    assert provider.diff("roster", drifted, inputs).changes, "the second one, which is right, does not hide it"


def test_a_refresh_passes_over_a_dead_gateway(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.push_base.READ_SECONDS", 0.0)
    state = state_of(inputs_of(Gateway(url="https://127.0.0.1:1")))
    found = RosterProvider().read("roster", state).outs
    assert found is not None
    assert found["digest"] == state["digest"]
    assert "not compared" in capsys.readouterr().err


def test_deleting_asks_nobody() -> None:
    RosterProvider().delete("roster", inputs_of(Gateway(url="https://127.0.0.1:1")))


def test_pools_are_pushed_with_what_they_ask_of_machines(gateway: Gateway, time: Time) -> None:
    pool = {
        "site": "aws",
        "range": "10.100.2.128/25",
        "limit": 6.0,
        "tokenSha256": "ab" * 32,
        "ttl": 300.0,
        "rest": 600.0,
        "port": 8000.0,
        "healthPath": "/health",
    }
    aws = {"cloud": "aws", "account": "123456789012", "region": "eu-central-1", "certificates": ["one", "two"]}
    pools = {
        "burst": pool,
        "proved": {**pool, "range": "10.100.2.64/26", "identity": aws},
        "vouched": {**pool, "range": "10.100.2.32/27", "identity": {"cloud": "gcp", "project": "acme"}},
    }
    inputs = inputs_of(gateway, pools=pools)
    document = roster_document(inputs, 1)
    assert document.pool("burst") == Pool(
        "burst", "aws", IPv4Network("10.100.2.128/25"), 6, "ab" * 32, 300, 600, 8000, "/health"
    )
    assert document.pool("proved").identity == AwsIdentity("123456789012", "eu-central-1", ("one", "two"))
    assert document.pool("vouched").identity == GcpIdentity("acme")
    state = RosterProvider().push(inputs, None, time.patience())
    assert gateway.roster is not None
    assert gateway.roster["content"] == state["digest"]
    without = RosterProvider().push(inputs_of(gateway), Held(1, state["digest"]), time.patience())
    assert (without["number"], without["digest"] != state["digest"]) == (2, True)


BALANCED = burst({"loadBalancer": {"enabled": True}, "spokes/aws-1/serves": False})


def test_what_is_balanced_is_in_the_roster() -> None:
    inputs = run_program(BALANCED).named("roster").inputs
    base, others = {"weight": 10, "backup": False, "maxConns": 32}, {"weight": 5, "backup": True, "maxConns": 0}
    assert inputs["loadBalancer"] == {
        "check": {"interval": 2, "rise": 2, "fall": 3},
        "nodes": {
            "hetzner-1": {"port": 8000, "healthPath": "/health", **base},
            "hetzner-2": {"port": 8000, "healthPath": "/health", **base},
            "gcp-1": {"port": 8000, "healthPath": "/health", **others},
        },
        "pools": {"aws-burst": others, "gcp-burst": others, "hetzner-base": base},
        "trustedProxies": [],
    }
    settings = load(as_engine_gives(BALANCED), "hybrid-wireguard", "dev", ())
    assert parse(canonical(roster_document(inputs, 1))).load_balancer == make_plan(settings).load_balancer


def test_proxies_that_are_trusted_are_in_the_roster(gateway: Gateway) -> None:
    balancer = LoadBalancer(Check(2, 2, 3), {}, {})
    inputs = inputs_of(gateway, loadBalancer=balancer_inputs(balancer, ["192.0.2.0/24", "2001:db8::/32"]))
    found = parse(canonical(roster_document(inputs, 1))).load_balancer
    assert found == replace(balancer, trusted_proxies=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))


@pytest.mark.parametrize("config", [burst(), static(), BALANCED], ids=["pools", "no pools", "balanced"])
def test_what_the_program_registers_is_a_roster_that_gateways_take(config: dict[str, Any]) -> None:
    roster = run_program(config).named("roster").inputs
    document = roster_document(roster, 1)
    assert parse(canonical(document)) == document
    assert document.mtu == 1380
    assert {pool.name for pool in document.pools} == set(config["pools"])


def test_revoked_keys_reach_the_roster() -> None:
    key = "sVH5o+GYs26IfJWoiPlQy/O1rFKFvfHr35p13mgdvD4="
    inputs = run_program({**static(), "revokedKeys": [key]}).named("roster").inputs
    assert parse(canonical(roster_document(inputs, 1))).revoked_keys == (key,)


def test_a_declared_nodes_key_cannot_be_revoked(gateway: Gateway) -> None:
    inputs = inputs_of(gateway)
    assert not RosterProvider().check({}, inputs).failures
    inputs["nodes"]["gw"]["publicKey"] = rpc.UNKNOWN
    inputs["revokedKeys"] = [inputs["nodes"]["aws-1"]["publicKey"]]
    (failure,) = RosterProvider().check({}, inputs).failures
    assert failure.property == "revokedKeys"
    assert failure.reason.startswith("aws-1 has a key")
