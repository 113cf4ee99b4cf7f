"""What a change costs a month more or less."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal

from review.costs import Estimate, Unpriced, estimate
from review.preview import Preview


@dataclass(frozen=True)
class BillLine:
    """So many of one thing before and after, and US dollars a month more; all with pools at their largest."""

    what: str
    before: int
    after: int
    more: Decimal


@dataclass(frozen=True)
class Bill:
    """US dollars a month before and after, pools at their smallest and at their largest."""

    before: tuple[Decimal, Decimal]
    after: tuple[Decimal, Decimal]
    lines: tuple[BillLine, ...]
    """What differs."""
    unpriced: tuple[Unpriced, ...]
    """What is billed after the change and has no price in the table."""
    seen: tuple[datetime.date, ...]
    is_whole: bool
    """Whether before and after are the whole stack's, and not only of what changes."""

    @property
    def difference(self) -> tuple[Decimal, Decimal]:
        """With pools at their smallest and at their largest."""
        return self.after[0] - self.before[0], self.after[1] - self.before[1]


def bill(preview: Preview) -> Bill:
    """The bill for a preview."""
    old, new = (estimate(state.resource for state in preview.states(after=later)) for later in (False, True))
    was, will = _counts(old), _counts(new)
    costs, costing = _costs(old), _costs(new)
    lines = tuple(
        BillLine(what, was[what], will[what], costing[what] - costs[what])
        for what in sorted(was.keys() | will.keys())
        if was[what] != will[what] or costs[what] != costing[what]
    )
    return Bill(
        (old.smallest, old.largest),
        (new.smallest, new.largest),
        lines,
        new.unpriced,
        tuple(sorted({*old.seen, *new.seen})),
        preview.lists_all,
    )


def cents(amount: Decimal) -> Decimal:
    """An amount to the cent."""
    return amount.quantize(Decimal("0.01"))


def _costs(estimated: Estimate) -> defaultdict[str, Decimal]:
    costs: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in estimated.lines:
        costs[line.what] += line.largest
    return costs


def _counts(estimated: Estimate) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in estimated.lines:
        counts[line.what] += line.most
    return counts
