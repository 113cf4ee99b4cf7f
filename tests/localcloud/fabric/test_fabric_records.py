"""What an instance remembers on disk."""

from __future__ import annotations

import fcntl
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.cloud import Cloud, LocalCloudError, is_locked
from localcloud.fabric.store import Store
from localcloud.spec import Interface, from_json, to_json
from tests.localcloud.fabric.worlds import AWS, GCP, HETZNER, recorded


@pytest.mark.parametrize("spec", [HETZNER, AWS, GCP], ids=lambda spec: spec.cloud)
def test_a_spec_survives_its_file(spec: object) -> None:
    assert from_json(to_json(spec)) == spec  # type: ignore[arg-type]


def test_a_machine_keeps_its_slot_and_a_new_one_takes_the_lowest_free(tmp_path: Path) -> None:
    store = Store(Cloud(tmp_path))
    assert [store.save(spec).slot for spec in (HETZNER, AWS, GCP)] == [1, 2, 3]
    store.forget(store.records()[AWS.id])
    assert store.save(replace(GCP, hostname="new")).slot == 3
    assert store.save(replace(AWS, id="i-2")).slot == 2


def test_a_network_keeps_its_number_while_a_machine_is_on_it(tmp_path: Path) -> None:
    store = Store(Cloud(tmp_path))
    store.save(GCP)
    store.write_networks(store.networks(store.records()))
    store.save(AWS)
    assert store.networks(store.records()) == {"network-1": 1, "vpc-1": 2}
    store.write_networks(store.networks(store.records()))
    store.forget(store.records()[GCP.id])
    assert store.networks(store.records()) == {"vpc-1": 2}


def test_files_with_user_data_are_for_root_alone(tmp_path: Path) -> None:
    records, _ = recorded(tmp_path, HETZNER)
    assert (records["101"].folder / "spec.json").stat().st_mode & 0o777 == 0o600


def test_a_damaged_record_is_an_error_that_names_the_file_and_the_way_out(tmp_path: Path) -> None:
    records, _ = recorded(tmp_path, HETZNER)
    (records["101"].folder / "spec.json").write_text("{")
    with pytest.raises(LocalCloudError, match=r"101/spec\.json is damaged .*`python -m localcloud down`"):
        Store(Cloud(tmp_path)).records()


def test_a_machine_that_is_destroyed_while_someone_looks_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, _ = recorded(tmp_path, HETZNER, AWS)
    read, gone = Path.read_text, records["101"].folder

    def vanishing(path: Path) -> str:
        if path.parent == gone:
            shutil.rmtree(gone, ignore_errors=True)
        return read(path)

    monkeypatch.setattr(Path, "read_text", vanishing)
    assert Store(Cloud(tmp_path)).records().keys() == {AWS.id}


def test_what_the_operator_switched_off_stays_off_until_the_program_says_otherwise(tmp_path: Path) -> None:
    store = Store(Cloud(tmp_path))
    record = store.save(HETZNER)
    assert record.power
    record.switch(on=False)
    assert not store.save(replace(HETZNER, hostname="other")).power
    store.save(replace(HETZNER, running=False))
    assert store.save(HETZNER).power


def test_cuts_are_remembered_and_go_with_the_machine(tmp_path: Path) -> None:
    store = Store(Cloud(tmp_path))
    for spec in (HETZNER, AWS):
        store.save(spec)
    store.write_cuts({frozenset({"hetzner-gw", "aws-1"}), frozenset({"hetzner-gw"})})
    assert Store(Cloud(tmp_path)).cuts() == {frozenset({"hetzner-gw", "aws-1"}), frozenset({"hetzner-gw"})}
    store.forget(store.records()[AWS.id])
    assert store.cuts() == {frozenset({"hetzner-gw"})}


def test_a_folder_without_a_spec_is_rubbish(tmp_path: Path) -> None:
    records, _ = recorded(tmp_path, HETZNER, AWS)
    store = Store(Cloud(tmp_path))
    assert not store.rubbish()
    store.forget(records["101"])
    assert store.rubbish() == [records["101"].folder]


def test_ids_that_could_trip_a_path_or_a_mount_get_a_name_of_their_own(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    folders = {cloud.machine(name) for name in ("a/b", "a,b", "a:b", "../b", "a-b", "x" * 300)}
    assert len(folders) == 6
    assert all(folder.parent == cloud.machines and set(",:/").isdisjoint(folder.name) for folder in folders)
    assert all(len(folder.name) < 100 for folder in folders)


def test_two_instances_share_no_name(tmp_path: Path) -> None:
    one, other = Cloud(tmp_path / "a"), Cloud(tmp_path / "b")
    assert one.internet != other.internet
    assert one.tag == Cloud(tmp_path / "a").tag


def test_a_folder_with_other_files_never_becomes_an_instance(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(LocalCloudError, match="holds other files"), Cloud(tmp_path).locked("fabric"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_two_machines_never_share_a_node_name_or_an_address(tmp_path: Path) -> None:
    from localcloud.fabric import Fabric

    fabric = Fabric(Cloud(tmp_path / "cloud"))
    twin = replace(AWS, id="i-2")
    with pytest.raises(LocalCloudError, match="both the node aws-1"):
        fabric.apply({AWS.id: AWS, "i-2": twin})
    card = Interface("eth0", "vpc-2", "10.0.1.10", 24, 9001, "198.18.2.7")
    with pytest.raises(LocalCloudError, match=r"198\.18\.2\.7 of aws-2 is already the address"):
        fabric.apply({AWS.id: AWS, "i-2": replace(twin, node="aws-2", interfaces=(card,))})


def test_who_waits_for_an_instance_that_goes_holds_the_lock_of_the_next_one(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path / "cloud")
    waits, held, go_on = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with cloud.locked("command", waits.set):
            held.set()
            go_on.wait(30)

    thread = threading.Thread(target=second)
    with cloud.locked("command"):
        thread.start()
        assert waits.wait(30)
        cloud.remove()
    assert held.wait(30)
    assert is_locked(cloud.directory / "command.lock"), "a third one meets it"
    go_on.set()
    thread.join()
    assert not is_locked(cloud.directory / "command.lock")


def test_a_broken_removal_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = Cloud(tmp_path / "cloud")
    cloud.claim()
    for name in ("a", "machines", "z"):
        (cloud.directory / name).mkdir()
        with monkeypatch.context() as broken:
            broken.setattr(shutil, "rmtree", _fail)
            with pytest.raises(OSError, match="broken"):
                cloud.remove()
        cloud.claim()
    cloud.remove()
    assert not cloud.directory.exists()


def _fail(path: Path) -> None:
    raise OSError("broken")


def test_who_looks_at_a_lock_is_not_taken_for_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    path.touch()
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_locked(path)
