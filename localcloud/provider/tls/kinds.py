"""The four kinds of the tls package and its one lookup; no cloud knows of them, the engine's state holds them."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from typing import ClassVar

from localcloud.provider.inputs import Inputs
from localcloud.provider.kind import Check, CloudError, Kind, Lookup
from localcloud.provider.tls import certificates, keys
from localcloud.provider.world import Record, World
from localcloud.wire import Value


class _Stateless(Kind):
    stateless = True

    def update(self, record: Record, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        return Record(record.token, record.id, inputs.values, record.state)

    def computed(self, record: Record, world: World) -> dict[str, Value]:
        return {name: value for name, value in record.state.items() if name not in record.properties}

    def _made(self, inputs: Inputs, outputs: Mapping[str, Value]) -> Record:
        told = dict(outputs)
        return Record(self.token, str(told.pop("id")), inputs.values, told)


class PrivateKey(_Stateless):
    """Everything replaces it: terraform-provider-tls, internal/provider/resource_private_key.go."""

    token = "tls:index/privateKey:PrivateKey"
    replace = frozenset({"algorithm", "ecdsaCurve", "rsaBits"})
    defaults: ClassVar[Mapping[str, Value]] = {"ecdsaCurve": "P224", "rsaBits": 2048}
    secrets = frozenset({"privateKeyPem", "privateKeyPemPkcs8", "privateKeyOpenssh"})

    def check(self, check: Check) -> None:
        check.one_of("algorithm", keys.ALGORITHMS, _oneof("algorithm", keys.ALGORITHMS))
        check.one_of("ecdsaCurve", keys.CURVES, _oneof("ecdsa_curve", tuple(keys.CURVES)))
        bits = check.inputs.number("rsaBits")
        if bits is not None and not 1024 <= bits <= 16384:
            check.refuse("rsaBits", f"crypto/rsa: {bits}-bit keys are insecure or too large: use 2048 to 16384 bits")

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        key = keys.generate(
            inputs.text("algorithm") or "", inputs.text("ecdsaCurve") or "P224", inputs.number("rsaBits") or 2048
        )
        return self._made(inputs, {**keys.private_forms(key), **keys.public_forms(key)})


class _Certificate(_Stateless):
    """`earlyRenewalHours` alone changes in place: terraform-provider-tls, internal/provider/resource_*_cert.go."""

    defaults: ClassVar[Mapping[str, Value]] = {
        "earlyRenewalHours": 0,
        "isCaCertificate": False,
        "maxPathLength": -1,
        "setSubjectKeyId": False,
    }

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        return path != "earlyRenewalHours"

    def expired(self, told: Inputs, inputs: Inputs) -> bool:
        end = told.text("validityEndTime")
        return end is not None and certificates.ready_for_renewal(end, inputs.number("earlyRenewalHours") or 0)

    def check(self, check: Check) -> None:
        for index, use in enumerate(check.inputs.texts("allowedUses")):
            if use not in certificates.USES:
                check.refuse(f"allowedUses[{index}]", _oneof("allowed_uses", certificates.USES).format(use))
        for name in ("validityPeriodHours", "earlyRenewalHours"):
            hours = check.inputs.number(name)
            if hours is not None and hours < 0:
                check.refuse(name, f"Attribute {name} value must be at least 0, got: {hours}")
        _check_names(check)


class SelfSignedCert(_Certificate):
    """A certificate signed with its own key, such as an authority's."""

    token = "tls:index/selfSignedCert:SelfSignedCert"
    defaults: ClassVar[Mapping[str, Value]] = {**_Certificate.defaults, "setAuthorityKeyId": False}
    secrets = frozenset({"privateKeyPem"})

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        key = keys.load(inputs.text("privateKeyPem") or "", "private key PEM")
        return self._made(inputs, {**certificates.self_signed(inputs, key), "keyAlgorithm": keys.algorithm_of(key)})


class LocallySignedCert(_Certificate):
    """A certificate that an authority of the program signs for a request."""

    token = "tls:index/locallySignedCert:LocallySignedCert"
    secrets = frozenset({"caPrivateKeyPem"})

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        key = keys.load(inputs.text("caPrivateKeyPem") or "", "CA private key PEM")
        csr = certificates.load_request(inputs.text("certRequestPem") or "")
        ca = certificates.load_certificate(inputs.text("caCertPem") or "")
        if ca.public_key() != key.public_key():
            raise CloudError("Failed to create certificate: x509: provided PrivateKey doesn't match parent's PublicKey")
        outputs = certificates.locally_signed(inputs, csr, ca, key)
        return self._made(inputs, {**outputs, "caKeyAlgorithm": keys.algorithm_of(key)})


class CertRequest(_Stateless):
    """Everything replaces it: terraform-provider-tls, internal/provider/resource_cert_request.go."""

    token = "tls:index/certRequest:CertRequest"
    secrets = frozenset({"privateKeyPem"})

    def replaces(self, path: str, old: Inputs, new: Inputs) -> bool:
        return True

    def check(self, check: Check) -> None:
        _check_names(check)

    def create(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> Record:
        key = keys.load(inputs.text("privateKeyPem") or "", "private key PEM")
        pem = certificates.request(inputs, key)
        id_ = hashlib.sha1(pem.encode(), usedforsecurity=False).hexdigest()
        return self._made(inputs, {"id": id_, "certRequestPem": pem, "keyAlgorithm": keys.algorithm_of(key)})


class GetPublicKey(Lookup):
    """The public half of a key given as PEM or in OpenSSH's format."""

    token = "tls:index/getPublicKey:getPublicKey"

    def find(self, inputs: Inputs, world: World, config: Mapping[str, str]) -> dict[str, Value]:
        given = [name for name in ("privateKeyPem", "privateKeyOpenssh") if inputs.given(name)]
        if len(given) != 1:
            raise CloudError("exactly one of privateKeyPem and privateKeyOpenssh has to be set")
        key = keys.load(inputs.text(given[0]) or "", given[0])
        return {**keys.public_forms(key), "algorithm": keys.algorithm_of(key)}


def _check_names(check: Check) -> None:
    for index, text in enumerate(check.inputs.texts("ipAddresses")):
        try:
            ipaddress.ip_address(text)
        except ValueError:
            check.refuse(f"ipAddresses[{index}]", f'Failed to parse "ip_addresses": "{text}" is not an IP address')
    for index, name in enumerate(check.inputs.texts("dnsNames")):
        if not name.isascii():
            check.refuse(f"dnsNames[{index}]", f'x509: "{name}" cannot be encoded as an IA5String')


def _oneof(name: str, allowed: tuple[str, ...]) -> str:
    return f"Attribute {name} value must be one of: [{', '.join(allowed)}], got: {{}}"


KINDS: tuple[Kind, ...] = (PrivateKey(), SelfSignedCert(), LocallySignedCert(), CertRequest())
LOOKUPS: tuple[Lookup, ...] = (GetPublicKey(),)
