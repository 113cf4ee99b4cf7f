"""The report's sections as tables of words, which every renderer shows its own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from review.bill import Bill
from review.report import Report, dollars, money_change, signed

MOST = 40
"""Rows of a section that are shown one by one."""
NONE = "none"
NAMED = 10
"""Machines that are named in one cell."""


@dataclass(frozen=True)
class Table:
    """A section: its title, its columns and rows, and what is said below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    is_folded: bool = False
    alarming: tuple[str, ...] = ()
    """Lines to show in red."""

    @property
    def shown(self) -> tuple[tuple[str, ...], ...]:
        """The rows that are shown one by one."""
        return self.rows[:MOST]

    @property
    def left_out(self) -> int:
        """How many rows are not."""
        return max(0, len(self.rows) - MOST)


def tables(report: Report) -> Iterator[Table]:
    """The sections, without those that would be empty."""
    if report.peers:
        verbs = {"+": "joins", "-": "leaves", "~": "changes"}
        rows = tuple(
            (f"{verbs[one.sign]}", one.kind, one.name, one.before or NONE, one.after or NONE) for one in report.peers
        )
        yield Table("Peers", ("", "", "name", "before", "after"), rows)
    if report.settings:
        rows = tuple((one.what, one.before, one.after) for one in report.settings)
        yield Table("Network", ("setting", "before", "after"), rows)
    if report.machines:
        replaced = [one for one in report.machines if one.kind in ("replaced", "deleted")]
        alarming = tuple(
            f"{one.name} ({', '.join(filter(None, (one.role, one.server_type)))}) is {one.kind}: {one.why}"
            for one in replaced
        )
        rows = tuple((one.kind, one.name, one.role, one.server_type, one.place, one.why) for one in report.machines)
        yield Table("Machines", ("", "name", "role", "server type", "where", "why"), rows, alarming=alarming)
    if report.protections:
        lost = tuple(
            f"{one.name} ({one.type}) is no longer protected" for one in report.protections if not one.is_protected
        )
        rows = tuple(
            ("protected" if one.is_protected else "no longer protected", one.type, one.name)
            for one in report.protections
        )
        note = "What is protected is neither deleted nor replaced: `pulumi up` refuses to."
        yield Table("Protection", ("", "type", "name"), rows, note, alarming=lost)
    if report.ports:
        rows = tuple(
            (one.verb, one.port, _names(one.machines), one.before or NONE, one.after or NONE) for one in report.ports
        )
        yield Table("Ports", ("", "port", "on", "from, before", "from, after"), rows)
    if not report.is_broken and (report.bill.lines or report.bill.unpriced or any(report.bill.difference)):
        yield _cost(report.bill)
    if report.others:
        counts = Counter(one.operation for one in report.others)
        title = ", ".join(f"{count} {operation}" for operation, count in sorted(counts.items()))
        rows = tuple((one.operation, one.type, one.name) for one in report.others)
        yield Table(f"All other changes: {title}", ("", "type", "name"), rows, is_folded=True)


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _cost(bill: Bill) -> Table:
    rows = tuple((line.what, str(line.before), str(line.after), signed(line.more)) for line in bill.lines)
    whole = (
        f"{dollars(bill.before)} a month before, {dollars(bill.after)} after"
        if bill.is_whole
        else "the preview does not list what stays the same (--show-sames), so only what changes is counted"
    )
    says = [f"{money_change(bill)} a month: {whole}."]
    if bill.seen:
        first, last = bill.seen[0].isoformat(), bill.seen[-1].isoformat()
        seen = first if first == last else f"{first} to {last}"
        says.append(
            f"An estimate from list prices of {seen}, without traffic and taxes; pools from their smallest to "
            "their largest size, which the lines above count, spot machines at the price on demand."
        )
    if bill.unpriced:
        counts = Counter(one.what for one in bill.unpriced)
        listed = [f"{what}{f' ({count} times)' if count > 1 else ''}" for what, count in sorted(counts.items())]
        more = f" and {len(listed) - MOST} more" if len(listed) > MOST else ""
        says.append(f"Without a price in the table, so not counted: {'; '.join(listed[:MOST])}{more}.")
    return Table("Cost", ("what", "before", "after", "USD a month more"), rows, "\n".join(says))
