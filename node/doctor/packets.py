"""Which rules of a firewall take a packet of the tunnel: a walk through what ``nft -j list ruleset`` prints. Pure.

A rule's matches are true, false, or unknown where they look at what a single packet does not tell (a random number, a
rate, somebody's module): a drop behind an unknown one takes some packets, perhaps.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal, cast

from node.doctor.facts import Drop

Hook = Literal["ingress", "prerouting", "input", "forward", "output", "postrouting"]
_FAMILIES = ("inet", "ip", "netdev")
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Packet:
    """An IPv4 packet at some ``hooks``. ``fields`` are as nft(8) calls them: ``ip saddr``, ``udp dport``, ``meta
    iifname``, ``ct state``; ``what`` says what it is for people."""

    what: str
    hooks: tuple[Hook, ...]
    fields: Mapping[str, str | int]

    def value(self, kind: str, key: str) -> str | int | bool | None:
        """A field's value; None when it is unknown, False when such a packet has no such field."""
        found = self.fields.get(f"{kind} {key}")
        if found is not None:
            return found
        protocol = self.fields["meta l4proto"]
        if kind == "th":
            return self.fields.get(f"{protocol} {key}", False)
        if kind in ("ip6", "icmpv6") or (kind in ("udp", "tcp", "icmp", "sctp", "dccp") and kind != protocol):
            return False
        return None


@dataclass
class Ruleset:
    """The parts of a listing that a walk needs, and the text of each rule by table, chain and handle."""

    chains: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict[tuple[str, str], dict[str, Any]])
    rules: dict[tuple[str, str], list[dict[str, Any]]] = field(
        default_factory=dict[tuple[str, str], list[dict[str, Any]]]
    )
    sets: dict[tuple[str, str], list[Any]] = field(default_factory=dict[tuple[str, str], list[Any]])
    texts: dict[tuple[str, str, int], str] = field(default_factory=dict[tuple[str, str, int], str])

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.chains}


def parse(listing: str, text: str = "") -> Ruleset:
    """The ruleset of ``nft -j list ruleset``, and of ``nft -a list ruleset`` what rules look like; ValueError."""
    found = Ruleset(texts=_texts(text))
    for item in cast("list[dict[str, dict[str, Any]]]", json.loads(listing)["nftables"]):
        for kind, it in item.items():
            if kind == "chain":
                found.chains[_table(it), it["name"]] = it
            elif kind == "rule":
                found.rules.setdefault((_table(it), it["chain"]), []).append(it)
            elif kind in ("set", "map"):
                found.sets[_table(it), it["name"]] = it.get("elem", [])
    return found


def _table(it: Mapping[str, Any]) -> str:
    return f"{it['family']} {it['table']}"


def _texts(text: str) -> dict[tuple[str, str, int], str]:
    """By table, chain and handle, of lines such as ``udp dport 53 drop # handle 7``."""
    found: dict[tuple[str, str, int], str] = {}
    table = chain = ""
    for line in map(str.strip, text.splitlines()):
        body, _, handle = line.rpartition(" # handle ")
        if body.startswith("table "):
            table = body.removeprefix("table ").removesuffix(" {")
        elif body.startswith("chain "):
            chain = body.removeprefix("chain ").removesuffix(" {")
        elif handle.isdigit():
            found[table, chain, int(handle)] = body
    return found


def difference(wanted: Ruleset, found: Ruleset, table: str) -> tuple[list[str], list[str]]:
    """Rules and chains that ``table`` lacks and has besides, as texts; handles and elements of sets do not count."""
    before, after = _shapes(wanted, table), _shapes(found, table)
    lacking, added = list(before), list(after)
    for shape, _ in after:
        lacking = _without(lacking, shape)
    for shape, _ in before:
        added = _without(added, shape)
    return [text for _, text in lacking], [text for _, text in added]


def _without(shapes: list[tuple[str, str]], shape: str) -> list[tuple[str, str]]:
    for index, (each, _) in enumerate(shapes):
        if each == shape:
            return shapes[:index] + shapes[index + 1 :]
    return shapes


def _shapes(ruleset: Ruleset, table: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for (its, name), chain in ruleset.chains.items():
        if its == table:
            shape = {key: value for key, value in chain.items() if key != "handle"}
            found.append((json.dumps(shape, sort_keys=True), f"chain {name} (policy {chain.get('policy', 'none')})"))
    for (its, name), rules in ruleset.rules.items():
        for rule in rules if its == table else ():
            text = ruleset.texts.get((its, name, rule["handle"]), json.dumps(rule["expr"]))
            found.append((json.dumps([name, rule["expr"]], sort_keys=True), f"{name}: {text}"))
    return found


def drops(ruleset: Ruleset, packets: Iterable[Packet], aside: Sequence[str] = ()) -> list[Drop]:
    """Where the packets end, or may end, each rule once; tables in ``aside`` are passed over.

    ValueError for rules that nft(8) prints in a way that is not known here.
    """
    found: dict[tuple[str, str, int], Drop] = {}
    for packet in packets:
        for hook in packet.hooks:
            try:
                drops_here = _at(ruleset, hook, packet, aside)
            except (LookupError, TypeError, AttributeError) as error:
                raise ValueError(f"nft: some rule's JSON is not known here ({error!r})") from error
            for drop in drops_here:
                known = found.get((drop.table, drop.chain, drop.handle))
                if known is None or (drop.certain and not known.certain):
                    found[drop.table, drop.chain, drop.handle] = drop
    return sorted(found.values(), key=lambda drop: not drop.certain)


def _at(ruleset: Ruleset, hook: Hook, packet: Packet, aside: Sequence[str]) -> list[Drop]:
    bases = [
        (chain.get("prio", 0), key)
        for key, chain in ruleset.chains.items()
        if chain.get("hook") == hook
        and chain.get("type") != "nat"
        and chain["family"] in _FAMILIES
        and key[0] not in aside
        and (hook != "ingress" or packet.fields.get("meta iifname") in _devices(chain))
    ]
    found: list[Drop] = []
    for _, key in sorted(bases):
        walk = _Walk(ruleset, packet)
        ending = walk.chain(key, certain=True)
        if ending is None and ruleset.chains[key].get("policy") == "drop":
            policy = Drop(*key, 0, f"policy drop of chain {key[1]}", packet.what, not walk.may_accept)
            walk.found.append(policy)
        found += walk.found
    return found


def _devices(chain: Mapping[str, Any]) -> list[str]:
    device = chain.get("dev", [])
    return [device] if isinstance(device, str) else device


class _Walk:
    """One packet's way through a base chain."""

    def __init__(self, ruleset: Ruleset, packet: Packet) -> None:
        self.found: list[Drop] = []
        self.may_accept = False
        self._ruleset = ruleset
        self._packet = packet

    def chain(self, key: tuple[str, str], *, certain: bool, depth: int = 0) -> str | None:
        """How the packet ends there: accept or drop, or None when it comes out at the end."""
        if depth > 16:  # the kernel's own limit (NFT_JUMP_STACK_SIZE)
            return None
        for rule in self._ruleset.rules.get(key, ()):
            verdict, is_sure = self._judged(rule, key[0])
            if verdict is None:
                continue
            name, target = verdict
            is_sure = is_sure and certain
            if name in ("drop", "reject"):
                text = self._ruleset.texts.get((*key, rule["handle"]), name)
                self.found.append(Drop(*key, rule["handle"], text, self._packet.what, is_sure))
                name = "drop"
            elif name in ("jump", "goto"):
                inner = self.chain((key[0], target), certain=is_sure, depth=depth + 1)
                if is_sure and (inner is not None or name == "goto"):
                    return inner
                continue
            if is_sure:
                return None if name == "return" else name
            self.may_accept = self.may_accept or name == "accept"
        return None

    def _judged(self, rule: Mapping[str, Any], table: str) -> tuple[tuple[str, str] | None, bool]:
        """The verdict of a rule for the packet with its target, None for none; and whether that is sure."""
        is_sure = True
        for statement in cast("list[dict[str, Any] | str]", rule["expr"]):
            if isinstance(statement, str):
                is_sure = False  # nft(8) has no JSON for it, and prints its text
                continue
            ((name, body),) = statement.items()
            if name == "match":
                holds = self._holds(body, table)
                if holds is False:
                    return None, True
                is_sure = is_sure and holds is True
            elif name in ("limit", "xt", "quota", "ct count"):
                is_sure = False
            elif name == "vmap":
                verdict, is_known = self._mapped(body, table)
                return verdict, is_sure and is_known
            elif name in ("accept", "drop", "reject", "return", "jump", "goto"):
                return (name, body["target"] if name in ("jump", "goto") else ""), is_sure
        return None, True

    def _mapped(self, body: Mapping[str, Any], table: str) -> tuple[tuple[str, str] | None, bool]:
        value, data = self._value(body["key"]), body["data"]
        pairs = self._ruleset.sets.get((table, data[1:]), []) if isinstance(data, str) else data["set"]
        for key, verdict in pairs:
            holds = None if value is None else value is not False and self._is_one(value, key, table)
            if holds is not False:
                ((name, target),) = verdict.items()
                if name == "continue":
                    return None, True
                return (name, target["target"] if target else ""), holds is True
        return None, True

    def _value(self, left: Any) -> Any:
        """What the packet has there; None for unknown, False for no such field."""
        if not isinstance(left, dict):
            return None
        ((kind, body),) = cast("dict[str, Any]", left).items()
        if kind == "payload" and "protocol" in body:
            return self._packet.value(body["protocol"], body["field"])
        if kind in ("meta", "ct"):
            named = {"iif": "iifname", "oif": "oifname"}
            key = str(named.get(body["key"], body["key"]))
            return self._packet.value(kind, key)
        if kind == "concat":
            values = tuple(self._value(each) for each in cast("list[Any]", body))
            return None if None in values else False if False in values else values
        return None

    def _holds(self, body: Mapping[str, Any], table: str) -> bool | None:
        value, right, op = self._value(body["left"]), body["right"], body["op"]
        if value is None:
            return None
        if value is False:
            return False  # nft(8) looks first whether the packet is of the protocol
        if op in _COMPARISONS:
            is_number = isinstance(value, int) and isinstance(right, int)
            return _COMPARISONS[op](value, right) if is_number else None
        is_one = self._is_one(value, right, table)
        return (None if is_one is None else not is_one) if op == "!=" else is_one

    def _is_one(self, value: Any, right: Any, table: str) -> bool | None:
        """Whether ``value`` is ``right`` or one of it; None for what cannot be told."""
        if isinstance(right, str) and right.startswith("@"):
            elements = self._ruleset.sets.get((table, right[1:]))
            return None if elements is None else self._is_one(value, elements, table)
        if isinstance(right, dict):
            right = cast("dict[str, Any]", right)
            if "elem" in right:
                return self._is_one(value, right["elem"]["val"], table)
            if "concat" in right:
                parts = [self._is_one(one, other, table) for one, other in zip(value, right["concat"], strict=False)]
                return False if False in parts else None if None in parts else True
            if "set" in right:
                return self._is_one(value, right["set"], table)
            return _is_within(value, right)
        if isinstance(right, list):
            found = [self._is_one(value, each, table) for each in cast("list[Any]", right)]
            return True if True in found else None if None in found else False
        if isinstance(right, str) and right.endswith("*"):
            return str(value).startswith(right[:-1])
        return _plain(value) == _plain(right)


_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}


def _plain(value: Any) -> str:
    return str(_PROTOCOLS.get(value, value) if isinstance(value, int) else value)


def _is_within(value: Any, shape: Mapping[str, Any]) -> bool | None:
    try:
        if "prefix" in shape:
            prefix = ip_network(f"{shape['prefix']['addr']}/{shape['prefix']['len']}")
            return ip_address(value) in prefix
        if "range" in shape:
            first, last = shape["range"]
            if isinstance(value, int):
                return first <= value <= last
            return int(ip_address(first)) <= int(ip_address(value)) <= int(ip_address(last))
    except (ValueError, TypeError):
        return None
    return None


def outer(
    local: str, host: str, device: str, port: int, far: int, *, is_called: bool, sizes: Sequence[int] = (176, 1480)
) -> list[Packet]:
    """The tunnel's own packets to and from the far end, which calls this machine if ``is_called``."""
    found: list[Packet] = []
    for size in sizes:
        common: dict[str, str | int] = {
            "meta l4proto": "udp",
            "ip protocol": "udp",
            "meta nfproto": "ipv4",
            "meta protocol": "ip",
            "meta length": size,
            "ip length": size,
            "udp length": size - 20,
        }
        coming: dict[str, str | int] = {"ip saddr": host, "ip daddr": local, "udp sport": far, "udp dport": port}
        going: dict[str, str | int] = {"ip saddr": local, "ip daddr": host, "udp sport": port, "udp dport": far}
        state = ("new", "established") if is_called else ("established", "new")
        about = f"WireGuard's packets ({size} bytes)"
        came: dict[str, str | int] = {"meta iifname": device, "meta oifname": "", "ct state": state[0]}
        went: dict[str, str | int] = {"meta iifname": "", "meta oifname": device, "ct state": state[1]}
        hooks: tuple[Hook, ...] = ("ingress", "prerouting", "input")
        found.append(Packet(f"{about} from {host}", hooks, {**common, **coming, **came}))
        found.append(Packet(f"{about} to {host}", ("output", "postrouting"), {**common, **going, **went}))
    return found


def inner(own: str, far: str, device: str, sizes: Sequence[int] = (84, 1420)) -> list[Packet]:
    """Pings through the tunnel, and the answers to them."""
    found: list[Packet] = []
    for size in sizes:
        about = f"pings through the tunnel ({size} bytes)"
        common: dict[str, str | int] = {
            "meta l4proto": "icmp",
            "ip protocol": "icmp",
            "meta nfproto": "ipv4",
            "meta protocol": "ip",
            "meta length": size,
            "ip length": size,
        }
        went: dict[str, str | int] = {
            "ip saddr": own,
            "ip daddr": far,
            "icmp type": "echo-request",
            "meta iifname": "",
            "meta oifname": device,
            "ct state": "new",
        }
        came: dict[str, str | int] = {
            "ip saddr": far,
            "ip daddr": own,
            "icmp type": "echo-reply",
            "meta iifname": device,
            "meta oifname": "",
            "ct state": "established",
        }
        found.append(Packet(f"{about} to {far}", ("output", "postrouting"), {**common, **went}))
        hooks: tuple[Hook, ...] = ("ingress", "prerouting", "input")
        found.append(Packet(f"answers to {about} from {far}", hooks, {**common, **came}))
    return found


def forwarded(source: str, target: str, device: str) -> list[Packet]:
    """A ping that a gateway passes on, from one node to another."""
    fields: dict[str, str | int] = {
        "meta l4proto": "icmp",
        "ip protocol": "icmp",
        "meta nfproto": "ipv4",
        "meta protocol": "ip",
        "meta length": 84,
        "ip length": 84,
        "ip saddr": source,
        "ip daddr": target,
        "icmp type": "echo-request",
        "meta iifname": device,
        "meta oifname": device,
        "ct state": "new",
    }
    return [Packet(f"pings from {source} to {target}", ("ingress", "prerouting", "forward", "postrouting"), fields)]
