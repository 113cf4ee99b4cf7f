"""The tables of cards with routes, as they follow from the machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.cloud import Cloud
from localcloud.fabric import links
from localcloud.fabric.steering import Steering, Way, steering
from localcloud.fabric.store import Record
from localcloud.spec import Interface, MachineSpec, Route, from_json, to_json
from tests.localcloud.fabric.worlds import AWS, GCP, HETZNER, recorded

GATEWAY = replace(AWS, forwarding=True)


def inside(*routes: Route, network: str = "vpc-1") -> MachineSpec:
    card = Interface("eth0", network, "10.0.1.11", 24, 9001, routes=routes)
    return replace(AWS, id="i-2", node="aws-2", interfaces=(card,))


def of(directory: Path, *specs: MachineSpec, network: str = "vpc-1") -> tuple[dict[str, Record], Steering]:
    records, _ = recorded(directory, *specs)
    return records, steering(records, network)


def test_routes_survive_the_records_file() -> None:
    spec = inside(Route("0.0.0.0/0", "10.0.1.10"), Route("10.100.0.0/16", "10.0.1.10"))
    assert from_json(to_json(spec)) == spec


def test_without_routes_there_is_no_table(tmp_path: Path) -> None:
    assert of(tmp_path, GATEWAY, inside())[1] == Steering({}, ())


def test_a_route_leads_to_the_device_of_the_machine_that_forwards(tmp_path: Path) -> None:
    records, found = of(tmp_path, GATEWAY, inside(Route("10.100.0.0/16", "10.0.1.10")))
    (table,) = found.tables.values()
    way = Way(table, "10.100.0.0/16", "10.0.1.10", records[GATEWAY.id].device("eth0"))
    assert found.ways == found.through("v1-eth0") == (way,)
    assert found.through("v2-eth0") == ()


@pytest.mark.parametrize(
    "others",
    [
        (),
        (AWS,),
        (replace(GATEWAY, interfaces=(replace(GATEWAY.interfaces[0], network="vpc-2"),)),),
    ],
    ids=["no machine", "source/destination check", "another network"],
)
def test_a_route_by_what_does_not_forward_leads_nowhere(tmp_path: Path, others: tuple[MachineSpec, ...]) -> None:
    _, found = of(tmp_path, *others, inside(Route("10.100.0.0/16", "10.0.1.10")))
    assert [way.device for way in found.ways] == [None]


def test_a_card_does_not_send_to_itself(tmp_path: Path) -> None:
    own = replace(GATEWAY.interfaces[0], routes=(Route("10.100.0.0/16", "10.0.1.10"),))
    _, found = of(tmp_path, replace(GATEWAY, interfaces=(own,)))
    assert [way.device for way in found.ways] == [None]


def test_every_card_has_a_table_of_its_own(tmp_path: Path) -> None:
    routes = (Route("10.100.0.0/16", "10.1.0.2"),)
    cards = tuple(Interface(f"enp{n}s0", "hcloud-7", f"10.1.0.{n}", 16, 1450, routes=routes) for n in (3, 4))
    other = replace(
        GCP, interfaces=(HETZNER.interfaces[0], Interface("eth1", "hcloud-7", "10.1.0.9", 16, 1450, routes=routes))
    )
    _, found = of(tmp_path, replace(HETZNER, interfaces=cards), other, network="hcloud-7")
    assert len(set(found.tables.values())) == 3
    assert {way.table for way in found.ways} == set(found.tables.values())


def test_plugging_a_card_makes_the_ways_by_it(tmp_path: Path) -> None:
    records, found = of(tmp_path, GATEWAY, inside(Route("10.100.0.0/16", "10.0.1.10")))
    steerings, numbers = {"vpc-1": found}, {"vpc-1": 1}
    written = [links.script(Cloud(tmp_path), record, numbers, steerings) for record in records.values()]
    assert [links.route(found.ways[0]) in script for script in written] == [True, False]
