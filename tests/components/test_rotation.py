"""Another of the stack's own keys: what the program makes, what a preview shows, how gateways come to believe it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components import release
from components.control import Held, PushError
from components.keys import sign, signing_public_key
from components.push import ReleaseProvider, RosterProvider
from components.push_certificate import ControlCertificateProvider
from overlay.signing import Handover, handover_message, trusted
from tests.components.configs import static
from tests.components.gateways import SIGNING_KEY, Gateway, Time, ca_pem, serving, verified
from tests.components.recorder import CERTIFICATE, Run, is_secret, key_pem, run_program

SECOND = key_pem("stack-signing-2", "ED25519")[0]
THIRD = key_pem("stack-signing-3", "ED25519")[0]
FIRST, PRESENT = "GE1AFY974hTtgqQ9UOajVqW0pdAzqdj0XKSHNSudHDc=", "sVH5o+GYs26IfJWoiPlQy/O1rFKFvfHr35p13mgdvD4="
"""A gateway's enrolment key, and one that it has changed to."""
MACHINES = ("hcloud:index/server:Server", "aws:ec2/instance:Instance", "gcp:compute/instance:Instance")


def handover(before: str, after: str) -> dict[str, str]:
    public = signing_public_key(after)
    return {"publicKey": public, "signature": sign(before, handover_message(public))}


@pytest.fixture(scope="module")
def before() -> Run:
    return run_program(static())


@pytest.fixture(scope="module")
def rotated() -> Run:
    return run_program({**static(), "protect": True, "keys": {"signingRevision": 3, "caRevision": 3}})


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with serving(Gateway(release={"number": 1, "sha256": "before"}, newest_release=1), tmp_path) as found:
        yield found


@pytest.fixture
def time() -> Time:
    return Time()


def pushed(gateway: Gateway, **more: Any) -> dict[str, Any]:
    """A push's inputs with the third signing key."""
    return {
        "gateways": {"gw": {"url": gateway.url, "serverId": "7"}},
        "ca": ca_pem(),
        "signingKey": THIRD,
        "earlierKeys": [SIGNING_KEY, SECOND],
        "handovers": [handover(SIGNING_KEY, SECOND), handover(SECOND, THIRD)],
        **more,
    }


def test_the_first_revision_is_as_stacks_have_it(before: Run) -> None:
    assert not {r.name for r in before.resources} & {"stack-signing-2", "authority-2-key", "stack-signing-1"}
    assert not {"handovers", "earlierKeys"} & before.named("release").inputs.keys()
    assert before.named("release").inputs["ca"] == CERTIFICATE
    assert before.named("roster").inputs["authorities"] == [CERTIFICATE]


def test_a_raise_makes_keys_and_reaches_no_machine(before: Run, rotated: Run) -> None:
    names = {r.name for r in before.resources}, {r.name for r in rotated.resources}
    tls_keys = {"hetzner-gw-tls-key-3", "hetzner-gw-serving-key-3"}
    authorities = {f"authority-{n}-{what}" for n in (2, 3) for what in ("key", "certificate", "request", "bridge")}
    assert names[1] - names[0] == {"stack-signing-2", "stack-signing-3", *authorities, *tls_keys}
    assert names[0] - names[1] == {"hetzner-gw-tls-key", "hetzner-gw-serving-key"}
    for kind in MACHINES:
        for machine in rotated.of_type(kind):
            old = before.named(machine.name)
            changed = {key for key in machine.inputs if machine.inputs[key] != old.inputs.get(key)}
            assert changed <= machine.ignored, machine.name


def test_the_handovers_lead_from_the_first_key_to_the_one_that_new_machines_get(rotated: Run) -> None:
    told = rotated.named("roster").inputs["handovers"]
    handovers = [Handover(each["publicKey"], each["signature"]) for each in told]
    keys = trusted(signing_public_key(SIGNING_KEY), handovers, verified)
    assert keys == tuple(map(signing_public_key, (SIGNING_KEY, SECOND, THIRD)))
    assert keys[-1] in rotated.named("hetzner-gw-server").inputs["userData"]
    assert keys[0] not in rotated.named("hetzner-gw-server").inputs["userData"]


def test_old_keys_stay_and_only_public_halves_are_plain(rotated: Run) -> None:
    roster = rotated.named("roster")
    assert {key for key, value in roster.raw.items() if is_secret(value)} == {"signingKey", "earlierKeys", "__provider"}
    assert roster.inputs["earlierKeys"] == [SIGNING_KEY, SECOND]
    assert rotated.named("stack-signing").request.protect
    assert rotated.named("authority-2-key").request.protect


def test_each_authority_is_vouched_for_by_the_one_before_it(rotated: Run) -> None:
    bridge = rotated.named("authority-3-bridge")
    assert bridge.inputs["isCaCertificate"] is True
    assert bridge.inputs["caPrivateKeyPem"] == key_pem("authority-2-key", "ECDSA")[0]
    assert rotated.named("authority-3-request").inputs["privateKeyPem"] == key_pem("authority-3-key", "ECDSA")[0]
    assert rotated.named("authority-3-certificate").inputs["subject"] == {"commonName": "hybrid-wireguard-dev 3"}
    leaf = rotated.named("hetzner-gw-certificate").inputs
    assert leaf["caPrivateKeyPem"] == key_pem("authority-3-key", "ECDSA")[0]
    shown = rotated.named("hetzner-gw-control").inputs["certificate"]
    assert shown == CERTIFICATE * 3, "its own, and the way to either authority before"
    assert rotated.named("roster").inputs["authorities"] == [CERTIFICATE], "the present one, and no other"
    assert rotated.named("release").inputs["ca"] == CERTIFICATE * 3


def test_a_gateway_believes_the_present_key_before_it_is_told_anything_with_it(gateway: Gateway, time: Time) -> None:
    inputs = pushed(gateway, sha256=release.build().sha256)
    state = ReleaseProvider().push(inputs, Held(1, "before"), time.patience())
    assert gateway.key == signing_public_key(THIRD)
    assert gateway.puts == [("signing", 2), ("release", 2)]
    assert state["number"] == 2


@pytest.mark.parametrize("is_new", [False, True])
def test_a_gateway_that_knows_of_no_change_gets_a_release_that_does(gateway: Gateway, time: Time, is_new: bool) -> None:
    """Stage 0, and a release from before keys could change."""
    gateway.knows_signing = False
    if is_new:
        gateway.release = None
    inputs = pushed(gateway, sha256=release.build().sha256)

    def took(kind: str, number: int) -> None:
        del number
        gateway.knows_signing = kind == "release"

    gateway.on_put = took
    ReleaseProvider().push(inputs, Held(1, "before"), time.patience())
    assert gateway.puts == [("release", 2), ("signing", 2)]
    assert gateway.key == signing_public_key(THIRD)


def test_a_gateway_of_another_stack_takes_none_of_its_keys(gateway: Gateway, time: Time) -> None:
    gateway.key = signing_public_key(key_pem("foreign", "ED25519")[0])
    gateway.knows_signing = False
    with pytest.raises(PushError, match=r"refused /v1/release: the signature.*raise its revision"):
        ReleaseProvider().push(pushed(gateway, sha256=release.build().sha256), Held(1, "before"), time.patience())
    assert not gateway.puts


def test_a_certificate_is_pushed_to_its_gateway_alone(gateway: Gateway, time: Time) -> None:
    inputs = pushed(gateway, certificate=CERTIFICATE, privateKey=SIGNING_KEY)
    state = ControlCertificateProvider().push(inputs, None, time.patience())
    assert gateway.certificate is not None
    assert gateway.certificate["content"] == state["digest"]
    found = ControlCertificateProvider().read("certificate", state).outs
    assert found is not None
    assert not ControlCertificateProvider().diff("certificate", found, inputs).changes
    gateway.certificate = None
    found = ControlCertificateProvider().read("certificate", state).outs
    assert found is not None
    assert ControlCertificateProvider().diff("certificate", found, inputs).changes, "a gateway without it is told again"


def test_a_refresh_shows_a_gateway_that_believes_another_key(gateway: Gateway, time: Time) -> None:
    """Its disk is from before the change: whatever it holds, it is told everything again."""
    provider, inputs = RosterProvider(), roster_state(gateway)
    state = provider.push(inputs, None, time.patience())
    found = provider.read("roster", state).outs
    assert found is not None
    assert not provider.diff("roster", found, inputs).changes
    gateway.key = signing_public_key(SECOND)
    found = provider.read("roster", state).outs
    assert found is not None
    assert provider.diff("roster", found, inputs).changes
    provider.push(inputs, Held(state["number"], state["digest"]), time.patience())
    assert gateway.key == signing_public_key(THIRD)


def test_a_refresh_shows_a_gateway_that_cannot_lead_others_to_the_present_key(gateway: Gateway, time: Time) -> None:
    provider, inputs = RosterProvider(), roster_state(gateway)
    state = provider.push(inputs, None, time.patience())
    gateway.handovers = 0
    found = provider.read("roster", state).outs
    assert found is not None
    assert provider.diff("roster", found, inputs).changes
    provider.push(inputs, Held(state["number"], state["digest"]), time.patience())
    assert gateway.handovers == 2


@pytest.mark.parametrize(
    ("was", "now", "names"),
    [
        ({"signingRevision": 2.0, "caRevision": 1.0}, {"signingRevision": 1, "caRevision": 1}, ["signingRevision"]),
        ({"signingRevision": 2.0, "caRevision": 3.0}, {"signingRevision": 3, "caRevision": 2}, ["caRevision"]),
        ({"signingRevision": 2.0, "caRevision": 3.0}, {"signingRevision": 2, "caRevision": 4}, []),
        (None, {"signingRevision": 1, "caRevision": 1}, []),
    ],
)
def test_no_key_is_gone_back_to(was: dict[str, float] | None, now: dict[str, int], names: list[str]) -> None:
    news: dict[str, Any] = {"keys": now, "revokedKeys": [], "nodes": {}, "gateways": {}}
    olds = {**news, "keys": was} if was else {key: value for key, value in news.items() if key != "keys"}
    failures = RosterProvider().check(olds, news).failures
    assert [failure.reason.split()[0] for failure in failures] == [f"keys.{name}" for name in names]


def roster_state(gateway: Gateway) -> dict[str, Any]:
    node = {"site": "aws", "role": "gateway", "address": "10.100.0.1", "publicKey": FIRST}
    site = {"cloud": "aws", "subnet": "10.100.2.0/24", "region": "eu-central-1"}
    return pushed(
        gateway,
        network={"overlay": "10.100.0.0/16", "topology": "hub", "mtu": 1380.0, "sites": {"aws": site}},
        nodes={"gw": {**node, "endpoint": "192.0.2.1:51820"}},
        pools={},
        wireguardSources=["0.0.0.0/0"],
        adminCidrs=[],
        revokedKeys=[],
        authorities=[ca_pem()],
        keys={"signingRevision": 3, "caRevision": 1},
    )


def test_the_key_that_a_gateway_has_changed_to_is_read_from_it(gateway: Gateway, time: Time) -> None:
    provider, inputs = RosterProvider(), roster_state(gateway)
    state = provider.push(inputs, None, time.patience())
    assert state["gateway_keys"] == {"gw": FIRST}, "a release that does not tell uses the first one"
    gateway.public_key = PRESENT
    found = provider.read("roster", state).outs
    assert found is not None
    assert found["gateway_keys"] == {"gw": PRESENT}
    assert not provider.diff("roster", found, inputs).changes, "nothing is pushed for that"


def test_a_dead_gateways_key_stays_what_is_known_of_it(
    gateway: Gateway, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.public_key = PRESENT
    state = RosterProvider().push(roster_state(gateway), None, time.patience())
    monkeypatch.setattr("components.push_base.READ_SECONDS", 0.0)
    state["gateways"] = {"gw": {"url": "https://127.0.0.1:1", "serverId": "7"}}
    found = RosterProvider().read("roster", state).outs
    assert found is not None
    assert found["gateway_keys"] == {"gw": PRESENT}
