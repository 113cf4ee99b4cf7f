"""Which serving credentials a gateway takes, and how it keeps them."""

from __future__ import annotations

import base64
import datetime
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from node.gateway.serving.credentials import CredentialStore
from overlay.serving import Credentials, canonical_credentials, credentials_digest
from tests.node.pools import PoolGateway
from tests.node.serving import API_KEY, Authority, credentials, signed_credentials
from tests.node.support import Stack

AUTHORITY = Authority()


def store(folder: Path, stack: Stack, **options: Any) -> CredentialStore:
    made = CredentialStore(folder / "credentials.json", "gw", stack.trust(folder), **options)
    made.load()
    return made


def test_signed_credentials_are_kept_for_root_alone(tmp_path: Path, stack: Stack) -> None:
    made = credentials(3, AUTHORITY, api_keys={"team": API_KEY}, client_ca=AUTHORITY.pem)
    first = store(tmp_path, stack)
    assert first.offer(*signed_credentials(stack, made)) == (201, "taken")
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600
    for found in (first, store(tmp_path, stack)):
        assert found.kept
        assert (found.kept.credentials, found.kept.content) == (made, credentials_digest(made))
        left = found.kept.not_after - datetime.datetime.now(datetime.UTC)
        assert datetime.timedelta(days=29) < left < datetime.timedelta(days=31)
        assert found.offer(*signed_credentials(stack, made)) == (200, "same")
        status, reason = found.offer(*signed_credentials(stack, replace(made, api_keys={})))
        assert (status, reason) == (409, "credentials 3 are here")
        assert found.offer(*signed_credentials(stack, replace(made, number=2)))[0] == 409


def test_only_the_stacks_signature_for_credentials_counts(tmp_path: Path, stack: Stack) -> None:
    body, signature = signed_credentials(stack, credentials(1, AUTHORITY))
    found = store(tmp_path, stack)
    for wrong in (
        None,
        "",
        "no base64",
        base64.b64encode(b"x" * 64).decode(),
        stack.sign_roster(body),
        stack.sign(body),
    ):
        assert found.offer(body, wrong) == (403, "wrong signature")
    assert found.offer(body + b" ", signature)[0] == 403
    assert found.kept is None


def _sealed_key(made: Credentials) -> Credentials:
    key = serialization.load_pem_private_key(made.private_key.encode(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return replace(made, private_key=key.private_bytes(*form, serialization.BestAvailableEncryption(b"x")).decode())


def _garbage(label: str) -> str:
    return f"-----BEGIN {label}-----\n{base64.b64encode(b'garbage').decode()}\n-----END {label}-----\n"


def _expired(made: Credentials) -> Credentials:
    certificate, private_key = AUTHORITY.issue(days=-1)
    return replace(made, certificate=certificate, private_key=private_key)


USELESS: list[tuple[Callable[[Credentials], Credentials], str]] = [
    (lambda made: replace(made, private_key=AUTHORITY.issue()[1]), "private_key: it is not the certificate's"),
    (lambda made: replace(made, private_key=_garbage("PRIVATE KEY")), "private_key: it cannot be read"),
    (lambda made: replace(made, private_key=made.certificate), "private_key: it cannot be read"),
    (_sealed_key, "private_key: it cannot be read, or is sealed"),
    (lambda made: replace(made, certificate=_garbage("CERTIFICATE")), "certificate: it cannot be read"),
    (lambda made: replace(made, certificate=made.private_key), "certificate: it cannot be read"),
    (lambda made: replace(made, certificate=made.certificate + _garbage("CERTIFICATE")), "certificate: it cannot"),
    (lambda made: replace(made, client_ca=_garbage("CERTIFICATE")), "client_ca: it cannot be read"),
    (_expired, "certificate: it expired on"),
    (lambda made: replace(made, gateway="gw-2"), "gateway: not about this gateway"),
    (lambda made: replace(made, certificate="no PEM"), "certificate: not PEM"),
    (lambda made: replace(made, api_keys={"team": "short"}), "api_keys.team"),
]


@pytest.mark.parametrize(("change", "reason"), USELESS)
def test_credentials_that_cannot_serve_are_refused(
    tmp_path: Path, stack: Stack, change: Callable[[Credentials], Credentials], reason: str
) -> None:
    made = change(credentials(1, AUTHORITY, api_keys={"team": API_KEY}))
    found = store(tmp_path, stack)
    status, told = found.offer(*signed_credentials(stack, made))
    assert (status, reason in told) == (400, True), told
    assert not any(secret in told for secret in (API_KEY, made.private_key.splitlines()[1]))
    assert found.kept is None
    assert not (tmp_path / "credentials.json").exists()


def test_a_chain_begins_with_the_gateways_own_certificate(tmp_path: Path, stack: Stack) -> None:
    certificate, key = AUTHORITY.issue()
    found = store(tmp_path, stack)
    for number, chain, status in ((1, AUTHORITY.pem + certificate, 400), (2, certificate + AUTHORITY.pem, 201)):
        made = Credentials(number, "gw", chain, key)
        assert found.offer(*signed_credentials(stack, made))[0] == status


@pytest.mark.parametrize("text", [None, "no JSON"])
def test_what_is_forgotten_is_nowhere_and_any_number_may_come(tmp_path: Path, stack: Stack, text: str | None) -> None:
    if text:
        (tmp_path / "credentials.json").write_text(text)
    found = store(tmp_path, stack)
    if text is None:
        assert found.offer(*signed_credentials(stack, credentials(9, AUTHORITY)))[0] == 201
    found.forget()
    found.forget()
    assert (found.kept, found.problem, list(tmp_path.iterdir())) == (None, None, [])
    assert found.offer(*signed_credentials(stack, credentials(1, AUTHORITY)))[0] == 201


def test_what_expires_later_is_kept(tmp_path: Path, stack: Stack) -> None:
    made = credentials(1, AUTHORITY)
    assert store(tmp_path, stack).offer(*signed_credentials(stack, made))[0] == 201
    later = store(tmp_path, stack, clock=lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=40))
    assert later.kept
    assert later.is_expired(later.kept)
    assert later.problem is None


def test_another_stacks_file_is_no_credentials(
    tmp_path: Path, stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    body, signature = signed_credentials(Stack(), credentials(1, AUTHORITY))
    (tmp_path / "credentials.json").write_text(
        json.dumps({"schema_version": 1, "body": body.decode(), "signature": signature})
    )
    found = store(tmp_path, stack)
    assert found.kept is None
    assert "the stack did not sign it" in (found.problem or "")
    assert "credentials.json" in capsys.readouterr().err
    assert found.offer(*signed_credentials(stack, credentials(1, AUTHORITY)))[0] == 201
    assert found.problem is None


def test_another_gateways_file_is_no_credentials(tmp_path: Path, stack: Stack) -> None:
    body, signature = signed_credentials(stack, credentials(1, AUTHORITY, gateway="gw-2"))
    (tmp_path / "credentials.json").write_text(
        json.dumps({"schema_version": 1, "body": body.decode(), "signature": signature})
    )
    found = store(tmp_path, stack)
    assert found.kept is None
    assert "not about this gateway" in (found.problem or "")


async def test_over_https(gateway: PoolGateway) -> None:
    body, signature = signed_credentials(gateway.stack, credentials(4, AUTHORITY, api_keys={"team": API_KEY}))

    async def put(content: bytes, sign: str | None) -> tuple[int, dict[str, Any]]:
        headers = {"X-Hybridnet-Signature": sign} if sign is not None else {}
        return await gateway.ask("PUT", "/v1/credentials", content, headers)

    assert (await gateway.ask("GET", "/v1/status"))[1]["credentials"] is None
    assert (await put(body, None))[0] == 403
    assert (await put(body, signature))[0] == 201
    assert (await put(body, signature))[0] == 200
    assert (await put(b" " * (4 << 20) + body, signature))[0] == 413
    told = (await gateway.ask("GET", "/v1/status"))[1]
    assert told["credentials"]["number"] == 4
    assert "load_balancer" not in told, "that is told over the overlay only"
    assert [line["credentials"] for line in gateway.audit() if line["event"] == "credentials"] == [4]
    assert canonical_credentials(credentials(4, AUTHORITY)) != body, "a new certificate each time"


async def test_a_full_disk_is_told(gateway: PoolGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, document: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("node.files.write", full)
    body, signature = signed_credentials(gateway.stack, credentials(1, AUTHORITY))
    headers = {"X-Hybridnet-Signature": signature}
    assert (await gateway.ask("PUT", "/v1/credentials", body, headers))[0] == 507
    assert (await gateway.ask("GET", "/v1/status"))[1]["credentials"] is None
