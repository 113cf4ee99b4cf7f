"""The report on a preview: a verdict, what went wrong, and sections in the order in which reviewers ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from review.bill import Bill, bill, cents
from review.machines import KINDS, MACHINES, POOLS, MachineChange, machine_changes
from review.peers import PeerChange, SettingChange, peer_changes, setting_changes
from review.ports import PortChange, port_changes
from review.preview import Preview, Problem

TOLD_ELSEWHERE = (*MACHINES, *POOLS)
QUIET = ("same", "read")


@dataclass(frozen=True)
class OtherChange:
    """A resource that changes and that no section is about."""

    operation: str
    type: str
    name: str


@dataclass(frozen=True)
class ProtectionChange:
    """A resource that engines will delete or replace from now on, or will no longer."""

    is_protected: bool
    """Whether it is after the change."""
    type: str
    name: str


@dataclass(frozen=True)
class Report:
    """What a preview means."""

    verdict: str
    problems: tuple[Problem, ...]
    peers: tuple[PeerChange, ...]
    settings: tuple[SettingChange, ...]
    machines: tuple[MachineChange, ...]
    protections: tuple[ProtectionChange, ...]
    ports: tuple[PortChange, ...]
    bill: Bill
    others: tuple[OtherChange, ...]

    @property
    def has_failed(self) -> bool:
        """Whether the preview has errors, a mandatory policy's among them."""
        return any(problem.severity == "error" for problem in self.problems)

    @property
    def is_broken(self) -> bool:
        """Whether the preview ended early, so that this is not all that would happen."""
        return any(problem.ends_the_preview for problem in self.problems)

    @property
    def takes_machines(self) -> bool:
        """Whether a machine is replaced or deleted."""
        return any(change.kind in ("replaced", "deleted") for change in self.machines)

    @property
    def is_alarming(self) -> bool:
        """Whether it fails, takes machines, or takes the protection from something."""
        lost = any(not change.is_protected for change in self.protections)
        return self.has_failed or self.takes_machines or lost


def report(preview: Preview) -> Report:
    """The report on a preview."""
    peers, settings = peer_changes(preview), setting_changes(preview)
    machines, ports, money = machine_changes(preview), port_changes(preview), bill(preview)
    protections = _protections(preview)
    others = [
        OtherChange(step.operation, step.type, step.name)
        for step in preview.steps
        if step.operation not in QUIET and step.type not in TOLD_ELSEWHERE
    ]
    problems = sorted(
        (problem for problem in preview.problems if problem.severity in ("error", "warning")),
        key=lambda problem: problem.severity,
    )
    parts = [*_peers(peers), *_settings(settings), *_machines(machines), *_protected(protections), *_ports(ports)]
    if not parts and not others:
        verdict = "Nothing changes."
    else:
        verb = "changes" if len(others) == 1 else "change"
        parts = parts or [f"{_number(len(others), 'other resource')} {verb}"]
        if not any(change.kind == "replaced" for change in machines):
            parts.append("no machine is replaced")
        verdict = _sentence([*parts, f"{money_change(money)} a month"])
    errors = [problem for problem in problems if problem.severity == "error"]
    if preview.is_broken:
        verdict = f"The preview failed: {_number(len(errors), 'error')}. What follows is only what it came to."
    elif errors:
        verdict = f"Policies refuse it: {_number(len(errors), 'mandatory violation')}. {verdict}"
    others = sorted(others, key=lambda change: (change.operation, change.type, change.name))
    return Report(
        verdict,
        tuple(problems),
        tuple(peers),
        tuple(settings),
        tuple(machines),
        tuple(protections),
        tuple(ports),
        money,
        tuple(others),
    )


def _sentence(parts: Sequence[str]) -> str:
    sentence = ", ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _peers(peers: Sequence[PeerChange]) -> list[str]:
    verbs = {"+": ("joins", "join"), "-": ("leaves", "leave"), "~": ("changes", "change")}
    counts = Counter((change.kind, change.sign) for change in peers)
    return [
        f"{_number(counts[kind, sign], kind)} {verbs[sign][counts[kind, sign] > 1]}"
        for kind in ("node", "pool")
        for sign in "+-~"
        if counts[kind, sign]
    ]


def _settings(settings: Sequence[SettingChange]) -> list[str]:
    told = {"topology": "the topology becomes {}", "release": "machines take another release"}
    found = [told[change.what].format(change.after) for change in settings if change.what in told]
    rest = sum(change.what not in told for change in settings)
    return [
        *found,
        *([f"{_number(rest, 'setting')} of the network {'changes' if rest == 1 else 'change'}"] if rest else []),
    ]


def _machines(machines: Sequence[MachineChange]) -> list[str]:
    counts = Counter((change.kind, change.role == "pool") for change in machines)
    told: list[str] = []
    for kind in KINDS:
        if one := counts[kind, False]:
            gateways = sum(change.kind == kind and change.role == "gateway" for change in machines)
            among = f" ({_number(gateways, 'gateway')})" if gateways else ""
            told.append(f"{_number(one, 'machine')} {'is' if one == 1 else 'are'} {kind}{among}")
        if pools := counts[kind, True]:
            of = "a pool" if pools == 1 else f"{pools} pools"
            told.append(f"the machines of {of} are {kind}")
    return told


def _protections(preview: Preview) -> list[ProtectionChange]:
    """What loses its protection first."""
    found = [
        ProtectionChange(step.new.is_protected, step.type, step.name)
        for step in preview.steps
        if step.old is not None and step.new is not None and step.old.is_protected != step.new.is_protected
    ]
    return sorted(found, key=lambda change: (change.is_protected, change.type, change.name))


def _protected(protections: Sequence[ProtectionChange]) -> list[str]:
    counts = Counter(change.is_protected for change in protections)
    words = {False: "no longer protected", True: "protected from now on"}
    return [
        f"{_number(counts[kind], 'resource')} {'is' if counts[kind] == 1 else 'are'} {told}"
        for kind, told in words.items()
        if counts[kind]
    ]


def _ports(ports: Sequence[PortChange]) -> list[str]:
    counts = Counter(change.verb for change in ports)
    verbs = {"opens": ("opens", "open"), "changes": ("is open to others", "are open to others"),
             "closes": ("closes", "close")}  # fmt: skip
    anyone = Counter(change.verb for change in ports if change.is_to_anyone)
    return [
        f"{_number(counts[verb], 'port')} {verbs[verb][counts[verb] > 1]}"
        + (f" ({anyone[verb]} to anywhere)" if anyone[verb] else "")
        for verb in verbs
        if counts[verb]
    ]


def money_change(money: Bill) -> str:
    """The difference in words, such as `+5.83 USD`, or `+8.06 to +24.18 USD` where pools are smallest to largest."""
    least, most = money.difference
    if signed(least) == signed(most):
        return f"{signed(least)} USD"
    return f"{signed(least)} to {signed(most)} USD"


def signed(amount: Decimal) -> str:
    """A difference to the cent, with its sign."""
    return f"{cents(amount):+.2f}" if cents(amount) else "±0.00"


def dollars(amounts: tuple[Decimal, Decimal]) -> str:
    """One amount to the cent, or from the smallest to the largest."""
    least, most = (f"{cents(amount):.2f}" for amount in amounts)
    return f"{least} USD" if least == most else f"{least} to {most} USD"
