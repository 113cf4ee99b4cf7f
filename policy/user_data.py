"""The policy on secrets in what machines are told at first boot, and what else is read there."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

from components.settings.models import Settings
from policy.model import Finding, Resource, Rule, at

_KEY = rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_SECRETS: Mapping[str, re.Pattern[bytes]] = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "a WireGuard private key": re.compile(rb"(?i)\bprivate_?-?key[\"']?\s*[=:]\s*[\"']?" + _KEY),
    "a WireGuard preshared key": re.compile(rb"(?i)\bpre_?-?shared_?-?key[\"']?\s*[=:]\s*[\"']?" + _KEY),
    "an age key": re.compile(rb"\bAGE-SECRET-KEY-1[0-9A-Z]{58}\b"),
    "an AWS secret key": re.compile(
        rb"(?i)\baws_?secret_?access_?key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])"
    ),
    "a Google API key": re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{36,})\b"),
    "a GitLab token": re.compile(rb"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
    "a Slack token": re.compile(rb"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a Pulumi token": re.compile(rb"\bpul-[0-9a-f]{40}\b"),
    "an API key": re.compile(rb"\bsk-[A-Za-z0-9_-]{32,}"),
    "a bearer token": re.compile(rb"(?i)\bauthorization[\"']?\s*[:=]\s*[\"']?bearer\s+[A-Za-z0-9._~+/-]{16,}"),
    "a join token": re.compile(
        rb"/etc/hybridnet/token\b[^\n]*\n(?:[^\n]*\n){0,3}?[ \t]*[A-Za-z0-9_-]{43}[ \t]*(?:\n|$)"
    ),
}
"""What a secret looks like; each pattern's words are what its issuer documents."""
_LISTENS = re.compile(rb"(?im)^\s*ListenPort\s*=\s*(\d+)|\blisten-port\s+(\d+)")
"""In a configuration for wg(8), and on its command line."""
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4}[\r\n \t]*){8,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_GZIP = b"\x1f\x8b\x08"
_BEFORE = 256
"""Bytes of words that may stand before something zipped."""
_DEPTH = 6
"""How many wrappings are opened; a file in a launch template's user data may have four: base64 and gzip, twice."""
_LARGEST = 4 * 1024 * 1024
"""Bytes that are looked at of one wrapping, since gzip can hold a great deal in little."""

_PATHS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "hcloud:index/server:Server": (("userData",),),
    **dict.fromkeys(
        (
            "aws:ec2/instance:Instance",
            "aws:ec2/spotInstanceRequest:SpotInstanceRequest",
            "aws:ec2/launchConfiguration:LaunchConfiguration",
            "aws:ec2/launchTemplate:LaunchTemplate",
        ),
        (("userData",), ("userDataBase64",)),
    ),
    **dict.fromkeys(
        (
            "gcp:compute/instance:Instance",
            "gcp:compute/instanceTemplate:InstanceTemplate",
            "gcp:compute/regionInstanceTemplate:RegionInstanceTemplate",
            "gcp:compute/instanceFromTemplate:InstanceFromTemplate",
            "gcp:compute/instanceFromMachineImage:InstanceFromMachineImage",
            "gcp:compute/projectMetadata:ProjectMetadata",
        ),
        (("metadata",), ("metadataStartupScript",)),
    ),
    "gcp:compute/projectMetadataItem:ProjectMetadataItem": (("value",),),
}
"""By type, where machines are told what they do at first boot; on GCP all metadata can be read on the machine."""


def _told(resource: Resource, inputs: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Which input, and each text in it that is known, with everything that is wrapped up in it."""
    for path in _PATHS.get(resource.type, ()):
        value = at(inputs, *path)
        texts = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {"": value}
        for key, text in texts.items():
            if isinstance(text, str):
                where = ".".join([*path, *([key] if key else [])])
                for unwrapped in _unwrapped(text.encode(), _DEPTH):
                    yield where, unwrapped


def _unwrapped(data: bytes, depth: int) -> Iterator[bytes]:
    """``data`` itself, and what is in it as gzip or base64, line by line or as a whole."""
    yield data
    if not depth:
        return
    # A word before a text in base64, as in `echo H4sI…`, may be read as its beginning, and as four letters makes three
    # bytes before what is wrapped up.
    start = data.find(_GZIP, 0, _BEFORE + len(_GZIP))
    if start >= 0:
        try:
            yield from _unwrapped(zlib.decompressobj(31).decompress(data[start:], _LARGEST), depth - 1)
        except zlib.error:
            return
        return
    for match in _BASE64.finditer(data):
        try:
            inner = base64.b64decode(b"".join(match[0].split()), validate=True)
        except binascii.Error:
            continue
        yield from _unwrapped(inner, depth - 1)


def listen_ports(resource: Resource) -> list[int]:
    """The UDP ports that a machine's user data has WireGuard listen on."""
    found = (match for _, text in _told(resource, resource.inputs) for match in _LISTENS.finditer(text))
    return sorted({int(match[1] or match[2]) for match in found})


def plain_secret_in_user_data(resource: Resource, settings: Settings | None) -> Iterator[Finding]:
    """What is marked as a secret is one of the machine's own, and so is what is made at run time."""
    del settings
    seen = {(where, kind) for where, text in _told(resource, resource.shown) for kind in _kinds(text)}
    for where, kind in sorted(seen):
        yield Finding(
            f"has {kind} in plain text in its {where}",
            "it stands in the stack's state and in previews, which more people read than may have it",
            "Make it a secret (pulumi.Output.secret, pulumi config set --secret), or have the machine fetch it",
        )


def _kinds(text: bytes) -> Iterator[str]:
    yield from (kind for kind, pattern in _SECRETS.items() if pattern.search(text))


RULES = (
    Rule(
        "plain-secret-in-user-data",
        "Secrets in user data are marked as secrets.",
        plain_secret_in_user_data,
    ),
)
