"""doctor: what is wrong with the network, from the machines' own doctors and from what only their clouds know."""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, cast

from localcloud import enter
from localcloud.cli import mesh
from localcloud.cli.console import DIM, GREEN, RED, YELLOW, Console
from localcloud.cloud import Cloud, LocalCloudError
from localcloud.fabric import Fabric, MachineState
from localcloud.spec import Rule
from overlay.model import WG_PORT

SECONDS = 60
"""Until a machine's own doctor is given up."""
_STUCK_SECONDS = 10
"""More, until a machine on which nothing is ended either is given up: a frozen one."""
_AT_ONCE = 8
_SILENT = 25
"""How likely it is that a machine without a doctor's answer is the cause."""


@dataclass(frozen=True)
class Finding:
    """A cause on a machine, in the words of its own doctor or of its cloud; ``likelihood`` is a percentage."""

    node: str
    cause: str
    likelihood: int
    summary: str
    evidence: tuple[str, ...]
    command: str

    def document(self) -> dict[str, object]:
        return {
            "node": self.node,
            "cause": self.cause,
            "likelihood": self.likelihood,
            "summary": self.summary,
            "evidence": list(self.evidence),
            "command": self.command,
        }


def doctor(cloud: Cloud, options: argparse.Namespace) -> int:
    """doctor: 0 when nothing is wrong."""
    machines = Fabric(cloud).machines() if cloud.directory.exists() else []
    if not machines:
        raise LocalCloudError("there are no machines: `python -m localcloud up` makes those of the stack")
    outputs = cast("dict[str, Any]", json.loads(cloud.outputs.read_text())) if cloud.outputs.exists() else {}
    pools = {machine.spec.node for machine in machines if machine.spec.pool is not None}
    # An external spoke's machine may be one here, too: of another project. It has no doctor of ours.
    everyone = {peer.name for peer in mesh.peers(outputs) if not peer.is_external} | pools
    named = cast("list[str]", options.nodes)
    unknown = sorted(set(named) - {machine.spec.node for machine in machines})
    if unknown:
        raise LocalCloudError(f"there is no machine {unknown[0]}: `python -m localcloud status` names them")
    chosen = [machine for machine in machines if machine.spec.node in (set(named) or everyone)] or machines
    console = Console()
    console.step(f"asking the doctors of {len(chosen)} machines")
    found = examined(cloud, machines, chosen, {peer.name for peer in mesh.peers(outputs) if peer.role == "gateway"})
    nodes = [machine.spec.node for machine in chosen]
    if options.json:
        healthy = {node: not any(each.node == node for each in found) for node in nodes}
        document = {
            "schema_version": 1,
            "healthy": not found,
            "nodes": healthy,
            "causes": [each.document() for each in found],
        }
        print(json.dumps(document, indent=2))
    else:
        _show(found, nodes, console)
    return int(bool(found))


def examined(
    cloud: Cloud, machines: Sequence[MachineState], chosen: Sequence[MachineState], gateway_names: set[str]
) -> list[Finding]:
    """What is wrong with the chosen machines, the likeliest cause first."""
    cuts: set[frozenset[str]] = set()
    found: list[Finding] = []
    # A cut is told once, and rather of a spoke than of a gateway.
    for machine in sorted(chosen, key=lambda machine: machine.spec.node in gateway_names):
        new = [other for other in machine.cut_from if frozenset((machine.spec.node, other)) not in cuts]
        cuts |= {frozenset((machine.spec.node, other)) for other in new}
        found += of_the_cloud(replace(machine, cut_from=tuple(new)), machines, gateway_names)
    up = [machine.spec.node for machine in chosen if machine.status in ("running", "booting")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for each in pool.map(partial(_of_the_machine, cloud), up):
            found += each
    return sorted(found, key=lambda each: -each.likelihood)


def of_the_cloud(machine: MachineState, machines: Sequence[MachineState], gateway_names: set[str]) -> list[Finding]:
    """What the cloud's side knows of a machine: its power, its cables and its firewall."""
    node = machine.spec.node
    if machine.status in ("stopped", "crashed"):
        evidence = (f"its cloud says that it is {machine.status}",)
        return [Finding(node, "machine-stopped", 100, f"{node} does not run", evidence, _ours("start", node))]
    found: list[Finding] = []
    for other in machine.cut_from:
        where = "everything" if other == "*" else other
        words = ("heal", node) if other == "*" else ("heal", node, other)
        evidence = (f"the link between {node} and {where} is cut",)
        found.append(Finding(node, "link-cut", 99, f"{node} is cut from {where}", evidence, _ours(*words)))
    if node in gateway_names:
        shut = [each.spec.node for each in machines if each is not machine and _is_shut_out(machine, each)]
        if shut:
            evidence = (f"no rule lets UDP {WG_PORT} in from {', '.join(shut[:4])}",)
            summary = f"the provider's firewall of {node} closes WireGuard's port"
            found.append(Finding(node, "provider-firewall", 98, summary, evidence, "python -m localcloud up"))
    return found


def _ours(*words: str) -> str:
    return " ".join(("python -m localcloud", *words))


def _is_shut_out(gateway: MachineState, other: MachineState) -> bool:
    """Whether the gateway's own firewall lets nothing of WireGuard in from any address of the other machine."""
    rules = gateway.spec.ingress
    if rules is None:
        return False
    sources = [each for card in other.spec.interfaces for each in (card.public, card.nat, card.address, card.address6)]
    return not any(_admits(rule, source) for rule in rules for source in sources if source)


def _admits(rule: Rule, source: str) -> bool:
    first, last = rule.ports or (0, 65535)
    is_open = rule.protocol in ("udp", "any") and first <= WG_PORT <= last
    return is_open and any(ip_address(source) in ip_network(network) for network in rule.sources)


def _of_the_machine(cloud: Cloud, node: str) -> list[Finding]:
    """What the machine's own doctor finds."""
    init = mesh.init_on(cloud, node)
    if init is None:
        return []
    words = ["timeout", "--kill-after=5", str(SECONDS), "hybridnet", "doctor", "--json"]
    try:
        done = subprocess.run(
            enter.command_line(init, words),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=SECONDS + _STUCK_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [_without_doctor(node, f"nothing on {node} goes on, not even the end of what takes too long")]
    try:
        causes = cast("list[dict[str, Any]]", json.loads(done.stdout)["causes"])
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines()[-1:] or [f"it ended with status {done.returncode}"]
        return [_without_doctor(node, said[0][:200])]
    return [
        Finding(node, each["cause"], each["likelihood"], each["summary"], tuple(each["evidence"]), each["command"])
        for each in causes
    ]


def _without_doctor(node: str, why: str) -> Finding:
    command = _ours("exec", node, "--", "journalctl", "-u", "hybridnet", "-n", "50")
    return Finding(node, "no-doctor", _SILENT, f"the doctor of {node} does not answer", (why,), command)


def _show(found: Sequence[Finding], nodes: Sequence[str], console: Console) -> None:
    """One verdict, and a line for each node."""
    if found:
        first = found[0]
        console.say(console.paint(f"{first.node}: {first.summary}", RED) + console.paint(f" ({first.cause})", DIM))
        for line in first.evidence:
            console.say(f"  seen:  {line}")
        console.say(f"  mend:  {first.command}")
    else:
        console.say(console.paint(f"all {len(nodes)} machines are well", GREEN))
    console.say()
    rows: list[list[str]] = []
    for node in nodes:
        own = [each for each in found if each.node == node]
        if own:
            rest = f" (and {len(own) - 1} more)" if len(own) > 1 else ""
            rows.append([node, console.paint(own[0].cause, YELLOW), own[0].summary + rest])
        else:
            rows.append([node, console.paint("well", GREEN), ""])
    console.table(["MACHINE", "CAUSE", ""], rows)
