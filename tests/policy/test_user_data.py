"""The policy on secrets in user data, however they are wrapped."""

from __future__ import annotations

import base64
import gzip
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from components.settings.load import Settings
from policy.model import UNKNOWN, Resource
from policy.pack import RULES
from tests.policy.findings import GCP_INSTANCE, GCP_REGIONAL, GCP_TEMPLATE, INSTANCE, LAUNCH, SERVER, said

COMPUTE = "gcp:compute"
SECRET = "plain-secret-in-user-data"
KEY = base64.b64encode(random.Random(1).randbytes(32)).decode()
"""The same in every process: it is in the names of tests, by which they are shared out."""
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIA\n-----END EC PRIVATE KEY-----\n"
CLOUD_CONFIG = "#cloud-config\nwrite_files:\n- path: /etc/wireguard/wg0.conf\n  content: |\n"


def b64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def zipped(text: str) -> str:
    return b64(gzip.compress(text.encode()))


PLACES: list[tuple[str, Callable[[str], Mapping[str, Any]], str]] = [
    (SERVER, lambda text: {"userData": text}, "userData"),
    (INSTANCE, lambda text: {"userData": text}, "userData"),
    (INSTANCE, lambda text: {"userDataBase64": b64(text)}, "userDataBase64"),
    (LAUNCH, lambda text: {"userData": b64(text)}, "userData"),
    (GCP_INSTANCE, lambda text: {"metadata": {"user-data": text}}, "metadata.user-data"),
    (GCP_INSTANCE, lambda text: {"metadataStartupScript": text}, "metadataStartupScript"),
    (GCP_TEMPLATE, lambda text: {"metadata": {"startup-script": text}}, "metadata.startup-script"),
    (GCP_REGIONAL, lambda text: {"metadata": {"user-data": text}}, "metadata.user-data"),
    (f"{COMPUTE}/projectMetadata:ProjectMetadata", lambda text: {"metadata": {"k": text}}, "metadata.k"),
    (f"{COMPUTE}/projectMetadataItem:ProjectMetadataItem", lambda text: {"key": "k", "value": text}, "value"),
    (
        f"{COMPUTE}/instanceFromMachineImage:InstanceFromMachineImage",
        lambda text: {"metadata": {"user-data": text}},
        "metadata.user-data",
    ),
]
WRAPPINGS: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: CLOUD_CONFIG.replace("content: |", f"encoding: b64\n  content: {b64(text)}"),
    lambda text: CLOUD_CONFIG.replace("content: |", f"encoding: gz+b64\n  content: {zipped(text)}"),
    zipped,
    lambda text: f"#!/bin/sh\necho {zipped(text)} | base64 -d | gunzip >/etc/key\n",
    lambda text: f"--x\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n{zipped(text)}\n--x--\n",
    lambda text: zipped(f"#cloud-config\n# {zipped(text)}\n"),
    lambda text: "\n".join(b64("# " + "x" * 80 + "\n" + text)[start : start + 64] for start in range(0, 4096, 64)),
]


@pytest.mark.parametrize(("kind", "place", "where"), PLACES)
@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_a_private_key_is_found_wherever_it_is(
    kind: str, place: Callable[[str], Mapping[str, Any]], where: str, wrap: Callable[[str], str]
) -> None:
    assert said(SECRET, kind, place(wrap(PEM)), None) == [f"has a private key in plain text in its {where}"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"[Interface]\nPrivateKey = {KEY}\n", "a WireGuard private key"),
        (f"[Peer]\nPresharedKey={KEY}\n", "a WireGuard preshared key"),
        (f'{{"private_key": "{KEY}"}}', "a WireGuard private key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
        (f"export AWS_SECRET_ACCESS_KEY={'k7' * 20}", "an AWS secret key"),
        (f"HF_TOKEN=hf_{'aB' * 17}", "a Hugging Face token"),
        (f"git clone https://ghp_{'a1' * 18}@github.com/x/y", "a GitHub token"),
        (f"curl -H 'Authorization: Bearer {'z9' * 10}' https://example.com", "a bearer token"),
        (f"OPENAI_API_KEY=sk-{'q8' * 24}", "an API key"),
    ],
)
def test_secrets_of_many_kinds_are_known(text: str, what: str) -> None:
    assert said(SECRET, SERVER, {"userData": f"#!/bin/sh\n{text}\n"}, None) == [
        f"has {what} in plain text in its userData"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"[Peer]\nPublicKey = {KEY}\n",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        f"ssh-ed25519 {b64(b'ssh-ed25519' + bytes(40))} me@example",
        "PrivateKey = /etc/wireguard/key\nwg set wg0 private-key /etc/wireguard/key\n",
        "aws_secret_access_key = $(vault read aws)",
        "curl -H 'Authorization: Bearer $TOKEN' https://example.com",
        "#!/bin/sh\nopenssl genpkey -algorithm ED25519 -out private.key  # makes a PRIVATE KEY\n",
        b64(bytes(range(256)) * 8),
        "H4sIAAAAAAAAA" + "A" * 100,
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    for kind, place, _ in PLACES:
        assert not said(SECRET, kind, place(text), None), kind


def test_what_is_unknown_or_marked_secret_is_left_alone() -> None:
    nothing: Settings | None = None
    assert not said(SECRET, SERVER, {"userData": UNKNOWN}, nothing)
    assert not said(SECRET, GCP_INSTANCE, {"metadata": UNKNOWN}, nothing)
    assert not said(SECRET, GCP_INSTANCE, {"metadata": {"user-data": UNKNOWN}}, nothing)
    (rule,) = (one for one in RULES if one.name == SECRET)
    marked = Resource(SERVER, "it", {"userData": PEM}, {"userData": UNKNOWN})
    assert not list(rule.check(marked, nothing))


def test_a_little_gzip_that_holds_a_great_deal_is_not_read_to_its_end() -> None:
    bomb = zipped("\0" * (5 * 1024 * 1024) + PEM)
    assert not said(SECRET, SERVER, {"userData": bomb}, None)
