"""Keys and certificates are what they say, by the judgement of cryptography's own verifier and of OpenSSH."""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509.verification import PolicyBuilder, Store

from localcloud.wire import Secret, Value, plain_properties
from tests.localcloud.provider.harness import Harness, RefusedError
from tests.localcloud.provider.scenery import (
    CERT_REQUEST,
    LOCALLY_SIGNED,
    PRIVATE_KEY,
    SELF_SIGNED,
    make_tls,
)

KEYS: list[tuple[dict[str, Value], type]] = [
    ({"algorithm": "ED25519"}, ed25519.Ed25519PrivateKey),
    ({"algorithm": "ECDSA"}, ec.EllipticCurvePrivateKey),
    ({"algorithm": "ECDSA", "ecdsaCurve": "P384"}, ec.EllipticCurvePrivateKey),
    ({"algorithm": "RSA", "rsaBits": 2048}, rsa.RSAPrivateKey),
]


@pytest.mark.parametrize(("inputs", "kind"), KEYS)
def test_a_key_is_told_in_every_form(clouds: Harness, tmp_path: Path, inputs: dict[str, Value], kind: type) -> None:
    told = plain_properties(clouds.make(PRIVATE_KEY, **inputs).outputs)
    text = {name: value for name, value in told.items() if isinstance(value, str)}
    key = load_pem_private_key(text["privateKeyPem"].encode(), None)
    assert isinstance(key, kind)
    assert load_pem_private_key(text["privateKeyPemPkcs8"].encode(), None).public_key() == key.public_key()
    assert load_pem_public_key(text["publicKeyPem"].encode()) == key.public_key()
    assert text["privateKeyPem"].startswith(
        {"RSA": "-----BEGIN RSA PRIVATE", "ECDSA": "-----BEGIN EC PRIVATE"}.get(
            str(inputs["algorithm"]), "-----BEGIN PRIVATE"
        )
    )
    public = clouds.invoke("tls:index/getPublicKey:getPublicKey", privateKeyPem=Secret(text["privateKeyPem"]))
    assert public["publicKeyOpenssh"] == text["publicKeyOpenssh"]
    if told["ecdsaCurve"] == "P224" and kind is ec.EllipticCurvePrivateKey:
        assert text["publicKeyOpenssh"] == "", "OpenSSH knows no P-224"
        return
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen to judge the OpenSSH forms")
    (tmp_path / "key").write_text(text["privateKeyOpenssh"])
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "pub").write_text(text["publicKeyOpenssh"])
    derived = _run("ssh-keygen", "-y", "-f", str(tmp_path / "key"))
    assert derived.split()[:2] == text["publicKeyOpenssh"].split()[:2]
    assert text["publicKeyFingerprintSha256"] in _run("ssh-keygen", "-lf", str(tmp_path / "pub"))
    assert text["publicKeyFingerprintMd5"] in _run("ssh-keygen", "-E", "md5", "-lf", str(tmp_path / "pub"))


def test_keys_differ(clouds: Harness) -> None:
    first, second = (clouds.make(PRIVATE_KEY, algorithm="ED25519") for _ in range(2))
    assert first.outputs["privateKeyPem"] != second.outputs["privateKeyPem"]
    assert first.id != second.id


def test_a_certificate_holds_against_its_authority(clouds: Harness) -> None:
    made = make_tls(clouds)
    ca = x509.load_pem_x509_certificate(made["ca"].text("certPem").encode())
    certificate = x509.load_pem_x509_certificate(made["certificate"].text("certPem").encode())
    verifier = (
        PolicyBuilder()
        .store(Store([ca]))
        .time(dt.datetime.now(dt.UTC) + dt.timedelta(days=3000))
        .build_server_verifier(x509.IPAddress(ipaddress.ip_address("10.100.0.1")))
    )
    verifier.verify(certificate, [])
    assert made["certificate"].id == str(certificate.serial_number)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == dt.timedelta(hours=87600)
    assert made["certificate"].outputs["validityEndTime"] == certificate.not_valid_after_utc.isoformat().replace(
        "+00:00", "Z"
    )
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)


def test_a_certificate_repeats_its_request(clouds: Harness) -> None:
    key = clouds.make(PRIVATE_KEY, algorithm="ED25519")
    made = make_tls(clouds)
    request = clouds.make(
        CERT_REQUEST,
        privateKeyPem=key.outputs["privateKeyPem"],
        subject={"commonName": "gw", "organization": "us", "streetAddresses": ["1 Way"]},
        dnsNames=["gw.example"],
        ipAddresses=["10.100.0.1", "fd00::1"],
        uris=["spiffe://x/gw"],
    )
    certificate = clouds.make(
        LOCALLY_SIGNED,
        certRequestPem=request.outputs["certRequestPem"],
        caCertPem=made["ca"].outputs["certPem"],
        caPrivateKeyPem=made["key"].outputs["privateKeyPem"],
        allowedUses=["server_auth", "digital_signature"],
        validityPeriodHours=1,
    )
    parsed = x509.load_pem_x509_certificate(certificate.text("certPem").encode())
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gw.example"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.100.0.1", "fd00::1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://x/gw"]
    assert parsed.subject.rfc4514_string() == "STREET=1 Way,CN=gw,O=us"
    assert request.outputs["keyAlgorithm"] == "ED25519"
    assert certificate.outputs["caKeyAlgorithm"] == "ECDSA"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"caCertPem": "no certificate"}, "Failed to parse CA certificate PEM"),
        ({"certRequestPem": "no request"}, "Failed to parse certificate request PEM"),
        ({"caPrivateKeyPem": "no key"}, "Failed to parse CA private key PEM"),
    ],
)
def test_what_cannot_be_read_is_refused(clouds: Harness, change: dict[str, Value], reason: str) -> None:
    made = make_tls(clouds)
    inputs: dict[str, Value] = {
        "certRequestPem": made["request"].outputs["certRequestPem"],
        "caCertPem": made["ca"].outputs["certPem"],
        "caPrivateKeyPem": made["key"].outputs["privateKeyPem"],
        "allowedUses": ["server_auth"],
        "validityPeriodHours": 1,
        **change,
    }
    with pytest.raises(RefusedError, match=reason):
        clouds.make(LOCALLY_SIGNED, **inputs)


def test_a_key_that_is_not_the_authoritys_is_refused(clouds: Harness) -> None:
    made = make_tls(clouds)
    other = clouds.make(PRIVATE_KEY, algorithm="ED25519")
    with pytest.raises(RefusedError, match="doesn't match parent's PublicKey"):
        clouds.make(
            LOCALLY_SIGNED,
            certRequestPem=made["request"].outputs["certRequestPem"],
            caCertPem=made["ca"].outputs["certPem"],
            caPrivateKeyPem=other.outputs["privateKeyPem"],
            allowedUses=[],
            validityPeriodHours=1,
        )


def test_an_authority_needs_a_name(clouds: Harness) -> None:
    key = clouds.make(PRIVATE_KEY, algorithm="ED25519")
    with pytest.raises(RefusedError, match="at least one Distinguished Name"):
        clouds.make(
            SELF_SIGNED,
            privateKeyPem=key.outputs["privateKeyPem"],
            allowedUses=[],
            validityPeriodHours=1,
            isCaCertificate=True,
        )


def test_a_later_renewal_is_noted_without_a_new_certificate(clouds: Harness) -> None:
    certificate = make_tls(clouds)["certificate"]
    changed = clouds.update(certificate, earlyRenewalHours=24)
    assert changed.outputs["certPem"] == certificate.outputs["certPem"]
    assert changed.outputs["earlyRenewalHours"] == 24


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
