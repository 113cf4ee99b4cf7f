"""Who a pool's machine is: its key, what its cloud says of it, and images of it, which are other machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from urllib.parse import quote

import pytest

from node import files, keys
from node.joining import AwsProof, GcpProof
from node.pool.state import Identity
from node.pool.system import SETUP, TUNNEL
from overlay.pools import token_audience
from tests.node.pool_support import AWS, Member
from tests.node.support import wait_for

DOCUMENT = "/latest/dynamic/instance-identity/document"
SIGNATURE = "/latest/dynamic/instance-identity/signature"
GCP = "/computeMetadata/v1/instance/"
ACCOUNT = f"{GCP}service-accounts/"


@pytest.mark.parametrize("name", ["identity.json", "lease.json", "departure.json"])
def test_a_broken_state_file_is_put_aside_and_the_machine_is_in_the_network(member: Member, name: str) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.end()
    (member.state / name).write_text('{"schema_version": 1}')
    member.gateway.log.clear()
    member.start()
    wait_for("the network", member.is_member)
    assert (member.state / f"{name}.corrupt").exists()
    assert len(member.gateway.requests) == (1 if name == "departure.json" else 2)


def test_an_image_of_a_machine_is_another_machine(member: Member) -> None:
    (member.files / "setup").touch()
    member.start()
    wait_for("the network", member.is_member)
    member.end()
    (member.state / "setup-done").touch()
    first = member.private_key()
    member.system.reboot()
    member.system.log.clear()
    member.metadata.texts[f"{AWS}instance-id"] = "i-0another"
    member.start()
    wait_for("its own setup", lambda: f"start {SETUP}" in member.system.log)
    assert member.private_key() != first
    assert member.gateway.requests[-1].ticket is None
    assert member.system.log == [f"restart {TUNNEL}", f"start {SETUP}"], "the other machine's tunnel was started"
    assert member.private_key() in member.conf.read_text()


def test_a_machine_without_metadata_keeps_its_tunnel(member: Member) -> None:
    member.start()
    wait_for("the network", member.is_member)
    member.end()
    member.system.reboot()
    del member.metadata.texts[f"{AWS}instance-id"]
    member.gateway.log.clear()
    member.start()
    wait_for("the network", member.is_member)


def imaged(member: Member) -> str:
    """Have ``member`` boot as a machine made of its own image; the key that the image has."""
    member.start()
    wait_for("the network", member.is_member)
    member.end()
    member.system.reboot()
    member.metadata.texts[f"{AWS}instance-id"] = "i-0another"
    member.gateway.log.clear()
    member.system.log.clear()
    return member.private_key()


def test_an_image_that_cannot_ask_who_it_is_at_first_becomes_another_machine_later(
    member: Member, capfd: pytest.CaptureFixture[str]
) -> None:
    first = imaged(member)
    member.metadata.failing = AWS
    member.start()
    wait_for("a few rounds", lambda: member.gateway.log.count("get") > 3)
    assert member.private_key() == first
    assert member.system.log == [f"restart {TUNNEL}"]
    assert capfd.readouterr().err.count("who this machine is cannot be found out yet") == 1
    member.metadata.failing = ""
    wait_for("another join", lambda: len(member.gateway.requests) == 2)
    assert member.gateway.requests[1].public_key != keys.public_key(first)
    assert (member.gateway.requests[1].instance_id, member.gateway.requests[1].ticket) == ("i-0another", None)
    wait_for("its tunnel", lambda: member.conf.exists() and member.private_key() in member.conf.read_text())
    assert member.system.log == [f"restart {TUNNEL}", f"stop {TUNNEL}", f"restart {TUNNEL}"]


@pytest.mark.parametrize("is_image", [False, True], ids=["the same machine", "an image"])
def test_a_machine_without_a_readable_key_takes_the_old_tunnel_down(member: Member, is_image: bool) -> None:
    first = imaged(member)
    if not is_image:
        member.metadata.texts[f"{AWS}instance-id"] = "i-0abc1234def567890"
    (member.state / "identity.json").write_text("{")
    member.metadata.failing = AWS
    member.gateway.refusal = (503, "not yet", "")
    member.start()
    wait_for("the old tunnel", member.system.has_interface)
    member.metadata.failing = ""
    wait_for("a refusal", lambda: "refused" in member.gateway.log)
    assert not member.system.interface
    assert not member.conf.exists()
    member.gateway.refusal = None
    wait_for("the network", member.is_member)
    assert first not in member.conf.read_text()


def test_an_identity_document_goes_with_the_request_as_it_is(member: Member) -> None:
    document = '{\n  "accountId" : "123456789012"\n}'
    member.metadata.texts |= {DOCUMENT: document, SIGNATURE: "c2ln\nbmF0dXJl\n"}
    member.start()
    wait_for("a request", lambda: bool(member.gateway.requests))
    assert member.gateway.requests[0].proof == AwsProof(document, "c2lnbmF0dXJl")


def test_a_machine_that_was_once_told_to_prove_nothing_sends_its_proof(member: Member) -> None:
    path = member.files / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prove": False}))
    member.metadata.texts |= {DOCUMENT: "{}", SIGNATURE: "c2ln"}
    member.start()
    wait_for("a request", lambda: bool(member.gateway.requests))
    assert member.gateway.requests[0].proof == AwsProof("{}", "c2ln")


def test_an_identity_token_is_made_for_this_key(member: Member) -> None:
    identity = Identity("42", keys.new())
    files.write(member.state / "identity.json", asdict(identity))
    audience = token_audience("aws-burst", keys.public_key(identity.private_key))
    asked = f"{ACCOUNT}default/identity?audience={quote(audience, safe='')}&format=full"
    member.metadata.texts = {f"{GCP}id": "42", asked: "header.claims.signature"}
    member.start(cloud="gcp")
    wait_for("a request", lambda: bool(member.gateway.requests))
    assert member.gateway.requests[0].proof == GcpProof("header.claims.signature")


@pytest.mark.parametrize(
    ("cloud", "texts", "failing"),
    [
        ("aws", {}, ""),
        ("aws", {DOCUMENT: "{}"}, ""),
        ("aws", {}, DOCUMENT),
        ("aws", {DOCUMENT: "{}"}, SIGNATURE),
        ("gcp", {f"{GCP}id": "42"}, ""),
        ("gcp", {f"{GCP}id": "42"}, ACCOUNT),
        ("hetzner", {"/hetzner/v1/metadata/instance-id": "42"}, ""),
    ],
)
def test_a_machine_whose_cloud_gives_no_proof_joins_without(
    member: Member, cloud: str, texts: dict[str, str], failing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    member.metadata.texts |= texts
    member.metadata.failing = failing
    member.start(cloud=cloud)
    wait_for("the network", member.is_member)
    member.gateway.leases.clear()
    wait_for("another join", lambda: len(member.gateway.requests) > 1)
    assert {request.proof for request in member.gateway.requests} == {None}
    assert capfd.readouterr().err.count("without a proof") == (1 if failing else 0)
