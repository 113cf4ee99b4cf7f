"""How soon everything is back after a disaster: a dead gateway, lost disks, a lost site, a lost state.

Times from a command are those of the command that mends it, which ends when every node reaches every node. By hand is a
hub of wg-quick(8) alone that loses its power, too.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path
from statistics import median
from typing import Any, cast

import yaml

from bench import handmade
from bench.figures import Paired, Row, pairs, shown_ratio
from bench.handmade import OVERLAY, Handmade
from bench.pings import Loss, everybody_pings
from bench.place import PATIENCE, Place
from bench.stacks import PREFIX, ROOT

GATEWAY, SPOKE, POOL = "hetzner-gw", "hetzner-1", "aws-burst"
SPOKES = {SPOKE: "10.100.1.1", "aws-1": "10.100.2.1"}
GATEWAY_ADDRESS = "10.100.0.1"
EACH = 0.05
"""Seconds between two pings of a pair."""
POWER_CUTS = 3
NEW_SITE, NEW_SPOKE = "aws-west", "aws-west-1"
NEW_PLACE = {
    "cloud": "aws",
    "subnet": "10.100.4.0/24",
    "region": "eu-west-1",
    "availabilityZone": "eu-west-1a",
    "vpcCidr": "172.28.16.0/20",
}
"""Where machines are made in the place of a lost site's: all regions here share one address space."""
STATES = ("state", "backend")
"""Where an instance has the stack's state: the small engine's folder and the CLI's."""
FROM_COMMAND = ": from the command to every pair"
"""How the lines end whose time is that of the command that mends it."""
_BORN = "cat /etc/machine-id; cut -d ' ' -f 22 /proc/1/stat"


def small_settings() -> dict[str, Any]:
    """The dev stack's settings for a gateway, a spoke on Hetzner and one on AWS, and a pool that is not full."""
    document = cast("dict[str, Any]", yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text()))
    settings = {key.removeprefix(PREFIX): value for key, value in document["config"].items()}
    del settings["sites"]["gcp"], settings["loadBalancer"]
    settings["spokes"] = {name: {"site": name.partition("-")[0]} for name in SPOKES}
    settings["pools"] = {POOL: {"site": "aws", "range": "10.100.2.128/25", "min": 1, "max": 2}}
    return settings


class Stack:
    """The small stack, in an instance of its own; ``settings`` may be changed between one `up` and the next."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder / "cloud")
        self.settings = small_settings()
        self._config_file = folder / "Pulumi.dev.yaml"

    def up(self) -> float:
        """Make the instance equal to the stack; seconds until every node reaches every node."""
        document = cast("dict[str, Any]", yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text()))
        document["config"] = {f"{PREFIX}{key}": value for key, value in self.settings.items()}
        self._config_file.write_text(yaml.safe_dump(document))
        return seconds(lambda: self.place.run("up", "--config-file", str(self._config_file)))

    def everyone(self) -> dict[str, str]:
        """Overlay address by name of every machine but the gateway."""
        return SPOKES | {lease["name"]: lease["address"] for lease in self.leases()}

    def leases(self) -> list[dict[str, Any]]:
        """Those of the pool's machines that are up and work."""
        said = self.place.execute(GATEWAY, "sh", "-c", "hybridnet status --json || true")
        leases = cast("list[dict[str, Any]]", json.loads(said)["leases"])
        return [lease for lease in leases if lease["state"] == "active" and lease["healthy"]]

    def born(self, nodes: Iterable[str]) -> dict[str, str]:
        """By machine, what is another text once it was made anew or booted again."""
        return {node: self.place.execute(node, "sh", "-c", _BORN) for node in nodes}


def rows(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """The table's lines on recoveries; RuntimeError when something does not come back, or touches what it must not."""
    folder.mkdir(parents=True)
    stack = Stack(folder)
    by_hand = Handmade(folder / "by-hand", 1420)
    with ExitStack() as ends:
        ends.callback(stack.place.run, "down")
        ends.callback(by_hand.down)
        say("a small stack, for recoveries")
        stack.up()
        by_hand.up()
        reach_each_other(by_hand.place, {name: OVERLAY[name] for name in (handmade.ONE, handmade.TWO)})
        return [
            _power_cut(stack, by_hand, say),
            *_gateway_anew(stack, say),
            _spoke_anew(stack, say),
            _lost_member(stack, say),
            _lost_state(stack, say),
            _stolen_keys(stack, say),
            _stolen_machine(stack, say),
            *_lost_site(stack, say),
        ]


def _power_cut(stack: Stack, by_hand: Handmade, say: Callable[[str], None]) -> Row:
    say("gateways lose their power")
    nodes = stack.everyone()
    others = {name: OVERLAY[name] for name in (handmade.ONE, handmade.TWO)}
    cuts = pairs(
        lambda: without_power(stack.place, GATEWAY, nodes),
        lambda: without_power(by_hand.place, handmade.HUB, others),
        POWER_CUTS,
    )
    return power_cut_row(cuts)


def power_cut_row(cuts: Paired) -> Row:
    """The line on gateways that are switched off and on again."""
    what = "gateway off and on again: the worst pair is without each other"
    return Row(what, f"{median(cuts.ours):.1f} s", f"{median(cuts.by_hand):.1f} s", shown_ratio(cuts))


def without_power(place: Place, gateway: str, nodes: Mapping[str, str]) -> float:
    """Seconds that the worst pair of ``nodes`` was without each other while the gateway was off and booted again."""
    with everybody_pings(place.directory, nodes, EACH) as losses:
        place.run("kill", gateway)
        place.run("start", gateway)
        reach_each_other(place, nodes)
    return worst(losses)


def worst(losses: Iterable[Loss]) -> float:
    """Seconds that the worst pair was without each other."""
    return max(loss.worst for loss in losses)


def _gateway_anew(stack: Stack, say: Callable[[str], None]) -> list[Row]:
    say("the gateway is made anew, without its disk")
    nodes = stack.everyone()
    before = stack.born(nodes)
    with everybody_pings(stack.place.directory, nodes, EACH) as losses:
        stack.settings["gateways"][GATEWAY]["revision"] = 2
        taken = stack.up()
        reach_each_other(stack.place, nodes)
    if stack.everyone() != nodes or stack.born(nodes) != before:
        raise RuntimeError("a gateway made anew touched another machine, or gave one another address")
    return [
        _from_command("gateway made anew without its disk", taken),
        Row("the same: the worst pair is without each other", f"{worst(losses):.1f} s"),
    ]


def _spoke_anew(stack: Stack, say: Callable[[str], None]) -> Row:
    say("a spoke is made anew")
    stack.settings["spokes"][SPOKE]["revision"] = 2
    return _from_command("spoke made anew", stack.up())


def _lost_member(stack: Stack, say: Callable[[str], None]) -> Row:
    say("a pool's machine is lost")
    (lost,) = stack.leases()

    def until_another_works() -> None:
        stack.place.run("kill", lost["name"])
        end = time.monotonic() + PATIENCE
        while not [lease for lease in stack.leases() if lease["name"] != lost["name"]]:
            if time.monotonic() > end:
                raise RuntimeError(f"no machine has taken the place of {lost['name']} within {PATIENCE} s")
        reach_each_other(stack.place, {name: at for name, at in stack.everyone().items() if name != lost["name"]})

    return Row("pool's machine lost: another one reaches everybody", f"{seconds(until_another_works):.1f} s")


def _lost_site(stack: Stack, say: Callable[[str], None]) -> list[Row]:
    say("a site is lost")
    for node in ["aws-1", *(lease["name"] for lease in stack.leases())]:
        stack.place.run("cut", node)
    replace_site(stack.settings)
    others = {SPOKE: SPOKES[SPOKE], GATEWAY: GATEWAY_ADDRESS}
    with everybody_pings(stack.place.directory, others, EACH) as losses:
        taken = stack.up()
    return [
        _from_command("site lost, another one in its place", taken),
        Row("the same: pings lost within the other site", str(sum(loss.lost for loss in losses)), aim="0"),
    ]


def replace_site(settings: dict[str, Any]) -> None:
    """Put the new site with a spoke and a pool in the place of the one on AWS, whose machines go in the same change.

    Nobody can have them go while the lost site's cloud does not answer, but `up` waits for all that are declared.
    """
    del settings["sites"]["aws"], settings["spokes"]["aws-1"], settings["pools"][POOL]
    settings["sites"][NEW_SITE] = NEW_PLACE
    settings["spokes"][NEW_SPOKE] = {"site": NEW_SITE}
    settings["pools"][f"{NEW_SITE}-burst"] = {"site": NEW_SITE, "range": "10.100.4.128/25", "min": 1, "max": 2}


def _lost_state(stack: Stack, say: Callable[[str], None]) -> Row:
    say("the state is lost")
    instance = stack.place.directory
    states = [instance / name for name in STATES if (instance / name).exists()]
    before = stack.born(SPOKES)
    for state in states:
        shutil.copytree(state, state.with_name(f"{state.name}-copy"))
        shutil.rmtree(state)

    def put_back() -> None:
        for state in states:
            state.with_name(f"{state.name}-copy").rename(state)
        stack.up()

    taken = seconds(put_back)
    if stack.born(SPOKES) != before:
        raise RuntimeError("a state that was put back touched a machine")
    return _from_command("state put back from its copy", taken)


def _stolen_keys(stack: Stack, say: Callable[[str], None]) -> Row:
    say("the stack's keys are stolen")
    stack.settings["keys"] = {"signingRevision": 2, "caRevision": 2}
    stack.settings["pools"][POOL]["tokenRevision"] = 2
    return _from_command("signing key, authority and join token changed", stack.up())


def _stolen_machine(stack: Stack, say: Callable[[str], None]) -> Row:
    say("a machine is stolen")
    (member,) = stack.leases()
    others = {**SPOKES, GATEWAY: GATEWAY_ADDRESS}
    for address in others.values():
        stack.place.wait_until_reached(member["name"], address)
    taken = seconds(lambda: stack.place.execute(GATEWAY, "hybridnet", "revoke", member["name"], "--reason", "stolen"))
    still = [name for name, address in others.items() if _reaches(stack.place, member["name"], address)]
    if still:
        raise RuntimeError(f"{member['name']} was revoked and reaches {', '.join(still)}")
    return Row("machine revoked: from the command until it reaches nobody", f"{taken:.1f} s")


def _reaches(place: Place, node: str, address: str) -> bool:
    try:
        place.execute(node, "ping", "-q", "-c", "1", "-W", "1", address)
    except RuntimeError:
        return False
    return True


def reach_each_other(place: Place, nodes: Mapping[str, str]) -> None:
    """Return when each of ``nodes`` (overlay address by name) reaches each other; RuntimeError when not in time."""
    ways = [(source, address) for (source, _), (_, address) in permutations(nodes.items(), 2)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(place.wait_until_reached, *zip(*ways, strict=True)))


def _from_command(what: str, taken: float) -> Row:
    return Row(f"{what}{FROM_COMMAND}", f"{taken:.0f} s")


def seconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.monotonic()
    act()
    return time.monotonic() - start
