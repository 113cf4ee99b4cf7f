"""A machine that others made: known by what it has itself, never shown, never told of its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import keys
from node.joining import Request, parse_request, request_body
from node.pool import boot
from node.pool.watch import Sight
from node.pool.watch.external import External
from overlay.pools import member_name
from tests.node.pool_support import pool_config
from tests.node.support import Stack

MACHINE = "3b0a8f1e6d5c4b7a9f8e7d6c5b4a3928"
FIRMWARE = "EC2F7A44-0000-1111-2222-333344445555"


def made(folder: Path, machine: str = MACHINE, firmware: str | None = FIRMWARE) -> External:
    (folder / "machine-id").write_text(f"{machine}\n")
    (folder / "product_uuid").unlink(missing_ok=True)
    if firmware is not None:
        (folder / "product_uuid").write_text(f"{firmware}\n")
    return External(folder / "machine-id", folder / "product_uuid")


def test_a_machine_has_one_id_and_others_have_others(tmp_path: Path) -> None:
    first = made(tmp_path).instance_id()
    assert made(tmp_path).instance_id() == first
    assert made(tmp_path, firmware=FIRMWARE.lower()).instance_id() == first
    others = [
        made(tmp_path, machine=MACHINE[::-1]).instance_id(),
        made(tmp_path, firmware=FIRMWARE[::-1]).instance_id(),
        made(tmp_path, firmware=None).instance_id(),
    ]
    assert len({first, *others}) == 4, "an image that was not cleaned, a container of the same host, neither"


def test_neither_id_is_shown(tmp_path: Path) -> None:
    found = made(tmp_path).instance_id()
    for each in (MACHINE, FIRMWARE.replace("-", "").lower()):
        assert not any(each[start : start + 6] in found for start in range(len(each) - 5))


def test_the_gateway_takes_the_id_and_makes_a_name_of_it(tmp_path: Path) -> None:
    found = made(tmp_path).instance_id()
    request = Request("replicas", keys.public_key(keys.new()), found)
    assert parse_request(request_body(request)) == request
    assert member_name("replicas", found) == f"replicas-{found[-8:]}"


@pytest.mark.parametrize("text", ["", "uninitialized", "not hexadecimal"])
def test_a_machine_that_has_no_id_yet_waits_for_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(OSError, match="no machine id"):
        made(tmp_path, machine=text).instance_id()


def test_nothing_is_known_of_its_cloud(tmp_path: Path) -> None:
    machine = made(tmp_path)
    assert machine.look() == Sight()
    machine.proof("replicas", "key")
    assert not machine.replaces, "it must not power itself off"


def test_the_agent_knows_such_machines(
    tmp_path: Path, stack: Stack, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    pool_config(tmp_path / "files", stack, 8443, cloud="external")
    boot.check()
    assert "the configuration is well" in capsys.readouterr().err
