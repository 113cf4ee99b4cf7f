"""The policy on what a stack may cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from components.settings.models import Settings
from policy.model import Finding, Resource, StackRule
from review import costs


def over_budget(resources: Sequence[Resource], settings: Settings) -> Iterator[Finding]:
    """By list prices, with every pool at its largest; what has no price in the table is named, and not counted."""
    budget = settings.monthly_budget
    if budget is None:
        return
    estimate = costs.estimate(costs.Resource(one.type, one.name, one.inputs) for one in resources)
    if estimate.largest > budget:
        uncounted = (
            f", without {len(estimate.unpriced)} resources whose prices are not known" if estimate.unpriced else ""
        )
        yield Finding(
            f"may cost {estimate.largest:,.0f} US dollars a month by list prices with its pools at their largest"
            f"{uncounted}",
            f"its budget is {budget:,}",
            "Lower a pool's max, choose smaller server types, or raise hybrid-wireguard:monthlyBudget",
        )


STACK_RULES = (StackRule("over-budget", "The stack costs no more than its budget.", over_budget),)
