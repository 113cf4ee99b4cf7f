"""Private keys in the forms that the tls provider tells: PEM, PKCS#8, OpenSSH, and fingerprints of the public half."""

from __future__ import annotations

import base64
import hashlib
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from localcloud.provider.kind import CloudError

PrivateKey: TypeAlias = "rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey"

ALGORITHMS = ("RSA", "ECDSA", "ED25519")
CURVES: dict[str, ec.EllipticCurve] = {
    "P224": ec.SECP224R1(),
    "P256": ec.SECP256R1(),
    "P384": ec.SECP384R1(),
    "P521": ec.SECP521R1(),
}


def generate(algorithm: str, curve: str, bits: int) -> PrivateKey:
    """A new key; `curve` counts for ECDSA, `bits` for RSA."""
    match algorithm:
        case "RSA":
            return rsa.generate_private_key(public_exponent=65537, key_size=bits)
        case "ECDSA":
            return ec.generate_private_key(CURVES[curve])
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def load(pem: str, what: str) -> PrivateKey:
    """The key in a PEM or OpenSSH text. Raises CloudError naming `what` was to be read."""
    read = load_ssh_private_key if "OPENSSH" in pem.partition("\n")[0] else load_pem_private_key
    try:
        key = read(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CloudError(f"Failed to parse {what}: it holds no unencrypted private key") from error
    if isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        return key
    raise CloudError(f"Failed to parse {what}: unsupported key type {type(key).__name__}")


def algorithm_of(key: PrivateKey) -> str:
    """The provider's name of the key's algorithm."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA"
    return "ECDSA" if isinstance(key, ec.EllipticCurvePrivateKey) else "ED25519"


def private_forms(key: PrivateKey) -> dict[str, str]:
    """The private key's outputs; OpenSSH has no form for ECDSA on P224."""
    own = PrivateFormat.PKCS8 if isinstance(key, ed25519.Ed25519PrivateKey) else PrivateFormat.TraditionalOpenSSL
    return {
        "privateKeyPem": key.private_bytes(Encoding.PEM, own, NoEncryption()).decode(),
        "privateKeyPemPkcs8": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "privateKeyOpenssh": ""
        if _is_p224(key)
        else key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
    }


def public_forms(key: PrivateKey) -> dict[str, str]:
    """The public key's outputs, and under `id` the resource's id: the SHA-1 of the public key's DER form."""
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    forms = {
        "id": hashlib.sha1(der, usedforsecurity=False).hexdigest(),
        "publicKeyPem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "publicKeyOpenssh": "",
        "publicKeyFingerprintMd5": "",
        "publicKeyFingerprintSha256": "",
    }
    if not _is_p224(key):
        line = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        forms["publicKeyOpenssh"] = f"{line}\n"
        forms["publicKeyFingerprintMd5"] = md5_fingerprint(line)
        digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
        forms["publicKeyFingerprintSha256"] = f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
    return forms


def md5_fingerprint(line: str) -> str:
    """The MD5 fingerprint of a public key in OpenSSH's format, as `aa:bb:…`. Raises ValueError when it is none."""
    parts = line.split()
    if len(parts) < 2:
        raise ValueError("not a public key")
    digest = hashlib.md5(base64.b64decode(parts[1], validate=True), usedforsecurity=False).digest()
    return digest.hex(":")


def _is_p224(key: PrivateKey) -> bool:
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP224R1)
