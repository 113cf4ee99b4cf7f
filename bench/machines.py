"""What is measured on machines: how soon they are on the network, and what goes through the gateway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, cast

import yaml

from bench import handmade
from bench.figures import Paired, Row, pairs, shown_ratio
from bench.handmade import OVERLAY, Handmade
from bench.place import Place
from bench.stacks import PREFIX, ROOT

BOOTS = 3
TRANSFERS = 15
HUB, GIVER, TAKER = "hetzner-gw", "hetzner-1", "hetzner-2"
NEW, NEW_ADDRESS = "hetzner-3", "10.100.1.3"
"""The spoke that is made again and again."""
THROUGHPUT_AIM = 0.97


class DevStack:
    """The dev stack with one spoke more and no pools, in an instance of its own."""

    def __init__(self, folder: Path) -> None:
        self.place = Place(folder / "cloud")
        self._config_file = folder / "Pulumi.dev.yaml"
        self._revision = 1

    def up(self) -> None:
        """Make the instance equal to the stack."""
        document = cast("dict[str, Any]", yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text()))
        document["config"][f"{PREFIX}spokes"][NEW] = {"site": "hetzner", "revision": self._revision}
        del document["config"][f"{PREFIX}pools"]
        self._config_file.write_text(yaml.safe_dump(document))
        self.place.run("up", "--config-file", str(self._config_file))

    def make_anew(self) -> None:
        """Destroy the spoke and boot a new one in its place."""
        self._revision += 1
        self.up()

    def down(self) -> None:
        """Destroy everything."""
        self.place.run("down")


def rows(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """The table's lines on machines."""
    ours = DevStack(folder / "ours")
    (folder / "ours").mkdir()
    try:
        say("the dev stack")
        ours.up()
        mtu = int(ours.place.execute(GIVER, "cat", "/sys/class/net/wg0/mtu"))
        by_hand = Handmade(folder / "by-hand", mtu)
        try:
            say("the same by hand")
            by_hand.up()
            by_hand.place.wait_until_reached(handmade.ONE, OVERLAY[handmade.TWO])
            return [*_boots(ours, by_hand, say), _transfers(ours, by_hand, mtu, say)]
        finally:
            by_hand.down()
    finally:
        ours.down()


def _boots(ours: DevStack, by_hand: Handmade, say: Callable[[str], None]) -> list[Row]:
    one = handmade.ONE

    def first_ping_of_ours(start: Callable[[], object]) -> float:
        return ours.place.first_ping(HUB, NEW, NEW_ADDRESS, start)

    def first_ping_by_hand(start: Callable[[], object]) -> float:
        return by_hand.place.first_ping(handmade.HUB, one, OVERLAY[one], start)

    def again(place: Place, node: str) -> Callable[[], object]:
        return lambda: (place.run("stop", node), place.run("start", node))

    say("first boots")
    first = pairs(
        lambda: first_ping_of_ours(ours.make_anew),
        lambda: first_ping_by_hand(lambda: by_hand.make_anew(one)),
        BOOTS,
    )
    say("later boots")
    later = pairs(
        lambda: first_ping_of_ours(again(ours.place, NEW)),
        lambda: first_ping_by_hand(again(by_hand.place, one)),
        BOOTS,
    )
    return [
        _seconds("machine start to first ping, first boot", first),
        _seconds("machine start to first ping, later boot", later),
    ]


def _seconds(what: str, paired: Paired) -> Row:
    return Row(what, f"{median(paired.ours):.2f} s", f"{median(paired.by_hand):.2f} s", shown_ratio(paired))


def _transfers(ours: DevStack, by_hand: Handmade, mtu: int, say: Callable[[str], None]) -> Row:
    say("spoke to spoke through the gateway")
    addresses = "10.100.1.2", OVERLAY[handmade.TWO]
    paired = pairs(
        lambda: ours.place.throughput(GIVER, TAKER, addresses[0]),
        lambda: by_hand.place.throughput(handmade.ONE, handmade.TWO, addresses[1]),
        TRANSFERS,
    )
    return Row(
        f"spoke to spoke through the gateway, TCP, MTU {mtu}",
        f"{median(paired.ours) / 1e6:.0f} Mbit/s",
        f"{median(paired.by_hand) / 1e6:.0f} Mbit/s",
        shown_ratio(paired),
        f">= {THROUGHPUT_AIM}",
    )
