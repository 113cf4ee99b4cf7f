"""Whom a machine believes after the stack has changed its keys: on a node, and on a gateway over real TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node import files, release, stage0
from node.config import Config, load
from node.gateway.certificate import Certificates
from node.gateway.rosters import Rosters
from node.trust.trust import Trust
from overlay.certificate import ControlCertificate, canonical_certificate
from overlay.signing import Handover, certificate_message, handover_message, handovers_body, handovers_message
from tests.node.network_support import Machine, three_sites
from tests.node.pools import PUBLIC_ADDRESS, PoolGateway, pool_roster
from tests.node.support import Stack, archive, roster, signed, write_config

LATER = [Stack(), Stack()]
"""The same stack with its second and its third key and authority."""
BODY = b"a message"


def handover(before: Stack, after: Stack) -> Handover:
    return Handover(after.public_key, before.sign(handover_message(after.public_key)))


def chain(stack: Stack, count: int = 2) -> tuple[Handover, ...]:
    stacks = [stack, *LATER]
    return tuple(handover(stacks[index], stacks[index + 1]) for index in range(count))


def offered(stack: Stack, count: int = 2) -> tuple[bytes, str]:
    body = handovers_body(chain(stack, count))
    return body, [stack, *LATER][count].sign(handovers_message(body))


def loaded(folder: Path, stack: Stack) -> Trust:
    found = stack.trust(folder)
    found.load()
    return found


def test_a_node_follows_its_key_to_the_present_one_and_knows_it_again(tmp_path: Path, stack: Stack) -> None:
    found = loaded(tmp_path, stack)
    found.learn(chain(stack))
    for trust in (found, loaded(tmp_path, stack)):
        assert trust.key == LATER[1].public_key
        assert trust.is_signed(BODY, LATER[1].sign(BODY))
        assert not trust.is_signed(BODY, stack.sign(BODY)), "the old key makes nothing new"
        assert trust.was_signed(BODY, stack.sign(BODY)), "and what it made before is still known"
        assert not trust.was_signed(BODY, Stack().sign(BODY))
    for name in ("signing.json", "signing.pub"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert stage0.signing_key({"signing_public_key": stack.public_key}) == stack.public_key


def test_stage_0_finds_the_present_key(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(tmp_path, stack).learn(chain(stack))
    monkeypatch.setattr(stage0, "RELEASES", tmp_path / "releases")
    assert stage0.signing_key({"signing_public_key": stack.public_key}) == LATER[1].public_key


def test_stage_0_of_a_machine_that_knows_the_first_key_alone_takes_the_present_release(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose disk was lost, or that was launched just before the change: its user data is what it was."""
    monkeypatch.setattr(stage0, "RELEASES", tmp_path / "releases")
    stage0.RELEASES.mkdir()
    found = archive({"node/__init__.py": ""})
    trust = loaded(tmp_path, stack)
    assert trust.headers == {}
    trust.learn(chain(stack))
    headers = {**LATER[1].release_headers(1, found), **trust.headers}
    thief = {**LATER[1].release_headers(1, found), "X-Hybridnet-Keys": f"{LATER[1].public_key}:bm8="}
    assert stage0.store(stack.public_key, thief, found) == (403, "wrong signature")
    assert stage0.store(LATER[1].public_key, {**stack.release_headers(1, found), **trust.headers}, found)[0] == 403
    assert stage0.store(stack.public_key, headers, found) == (201, "taken")


def test_nobody_else_leads_a_machine_on(tmp_path: Path, stack: Stack) -> None:
    found = loaded(tmp_path, stack)
    thief = Stack()
    found.learn((Handover(thief.public_key, thief.sign(handover_message(thief.public_key))),))
    assert found.key == stack.public_key
    found.learn(chain(stack, 1))
    found.learn((handover(stack, thief),))
    assert found.key == LATER[0].public_key, "who has the first key, which was stolen, leads back nobody"
    assert found.handovers == chain(stack, 1)


def test_a_broken_memory_of_how_it_came_about_leaves_the_key(
    tmp_path: Path, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded(tmp_path, stack).learn(chain(stack))
    (tmp_path / "signing.json").write_text("{")
    assert loaded(tmp_path, stack).key == LATER[1].public_key
    assert "signing.json.corrupt" in capsys.readouterr().err
    again = loaded(tmp_path, stack)
    assert (again.key, again.handovers) == (LATER[1].public_key, ())
    assert again.offer(*offered(stack)) == (201, "taken")
    assert loaded(tmp_path, stack).handovers == chain(stack)


def test_a_crash_between_both_files_leaves_stage_0_no_earlier_key(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path / "releases")
    found, write = loaded(tmp_path, stack), files.write_text

    def killed(path: Path, text: str) -> None:
        if path.name == "signing.pub":
            raise KeyboardInterrupt
        write(path, text)

    for count in (1, 2):
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_text", killed)
            with pytest.raises(KeyboardInterrupt):
                found.offer(*offered(stack, count))
        found = loaded(tmp_path, stack)
        assert stage0.signing_key({"signing_public_key": stack.public_key}) == found.key != stack.public_key
    assert found.key == LATER[1].public_key


def test_a_start_on_a_full_disk_believes_the_present_key(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded(tmp_path, stack).learn(chain(stack))
    (tmp_path / "signing.pub").unlink()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_text", full)
    assert loaded(tmp_path, stack).key == LATER[1].public_key
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize("broken", [b"", b"AAAA", b"not base64", b"\xff\xfe"])
def test_a_key_that_cannot_be_read_leaves_the_one_that_leads_on(tmp_path: Path, stack: Stack, broken: bytes) -> None:
    loaded(tmp_path, stack).learn(chain(stack, 1))
    (tmp_path / "signing.pub").write_bytes(broken)
    assert loaded(tmp_path, stack).key == LATER[0].public_key
    (tmp_path / "signing.pub").write_bytes(broken)
    (tmp_path / "signing.json").unlink()
    found = loaded(tmp_path, stack)
    found.learn(chain(stack))
    assert found.key == LATER[1].public_key, "it finds the way from first boot's key again"


def test_a_look_changes_nothing(tmp_path: Path, stack: Stack) -> None:
    (tmp_path / "signing.json").write_text("{")
    stack.trust(tmp_path).load(read_only=True)
    assert [path.name for path in tmp_path.iterdir()] == ["signing.json"]


def test_a_first_boot_with_a_later_key_counts(tmp_path: Path, stack: Stack) -> None:
    """A machine of others is told the present key again, and has an old state."""
    loaded(tmp_path, stack).learn(chain(stack, 1))
    assert loaded(tmp_path, LATER[1]).key == LATER[1].public_key
    assert (tmp_path / "signing.pub").read_text().strip() == LATER[1].public_key


def test_a_full_disk_keeps_no_node_from_the_present_key(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = loaded(tmp_path, stack)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("node.trust.trust.files.write", full)
    found.learn(chain(stack))
    assert found.key == LATER[1].public_key
    gateway = loaded(tmp_path, stack)
    with pytest.raises(OSError, match="No space"):
        gateway.offer(*offered(stack))
    assert (gateway.key, gateway.handovers) == (stack.public_key, ())


def wrong_offers(stack: Stack) -> list[tuple[bytes, str | None, int]]:
    body, signature = offered(stack)
    thief = Stack()
    theirs = handovers_body((Handover(thief.public_key, thief.sign(handover_message(thief.public_key))),))
    padded = handovers_body((handover(thief, stack), *chain(stack)))
    return [
        (body, None, 403),
        (body, stack.sign(handovers_message(body)), 403),
        (body + b"\n", signature, 400),
        (theirs, thief.sign(handovers_message(theirs)), 403),
        (padded, thief.sign(handovers_message(padded)), 403),
    ]


def test_a_gateway_takes_what_the_newest_key_signed_and_its_own_leads_to(tmp_path: Path, stack: Stack) -> None:
    found = loaded(tmp_path, stack)
    for body, signature, status in wrong_offers(stack):
        assert found.offer(body, signature)[0] == status
        assert (found.key, found.handovers) == (stack.public_key, ())
    assert found.offer(*offered(stack, 1)) == (201, "taken")
    assert found.offer(*offered(stack, 2)) == (201, "taken")
    assert found.offer(*offered(stack, 2)) == (200, "same")
    assert found.offer(*offered(stack, 1))[0] == 403, "there is no way back"
    assert found.key == LATER[1].public_key


def test_a_gateway_made_anew_is_told_how_its_key_came_about(tmp_path: Path, stack: Stack) -> None:
    """It was told the newest key, and machines that were off meanwhile were not."""
    found = loaded(tmp_path, LATER[1])
    assert found.offer(*offered(stack)) == (201, "taken")
    assert found.handovers == chain(stack)
    assert found.key == LATER[1].public_key


def test_the_roster_that_is_kept_survives_a_new_key_and_is_signed_anew(tmp_path: Path, stack: Stack) -> None:
    path = tmp_path / "roster.json"
    body, signature = signed(stack, roster(1))
    assert Rosters(path, "gw", loaded(tmp_path, stack)).offer(body, signature)[0] == 201
    trust = loaded(tmp_path, stack)
    trust.offer(*offered(stack, 1))
    rosters = Rosters(path, "gw", trust)
    rosters.load()
    rosters.verify()
    assert rosters.offer(body, signature) == (403, "wrong signature")
    anew = LATER[0].sign_roster(body)
    assert rosters.offer(body, anew) == (200, "same")
    assert rosters.kept is not None
    assert rosters.kept.signature == anew == json.loads(path.read_text())["signature"]


def test_a_machine_in_the_network_learns_key_and_authority(tmp_path: Path, stack: Stack) -> None:
    machine = Machine(tmp_path, stack)
    machine.asker.turn()
    machine.gateways.stack, machine.gateways.signing = LATER[0], chain(stack, 1)
    machine.gateways.roster = three_sites(number=2, authorities=(LATER[0].ca_pem,))
    machine.asker.turn()
    assert machine.agent.kept is not None
    assert machine.agent.kept.roster.number == 2
    machine.gateways.stack, machine.gateways.signing = stack, ()
    machine.gateways.roster = three_sites(number=3)
    machine.asker.turn()
    assert machine.agent.kept.roster.number == 2, "a gateway that goes on with the old key tells nothing new"
    machine.start()
    machine.agent.round()
    assert machine.agent.kept is not None
    assert machine.agent.kept.roster.number == 2


def issuers(context: ssl.SSLContext) -> list[bytes]:
    return context.get_ca_certs(binary_form=True)


def test_the_rosters_authority_takes_the_place_of_first_boots(tmp_path: Path, stack: Stack) -> None:
    write_config(tmp_path, stack, "spoke", "127.0.0.1:8443")
    trust = loaded(tmp_path, stack)
    first = trust.tls
    assert issuers(first) == [ssl.PEM_cert_to_DER_cert(stack.ca_pem)]
    trust.believe([LATER[0].ca_pem])
    assert issuers(trust.tls) == [ssl.PEM_cert_to_DER_cert(LATER[0].ca_pem)]
    assert trust.tls is trust.tls
    trust.believe(["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
    assert issuers(trust.tls) == issuers(first), "one that nobody can read is none"
    (tmp_path / "ca.pem").unlink()
    trust.believe([])
    with pytest.raises(OSError, match="No such file"):
        _ = trust.tls


def certificate(stack: Stack, number: int = 1, **changes: Any) -> bytes:
    made = ControlCertificate(number, "gw", stack.certificate_pem, stack.key_pem)
    return canonical_certificate(replace(made, **changes))


async def shown_to(gateway: PoolGateway, stack: Stack) -> asyncio.StreamWriter:
    """A connection of whoever trusts the authority of ``stack`` alone; ssl.SSLError when the gateway shows another."""
    tls = ssl.create_default_context(cadata=stack.ca_pem)
    return (await asyncio.open_connection(PUBLIC_ADDRESS, gateway.port, ssl=tls))[1]


async def test_another_certificate_is_shown_to_whoever_comes_and_disturbs_nobody(
    gateway: PoolGateway, stack: Stack
) -> None:
    tls = ssl.create_default_context(cadata=stack.ca_pem)
    reader, there = await asyncio.open_connection(PUBLIC_ADDRESS, gateway.port, ssl=tls)
    body = certificate(LATER[0])
    wrong = await gateway.ask("PUT", "/v1/certificate", body, {"X-Hybridnet-Signature": stack.sign(body)})
    assert wrong[0] == 403
    signature = {"X-Hybridnet-Signature": stack.sign(certificate_message(body))}
    assert (await gateway.ask("PUT", "/v1/certificate", body, signature))[0] == 201
    (await shown_to(gateway, LATER[0])).close()
    with pytest.raises(ssl.SSLError):
        await shown_to(gateway, stack)
    there.write(b"GET /v1/status?brief HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200")
    there.close()
    assert gateway.service.status(with_peers=False)["certificate"]["number"] == 1
    assert [line["what"] for line in gateway.audit() if line["event"] == "rotate"] == ["certificate"]
    assert stat.S_IMODE((gateway.state / "control.json").stat().st_mode) == 0o600
    again = Certificates(gateway.network.config, gateway.network.trust)
    again.load()
    assert again.kept is not None
    assert again.not_after == gateway.service.certificates.not_after


async def test_certificates_that_are_not_for_this_gateway_are_refused(gateway: PoolGateway, stack: Stack) -> None:
    first = certificate(stack, 2)

    async def put(body: bytes) -> tuple[int, str]:
        signature = {"X-Hybridnet-Signature": stack.sign(certificate_message(body))}
        status, answer = await gateway.ask("PUT", "/v1/certificate", body, signature)
        return status, answer["reason"]

    assert await put(first) == (201, "taken")
    assert await put(first) == (200, "same")
    assert await put(certificate(stack, 1)) == (409, "certificate 2 is here")
    assert (await put(certificate(stack, 3, gateway="other")))[0] == 400
    status, reason = await put(certificate(stack, 3, private_key=LATER[0].key_pem))
    assert (status, reason) == (400, "certificate.private_key: it is not the certificate's")
    assert gateway.service.status(with_peers=False)["certificate"]["number"] == 2


def test_a_broken_certificate_leaves_first_boots(gateway_config: Config, stack: Stack) -> None:
    (gateway_config.state / "control.json").write_text("{")
    found = Certificates(gateway_config, loaded(gateway_config.state, stack))
    found.load()
    assert found.kept is None
    assert found.not_after.year == 2035
    assert (gateway_config.state / "control.json.corrupt").exists()


@pytest.fixture
def gateway_config(tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Config:
    write_config(tmp_path / "files", stack, "gateway", "127.0.0.1:8443")
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path / "files"))
    return load()


async def test_after_a_handover_a_gateway_takes_the_new_key_alone(gateway: PoolGateway, stack: Stack) -> None:
    body, signature = offered(stack, 1)
    status, _ = await gateway.ask("PUT", "/v1/signing", body, {"X-Hybridnet-Signature": signature})
    assert status == 201
    told = (await gateway.ask("GET", "/v1/status"))[1]
    assert (told["signing"], told["handovers"]) == (LATER[0].public_key, 1)
    assert [line["what"] for line in gateway.audit() if line["event"] == "rotate"] == ["signing key"]
    old, new = signed(stack, pool_roster(2)), signed(LATER[0], pool_roster(2))
    assert (await gateway.ask("PUT", "/v1/roster", old[0], {"X-Hybridnet-Signature": old[1]}))[0] == 403
    assert (await gateway.ask("PUT", "/v1/roster", new[0], {"X-Hybridnet-Signature": new[1]}))[0] == 201


def test_a_release_that_is_signed_anew_is_handed_on_so(
    tmp_path: Path, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage0, "RELEASES", tmp_path)
    (tmp_path / "3").mkdir()
    found = release.Release(3, b"an archive", "before")
    headers = LATER[0].release_headers(3, b"an archive")
    anew = release.resigned(found, headers)
    assert anew.signature == headers["X-Hybridnet-Signature"] == (tmp_path / "3" / "signature").read_text()
    assert release.resigned(found, LATER[0].release_headers(2, b"")) is found
