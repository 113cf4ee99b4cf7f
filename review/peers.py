"""What changes in the network: nodes and pools that come, go or are others, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from review.inputs import SECRET, UNKNOWN, section, text
from review.preview import Preview

SHOWN = {
    "nodes": ("role", "site", "address", "group", "endpoint", "endpoint6", "publicKey"),
    "pools": ("site", "range", "limit", "group", "port", "tokenSha256", "identity"),
}
"""Fields that a reviewer is told of, in this order; the first three say what a node or pool is."""
WORDS = {
    "publicKey": "WireGuard key", "tokenSha256": "join token", "endpoint6": "IPv6 endpoint", "range": "addresses",
    "limit": "machines at most", "wireguardSources": "WireGuard from", "adminCidrs": "administrators from",
    "revokedKeys": "revoked keys", "authorities": "authorities", "loadBalancer": "load balancer",
}  # fmt: skip
RELEASE = "pulumi-python:dynamic/hybrid-wireguard:Release"
"""The resource that pushes the code that machines run."""
NONE = "none"
NETWORK = ("network", "wireguardSources", "adminCidrs", "revokedKeys", "keys", "loadBalancer")


@dataclass(frozen=True)
class PeerChange:
    """A node or a pool that joins (`+`), leaves (`-`) or changes (`~`): what it is, before and after."""

    sign: str
    kind: str
    """`node` or `pool`."""
    name: str
    before: str
    after: str


@dataclass(frozen=True)
class SettingChange:
    """What holds for the whole network, before and after."""

    what: str
    before: str
    after: str


def peer_changes(preview: Preview) -> list[PeerChange]:
    """Nodes first, each kind by name."""
    before, after = preview.roster(after=False), preview.roster(after=True)
    found: list[PeerChange] = []
    for kind, key in (("node", "nodes"), ("pool", "pools")):
        old, new = section(before, key), section(after, key)
        was, will = section(before, "paths"), section(after, "paths")
        for name in sorted(old.keys() | new.keys()):
            found += _peer(kind, name, _fields(old, name, key, was), _fields(new, name, key, will))
    return found


def _fields(peers: Mapping[str, Any], name: str, key: str, paths: Mapping[str, Any]) -> dict[str, str]:
    if name not in peers:
        return {}
    peer = section(peers, name)
    found = {field: _said(peer[field]) for field in SHOWN[key] if field in peer}
    return found | ({"by way of": _said(paths[name])} if name in paths else {})


def _peer(kind: str, name: str, old: dict[str, str], new: dict[str, str]) -> Iterator[PeerChange]:
    if not old or not new:
        whole = {key: value for key, value in (old or new).items() if key not in ("publicKey", "tokenSha256", "port")}
        told = ", ".join(_told(key, value) for key, value in whole.items())
        yield PeerChange("-" if old else "+", kind, name, told if old else "", told if new else "")
    elif old != new:
        differing = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        yield PeerChange("~", kind, name, *(_all(differing, side) for side in (old, new)))


def _all(keys: list[str], side: Mapping[str, str]) -> str:
    return ", ".join(f"{WORDS.get(key, key)} {side.get(key, 'none')}" for key in keys)


def _told(key: str, value: str) -> str:
    """Role and site say themselves what they are."""
    if key in ("role", "address", "range"):
        return value
    return f"{'at' if key == 'site' else WORDS.get(key, key)} {value}"


def setting_changes(preview: Preview) -> list[SettingChange]:
    """What changes for all: topology, overlay, sites, who may call, the code that machines run."""
    before, after = preview.roster(after=False), preview.roster(after=True)
    if not before or not after:
        return []
    found = [change for key in NETWORK for change in _settings(key, before.get(key), after.get(key))]
    old, new = (_release(preview, after=later) for later in (False, True))
    return [*found, SettingChange("release", old, new)] if old != new else found


def _release(preview: Preview, *, after: bool) -> str:
    """The beginning of the digest of the code that machines run."""
    states = preview.states(after=after)
    return next((text(state.inputs, "sha256")[:12] for state in states if state.type == RELEASE), NONE) or UNKNOWN[0]


def _settings(path: str, old: object, new: object) -> Iterator[SettingChange]:
    if old == new:
        return
    change = SettingChange(WORDS.get(path, path), _said(old), _said(new))
    if isinstance(old, dict) and isinstance(new, dict):
        inner_old, inner_new = cast("dict[str, object]", old), cast("dict[str, object]", new)
        for key in sorted(inner_old.keys() | inner_new.keys()):
            inner = key if path in ("network", "keys") else f"{path}.{key}"
            yield from _settings(inner, inner_old.get(key), inner_new.get(key))
        return
    yield change


def _said(value: object) -> str:
    if value is None:
        return NONE
    if value in UNKNOWN:
        return "known after the change"
    if value == SECRET:
        return "(secret)"
    if isinstance(value, bool):
        return str(value).lower()  # as settings say it
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(_said(item) for item in cast("list[object]", value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(item)}" for key, item in cast("dict[str, object]", value).items())
    return str(value)
