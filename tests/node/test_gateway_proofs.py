"""Proofs of origin over real HTTPS: which hold, which do not, and which nobody asked for."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from node import joining
from tests.node.identities import aws_identity, aws_proof, gcp_identity, gcp_proof
from tests.node.pools import Member, PoolGateway, pool, pool_roster
from tests.node.support import key
from tests.node.unchanging import refused


async def test_proofs_of_aws(gateway: PoolGateway) -> None:
    await gateway.push(pool_roster(2, pools=(pool(identity=aws_identity()),)))
    member = Member("i-1")
    other_document = replace(aws_proof("i-1"), document=aws_proof("i-2").document)
    cases: list[tuple[object, str]] = [
        (None, "asks for one of aws"),
        (gcp_proof("burst", member.public_key, "i-1"), "asks for one of aws"),
        (aws_proof("i-1", signer="somebody"), "has signed"),
        (other_document, "has signed"),
        (replace(aws_proof("i-1"), signature="%%%"), "not base64"),
        (aws_proof("i-2"), "instanceId"),
        (aws_proof("i-1", accountId="999999999999"), "accountId"),
        (aws_proof("i-1", region="us-east-1"), "region"),
        (joining.AwsProof("\ud800", "AAAA"), "no text"),
    ]
    for proof, reason in cases:
        await refused(gateway, member, 403, reason, proof=proof)
    assert (await gateway.join(member, proof=aws_proof("i-1")))[0] == 201
    thief = Member("i-1")
    await refused(gateway, thief, 409, "used with another key", proof=aws_proof("i-1"))
    assert (await gateway.tell(member, "DELETE"))[0] == 200
    await gateway.until(lambda: not gateway.live() and gateway.peers() == {key("spoke-1")}, "the lease's end")
    await refused(gateway, thief, 409, "used with another key", proof=aws_proof("i-1"))
    assert (await gateway.join(member, proof=aws_proof("i-1")))[0] == 201


async def test_proofs_of_gcp(gateway: PoolGateway) -> None:
    await gateway.push(pool_roster(2, pools=(pool("other", identity=gcp_identity()),)))
    member = Member("4711", "other")
    own = member.public_key
    none = gcp_proof("other", own, "4711", google={})
    cases: list[tuple[object, str]] = [
        (None, "asks for one of gcp"),
        (aws_proof("4711"), "asks for one of gcp"),
        (joining.GcpProof("no.token.atall"), "does not hold"),
        (joining.GcpProof("\ud800.a.b"), "does not hold"),
        (joining.GcpProof(base64.urlsafe_b64encode(b"[" * 15_000).decode().rstrip("=") + ".e30.AA"), "does not hold"),
        (gcp_proof("other", own, "4711", lifetime=-120), "expired"),
        (gcp_proof("other", own, "4711", signer="somebody"), "does not hold"),
        (gcp_proof("other", own, "4711", kid="key-2"), "no key of this id"),
        (gcp_proof("other", Member("4711").public_key, "4711"), "does not hold"),
        (gcp_proof("burst", own, "4711"), "does not hold"),
        (gcp_proof("other", own, "4711", iss="https://example.org"), "does not hold"),
        (gcp_proof("other", own, "4711", project="another"), "another project"),
        (gcp_proof("other", own, "4712"), "another instance"),
        (none, "another project"),
        (joining.GcpProof(unsigned(gcp_proof("other", own, "4711").token)), "does not hold"),
    ]
    for proof, reason in cases:
        await refused(gateway, member, 403, reason, proof=proof)
    assert (await gateway.join(member, proof=gcp_proof("other", own, "4711")))[0] == 201
    older, again = member.address, Member("4711", "other")
    assert (await gateway.join(again, proof=gcp_proof("other", again.public_key, "4711")))[0] == 201
    assert again.address == older, "the machine made a new key, and keeps its place"
    assert gateway.peers() == {key("spoke-1"), again.public_key}
    assert gateway.events(again.answer.name if again.answer else None)[:3] == ["join", "supersede", "join"]


def unsigned(token: str) -> str:
    """The token with the algorithm ``none``."""
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": "key-1"}).encode()).decode().rstrip("=")
    return f"{head}.{token.split('.')[1]}."


async def test_a_proof_that_nobody_asks_for_is_not_looked_at(
    gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []

    def verified(*said: object) -> None:
        looked.append(said)

    for cloud in ("aws", "gcp"):
        monkeypatch.setattr(f"node.gateway.identity.{cloud}.verified", verified)
    wrong = (aws_proof("i-2", signer="somebody"), joining.GcpProof("no.token.atall"))
    for number, proof in enumerate(wrong):
        member = Member(f"i-{number}")
        assert [(await gateway.join(member, proof=proof))[0] for _ in range(2)] == [201, 200]
        await refused(gateway, Member(f"i-{number}"), 409, "under another key", proof=proof)
    assert looked == []


async def test_an_instance_under_another_key_without_a_proof(gateway: PoolGateway) -> None:
    assert (await gateway.join(Member("i-1")))[0] == 201
    await refused(gateway, Member("i-1"), 409, "under another key")
