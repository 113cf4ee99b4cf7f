"""By which gateway each node's packets go, in words: what a preview shows of a change of topology or of gateways."""

from __future__ import annotations

from collections.abc import Mapping

from components.plan import Machine, Plan
from components.pool_plan import PoolPlan
from overlay.model import EXTERNAL


def paths(plan: Plan) -> Mapping[str, str]:
    """Node or pool -> the way of its packets; one alone has none."""
    is_mesh, root = plan.network.topology == "mesh", plan.root.name
    found: dict[str, str] = {}
    for name in plan.gateways:
        if len(plan.gateways) > 1 and plan.network.topology != "hub":
            found[name] = "the other gateways"
        elif name != root:
            found[name] = root
    for name, entering in {**plan.spokes, **plan.pools}.items():
        found[name] = plan.hangs_on(entering).name + _besides(entering, is_mesh)
    return found


def _besides(entering: Machine | PoolPlan, is_mesh: bool) -> str:
    if isinstance(entering, Machine) and entering.is_external:
        return ", as its configuration says"
    return ", directly where it can" if is_mesh and entering.cloud != EXTERNAL else ""
