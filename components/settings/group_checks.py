"""What can be wrong with groups whose shapes are right; who is in which is judged with the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from components.serving_plan import plan_balancer
from components.settings.models import Settings
from overlay.checks import Problem
from overlay.groups import ALL, LOADBALANCER
from overlay.model import is_node_name


def group_problems(settings: Settings) -> Iterator[Problem]:
    """Names that are none, groups that are named twice, and requests that gateways might not send."""
    for name, group in settings.groups.items():
        if name == ALL:
            yield Problem(f"groups.{name}", name, "this word stands for every group", "rename it")
        elif not is_node_name(name):
            reason = "a group's name is lower-case letters, digits and hyphens, beginning with a letter"
            yield Problem(f"groups.{name}", name, reason, "rename it")
        for reached, count in Counter(group.reaches).items():
            if count > 1:
                yield Problem(f"groups.{name}.reaches", reached, "it stands there twice", "remove one of the two")
    yield from _serving_problems(settings)


def _serving_problems(settings: Settings) -> Iterator[Problem]:
    balancer = plan_balancer(settings)
    if balancer is None or not settings.groups:
        return
    held = [settings.spokes[name].group for name in balancer.nodes]
    held += [settings.pools[name].group for name in balancer.pools]
    serving = {group for group in held if group is not None and group in settings.groups}
    own = settings.groups.get(LOADBALANCER)
    reached = () if own is None else own.reaches
    for group in sorted(serving):
        if ALL not in reached and group not in reached:
            reason = f"gateways send requests to machines of {group}, and may not reach them"
            value = ", ".join(reached) or "nothing"
            yield Problem(f"groups.{LOADBALANCER}.reaches", value, reason, f"add {group}")
