"""Makes every key of the stack, and signs.

The only place that takes a public key or a token's digest out of secrecy: it is computed from what is secret, which
keeps it secret for Pulumi until ``Output.unsecret`` says otherwise.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import pulumi
import pulumi_tls as tls
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from overlay.pools import token_digest
from overlay.signing import handover_message

_T = TypeVar("_T")
_INFO = b"wireguard"
"""HKDF's info: the WireGuard key of a node is this derivation of its ED25519 seed, and no other use shares it."""


def _ed25519(pem: str) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError(f"an ED25519 key is needed, not {type(key).__name__}")
    return key


def wireguard_key(pem: str) -> str:
    """The WireGuard private key (base64) of an ED25519 key (PEM): HKDF-SHA256 of its seed, clamped (RFC 7748)."""
    derived = bytearray(_hkdf(pem, _INFO))
    derived[0] &= 248
    derived[31] = derived[31] & 127 | 64
    return base64.b64encode(derived).decode()


def _hkdf(pem: str, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, None, info).derive(_ed25519(pem).private_bytes_raw())


def join_token(pem: str, revision: int) -> str:
    """The join token (base64url of 32 bytes, without padding) of an ED25519 key (PEM); another one a revision."""
    return base64.urlsafe_b64encode(_hkdf(pem, f"join token {revision}".encode())).decode().rstrip("=")


def seal_key(pem: str) -> str:
    """What gateways derive their leases' secrets and tickets from: base64 of 32 bytes, of an ED25519 key (PEM)."""
    return base64.b64encode(_hkdf(pem, b"seal")).decode()


def public_key_of(private_key: str) -> str:
    """The WireGuard public key (base64) of a private one."""
    private = X25519PrivateKey.from_private_bytes(base64.b64decode(private_key))
    return base64.b64encode(private.public_key().public_bytes_raw()).decode()


def signing_public_key(pem: str) -> str:
    """The raw public half (base64 of 32 bytes) of an ED25519 key (PEM)."""
    return base64.b64encode(_ed25519(pem).public_key().public_bytes_raw()).decode()


def sign(pem: str, message: bytes) -> str:
    """The ED25519 signature (base64 of 64 bytes) of ``message``; the same message always has the same one."""
    return base64.b64encode(_ed25519(pem).sign(message)).decode()


@dataclass(frozen=True)
class NodeKey:
    """A node's enrolment key: what it is derived from, which is secret, and how; its public half is plain."""

    source: pulumi.Output[str]
    derive: Callable[[str], str]
    public: pulumi.Output[str]

    def use(self, function: Callable[[str], pulumi.Output[_T]]) -> pulumi.Output[_T]:
        """What ``function`` makes of the private key (base64 of 32 bytes); as secret as the key is.

        One step from the source to the result, since every step of every node is felt in previews of a thousand.
        """
        return self.source.apply(lambda source: function(self.derive(source)))


def node_key(name: str, given: str | None, opts: pulumi.ResourceOptions) -> NodeKey:
    """The key of the node ``name``: the one that the settings give, else derived from a key that the stack makes."""
    if given is not None:
        source, derive = pulumi.Output.secret(given), _as_it_is
    else:
        source, derive = tls.PrivateKey(f"{name}-key", algorithm="ED25519", opts=opts).private_key_pem, wireguard_key
    return NodeKey(source, derive, pulumi.Output.unsecret(source.apply(lambda found: public_key_of(derive(found)))))


def _as_it_is(key: str) -> str:
    return key


@dataclass(frozen=True)
class PoolToken:
    """What machines join a pool with: the token, which is secret, and its digest, which is not."""

    token: pulumi.Output[str]
    digest: pulumi.Output[str]


def pool_token(name: str, revision: int, opts: pulumi.ResourceOptions) -> PoolToken:
    """The join token of the pool ``name``, derived from a key that the stack makes; another one a ``revision``."""
    source = tls.PrivateKey(f"{name}-token", algorithm="ED25519", opts=opts).private_key_pem
    token = pulumi.Output.secret(source.apply(lambda pem: join_token(pem, revision)))
    return PoolToken(token, pulumi.Output.unsecret(token.apply(token_digest)))


def _handover(before: pulumi.Output[str], public: pulumi.Output[str]) -> pulumi.Output[str]:
    """The signature of the key ``before`` (PEM) over the next one's public half; no secret."""
    both = pulumi.Output.all(before, public)
    return pulumi.Output.unsecret(both.apply(lambda found: sign(found[0], handover_message(found[1]))))


class StackKeys(pulumi.ComponentResource):
    """The keys that belong to the stack as a whole: one that signs what is pushed, one for SSH."""

    signing_private_pem: pulumi.Output[str]
    """ED25519 key (PEM) that signs what is pushed; secret."""
    signing_public: pulumi.Output[str]
    """Its public half, base64 of 32 bytes, as new machines hold it."""
    earlier_signing: list[pulumi.Output[str]]
    """The signing keys (PEM) before it, oldest first; secret."""
    handovers: list[Mapping[str, pulumi.Output[str]]]
    """``publicKey`` of each but the first, and the ``signature`` over it of the one before (overlay.signing)."""
    seal: pulumi.Output[str]
    """What gateways derive leases' secrets and tickets from, base64 of 32 bytes; secret."""
    ssh_public: pulumi.Output[str]
    """OpenSSH public key of the machines' administrators."""
    ssh_private: pulumi.Output[str] | None
    """Its private half (OpenSSH), secret, when the stack made it."""

    def __init__(
        self,
        name: str,
        *,
        ssh_public_key: str | None,
        protect: bool,
        signing_revision: int = 1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """``ssh_public_key`` is used when it is given; ``protect`` keeps the signing keys and the sealing one.

        There are ``signing_revision`` signing keys, of which the last one is in use.
        """
        super().__init__("hybrid-wireguard:index:StackKeys", name, {}, opts)
        kept = pulumi.ResourceOptions(parent=self, protect=protect)
        names = [f"{name}-signing", *(f"{name}-signing-{number}" for number in range(2, signing_revision + 1))]
        made = [tls.PrivateKey(each, algorithm="ED25519", opts=kept).private_key_pem for each in names]
        *self.earlier_signing, self.signing_private_pem = map(pulumi.Output.secret, made)
        publics = [pulumi.Output.unsecret(pem.apply(signing_public_key)) for pem in made]
        self.signing_public = publics[-1]
        self.handovers = [
            {"publicKey": public, "signature": _handover(before, public)}
            for before, public in zip(made, publics[1:], strict=False)
        ]
        seal = tls.PrivateKey(f"{name}-seal", algorithm="ED25519", opts=kept)
        self.seal = pulumi.Output.secret(seal.private_key_pem.apply(seal_key))
        if ssh_public_key is not None:
            self.ssh_public = pulumi.Output.from_input(ssh_public_key)
            self.ssh_private = None
        else:
            ssh = tls.PrivateKey(f"{name}-ssh", algorithm="ED25519", opts=pulumi.ResourceOptions(parent=self))
            self.ssh_public = ssh.public_key_openssh.apply(str.strip)
            self.ssh_private = pulumi.Output.secret(ssh.private_key_openssh)
        self.register_outputs({"signingPublic": self.signing_public, "sshPublic": self.ssh_public})
