"""The keeper of the world: many changes at once, changes that fail, and what is on disk."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localcloud.cloud import LocalCloudError
from localcloud.provider import unclaimed
from localcloud.provider.clouds.hcloud import tokens as hcloud
from localcloud.provider.world import World, load
from tests.localcloud.provider.harness import Harness, RefusedError, Resource
from tests.localcloud.provider.scenery import make_everything


def test_many_servers_made_at_once_are_all_there_with_addresses_of_their_own(clouds: Harness) -> None:
    def make(number: int) -> Resource:
        return clouds.make(hcloud.SERVER, f"s{number}", serverType="cx23", image="debian-12")

    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(make, range(40)))
    assert len({server.text("ipv4Address") for server in made}) == 40
    assert len({server.id for server in made}) == 40
    assert len(clouds.fabric.nodes) == 40
    sizes = [len(specs) for specs in clouds.fabric.history]
    assert sizes == sorted(sizes), "no machine was ever taken away for another"


def test_a_machine_that_cannot_be_made_leaves_no_trace_and_hinders_no_other(clouds: Harness) -> None:
    clouds.fabric.fails = "broken"

    def make(name: str) -> str:
        try:
            return clouds.make(hcloud.SERVER, name, name=name, serverType="cx23", image="debian-12").id
        except RefusedError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip("abcdefg", pool.map(make, [*"abc", "broken", *"efg"]), strict=True))
    assert "broken does not boot" in answers["d"]
    assert clouds.fabric.nodes == ["a", "b", "c", "e", "f", "g"]
    clouds.fabric.fails = None
    assert make("broken").isdigit()


def test_what_exists_outlives_the_servers(tmp_path: Path) -> None:
    clouds = Harness(tmp_path)
    made = make_everything(clouds)
    specs = clouds.fabric.history[-1]
    clouds.close()
    again = Harness(tmp_path)
    try:
        for resource in made.values():
            assert again.read(resource)[0] == resource.id, resource.token
        again.update(made["server"], labels={"node": "hetzner-gw", "a": "b"})
        assert again.fabric.history[-1].keys() == specs.keys()
        assert again.make(hcloud.PLACEMENT_GROUP, "new", type="spread").number > made["server"].number
    finally:
        again.close()


def test_the_file_is_for_its_owner_alone(clouds: Harness) -> None:
    clouds.make(hcloud.SERVER, serverType="cx23", image="debian-12", userData="#cloud-config\n# a key\n")
    mode = clouds.cloud.world.stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 2, "counters": {}, "records": []}'])
def test_a_damaged_file_is_refused_with_the_way_out(tmp_path: Path, text: str) -> None:
    path = tmp_path / "world.json"
    path.write_text(text)
    with pytest.raises(LocalCloudError, match="make down") as refused:
        load(path)
    assert str(path) in str(refused.value)
    assert path.read_text() == text, "and it is left as it is"


def test_a_world_survives_the_way_to_disk_and_back(clouds: Harness) -> None:
    make_everything(clouds)
    text = clouds.cloud.world.read_text()
    assert json.loads(World.parse(text).dump()) == json.loads(text)


def test_an_update_that_fails_starts_the_machine_again(clouds: Harness) -> None:
    server = clouds.make(hcloud.SERVER, name="web", serverType="cx23", image="debian-12", labels={"node": "web"})
    with pytest.raises(RefusedError):
        clouds.update(server, serverType="cx22")
    assert [spec.running for specs in clouds.fabric.history for spec in specs.values()] == [True]
    clouds.fabric.fails = "renamed"
    with pytest.raises(RefusedError, match="renamed does not boot"):
        clouds.update(server, serverType="cx33", labels={"node": "renamed"})
    assert clouds.fabric.machine("web").running
    assert clouds.read(server)[1]["serverType"] == "cx23"


def test_what_was_made_for_an_engine_that_never_heard_of_it_is_taken_away(tmp_path: Path) -> None:
    clouds = Harness(tmp_path)
    known, lost = (
        clouds.make(hcloud.SERVER, name, name=name, serverType="cx23", image="debian-12", deleteProtection=True,
                    rebuildProtection=True)
        for name in ("known", "lost")
    )  # fmt: skip
    cloud, fabric = clouds.cloud, clouds.fabric
    clouds.close()
    urns = {urn for urn in (record.get("urn", "") for record in json.loads(cloud.world.read_text())["records"]) if urn}
    assert len(urns) == 2
    taken = unclaimed.remove(cloud, fabric, {urn: {known.id} for urn in urns})
    assert [urn.rpartition("::")[2] for urn in taken] == ["lost"]
    assert fabric.nodes == ["known"]
    assert load(cloud.world).get(hcloud.SERVER, lost.id) is None
    assert load(cloud.world).get(hcloud.SERVER, known.id)
    assert unclaimed.remove(cloud, fabric, {urn: {known.id} for urn in urns}) == []
