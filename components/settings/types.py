"""The types of single values, strict about what YAML gives: text is text, a network has no host bits."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from components.settings.words import Words
from overlay.model import is_wireguard_key
from overlay.serving import is_health_path

Source = IPv4Network | IPv6Network
EVERYWHERE: tuple[Source, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

WIDEST_ADMIN_V4 = 8
WIDEST_ADMIN_V6 = 16
"""Prefix lengths: an admin network may not be wider than the largest blocks that one organisation holds."""


class Strict(BaseModel):
    """A mapping of the config: camelCase keys, and none that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


def refusal(reason: str, remedy: str) -> PydanticCustomError:
    """The error that a validator raises; both texts reach the user as they are."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason, "remedy": remedy})


def _text(value: object, example: str) -> str:
    if not isinstance(value, str) or not value:
        raise refusal("a text is needed", f"write it like {example}")
    return value


def _network(value: object) -> Source:
    return _network_like(value, "10.100.1.0/24")


def _network_like(value: object, example: str) -> Source:
    text = _text(value, example)
    try:
        return ip_network(text)
    except ValueError:
        try:
            meant = ip_network(text, strict=False)
        except ValueError:
            raise refusal("it is not a network", f"write it like {example}") from None
        raise refusal("it has bits set after its prefix", f"write {meant}") from None


def _network4(value: object) -> IPv4Network:
    network = _network(value)
    if not isinstance(network, IPv4Network):
        raise refusal("the overlay and the clouds' own networks are IPv4 only", "write it like 10.100.1.0/24")
    return network


def _network6(value: object) -> IPv6Network:
    example = "fd12:3456:789a::/48"
    network = _network_like(value, example)
    if not isinstance(network, IPv6Network):
        raise refusal("it is not an IPv6 network", f"write it like {example}")
    return network


def _public_address(value: object) -> object:
    if value is not True and value is not False and value != "ipv6":
        raise refusal("true, false or ipv6 is needed", "write true or false without quotes, or ipv6")
    return value


def _address4(value: object) -> IPv4Address:
    text = _text(value, "10.100.1.1")
    try:
        return IPv4Address(text)
    except ValueError:
        raise refusal("it is not an IPv4 address", "write it like 10.100.1.1") from None


def _admin(value: object) -> Source:
    network = _network(value)
    widest = WIDEST_ADMIN_V4 if network.version == 4 else WIDEST_ADMIN_V6
    if network.prefixlen < widest:
        raise refusal(
            f"it opens SSH to {'the whole internet' if network.prefixlen == 0 else 'a large part of the internet'}",
            f"name the networks you administer from, each /{widest} or smaller",
        )
    return network


def _openssh(value: object) -> str:
    text = _text(value, "ssh-ed25519 AAAA… you@example")
    words = text.split()
    example = "give the one line of a .pub file: ssh-ed25519 AAAA… you@example"
    if "\n" in text.strip() or len(words) < 2 or not words[0].startswith(("ssh-", "ecdsa-", "sk-")):
        raise refusal("it is not an OpenSSH public key", example)
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        raise refusal("its second word is not base64", example) from None
    kind = words[0].encode()
    if blob[:4] != len(kind).to_bytes(4, "big") or blob[4 : 4 + len(kind)] != kind:
        raise refusal(f"its key is not of the type {words[0]} that it says", example)
    return text.strip()


def _certificate(value: object) -> str:
    text = _text(value, "-----BEGIN CERTIFICATE-----…")
    remedy = "give exactly one, from its BEGIN to its END line"
    if text.count("-----BEGIN ") != 1:
        raise refusal("it is not one certificate in PEM", remedy)
    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise refusal("it is not a certificate in PEM", remedy) from None
    if not isinstance(certificate.public_key(), RSAPublicKey):
        raise refusal("its key is not an RSA key", "give the one that AWS lists under RSA for the region")
    return certificate.public_bytes(Encoding.PEM).decode()


def _wireguard_key(value: object) -> str:
    text = _text(value, "the output of `wg pubkey`")
    if not is_wireguard_key(text):
        remedy = "copy it from `wg pubkey`, or public_key from the audit log's join line"
        raise refusal("it is no WireGuard key: base64 of 32 bytes", remedy)
    return text


def _health_path(value: object) -> str:
    text = _text(value, "/health")
    if not is_health_path(text):
        raise refusal(
            "it is not the path of a URL", "begin it with / and leave spaces and what is not ASCII out, like /health"
        )
    return text


@dataclass(frozen=True)
class Range:
    """Whole numbers from ``low`` to ``high``, both among them; called with a value, it refuses all others."""

    low: int
    high: int

    def __call__(self, value: object) -> int:
        if type(value) is not int:
            raise refusal("a whole number is needed", "write it without quotes")
        if not self.low <= value <= self.high:
            raise refusal(f"it is not from {self.low} to {self.high}", "choose a number between the two")
        return value


def whole(low: int, high: int) -> BeforeValidator:
    """A validator of whole numbers from ``low`` to ``high``, both among them."""
    return BeforeValidator(Range(low, high))


Network4 = Annotated[IPv4Network, BeforeValidator(_network4), Words("IPv4 CIDR")]
Network6 = Annotated[IPv6Network, BeforeValidator(_network6), Words("IPv6 CIDR")]
Address4 = Annotated[IPv4Address, BeforeValidator(_address4), Words("IPv4 address")]
SourceNetwork = Annotated[Source, BeforeValidator(_network), Words("CIDR", "CIDRs")]
AdminNetwork = Annotated[Source, BeforeValidator(_admin), Words("CIDR", "CIDRs")]
OpenSshKey = Annotated[str, BeforeValidator(_openssh), Words("OpenSSH public key")]
Word = Annotated[
    StrictStr,
    Field(min_length=1, max_length=255, pattern=r"^\S+$"),
    Words("word", "words"),
]
"""A text without spaces: ids, types, regions."""
Secret = Annotated[StrictStr, Words("secret text")]
Revision = Annotated[StrictInt, Field(ge=1, le=2**31 - 1), Words("whole number from 1")]
NetworkId = Annotated[StrictInt, Field(ge=1), Words("whole number")]
"""Hetzner's ids are whole numbers."""
CertificatePem = Annotated[str, BeforeValidator(_certificate), Words("certificate in PEM", "certificates in PEM")]
"""An X.509 certificate with an RSA key, in PEM as this program writes it."""
HealthPath = Annotated[str, BeforeValidator(_health_path), Words("path of a URL")]
WireGuardKey = Annotated[str, BeforeValidator(_wireguard_key), Words("WireGuard public key", "WireGuard public keys")]
Flag = StrictBool
PublicAddress = Annotated[bool | Literal["ipv6"], BeforeValidator(_public_address), Words("`true`, `false` or `ipv6`")]
"""Whether a machine has a public address; ``ipv6`` for one of that kind alone."""
