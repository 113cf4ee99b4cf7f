"""The files that `outputs --write` makes: what is secret where, for whom, and whose files are left alone."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from clients.__main__ import configurations
from cloudinit import TOKEN_VARIABLE
from localcloud.cli import exports
from localcloud.cloud import LocalCloudError

OUTPUTS: dict[str, Any] = {
    "schema_version": 1,
    "wg_gateway_ip": "198.51.100.1",
    "pools": [{"name": "burst", "kind": "managed"}, {"name": "replicas", "kind": "external"}],
    "ssh_node_pools": "a:\n  user: root\n",
    "skyserve_service": "name: a\nrun: b\n",
    "join": "[secret]",
    "ssh_private_key": "[secret]",
}
SECRETS = {
    **OUTPUTS,
    "join": {"url": "https://198.51.100.1:8443", "tokens": {"burst": "first", "replicas": "second"}},
    "ssh_private_key": "-----BEGIN KEY-----\nthird\n-----END KEY-----\n\n",
}


def test_each_file_has_what_its_tool_reads(tmp_path: Path) -> None:
    written = exports.write(tmp_path / "new" / "folder", exports.files(OUTPUTS, SECRETS))
    found = {path.name: path.read_text() for path in written}
    assert json.loads(found.pop("outputs.json")) == OUTPUTS
    assert found == {
        "ssh_node_pools.yaml": OUTPUTS["ssh_node_pools"],
        "skyserve_service.yaml": OUTPUTS["skyserve_service"],
        "skyserve_service.env": f"{TOKEN_VARIABLE}=second\n",
        "ssh_private_key": "-----BEGIN KEY-----\nthird\n-----END KEY-----\n",
    }
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}


def test_a_stack_without_secrets_of_its_own_has_no_files_for_them() -> None:
    outputs = {**OUTPUTS, "pools": [{"name": "burst", "kind": "managed"}], "ssh_private_key": None}
    assert set(exports.files(outputs, {**SECRETS, "ssh_private_key": None})) == {
        "outputs.json",
        "ssh_node_pools.yaml",
        "skyserve_service.yaml",
    }


def test_what_people_connect_with_is_a_file_that_the_clients_command_reads(tmp_path: Path) -> None:
    own = {"laptop-1": "[Interface]\nPrivateKey = fourth\n"}
    masked, plain = {**OUTPUTS, "configurations": "[secret]"}, {**SECRETS, "configurations": own}
    exports.write(tmp_path, exports.files(masked, plain))
    found = tmp_path / "configurations.json"
    assert configurations(found.read_text()) == own
    assert stat.S_IMODE(found.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if "fourth" in path.read_text()] == [found.name]
    assert found.name not in exports.files(masked, {**plain, "configurations": {}})


def test_its_own_files_are_replaced(tmp_path: Path) -> None:
    exports.write(tmp_path, exports.files(OUTPUTS, SECRETS))
    exports.write(tmp_path, exports.files({**OUTPUTS, "ssh_node_pools": "b:\n  user: root\n"}, SECRETS))
    assert (tmp_path / "ssh_node_pools.yaml").read_text() == "b:\n  user: root\n"


@pytest.mark.parametrize(
    ("name", "text"), [("ssh_private_key", "mine"), ("ssh_node_pools.yaml", "mine"), ("outputs.json", '{"mine": 1}')]
)
def test_somebody_elses_file_is_left_alone(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(LocalCloudError, match=rf"{name} exists.*another folder"):
        exports.write(tmp_path, exports.files(OUTPUTS, SECRETS))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: text}


def test_a_link_to_somewhere_else_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "ssh_private_key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalCloudError, match="exists"):
        exports.write(folder, exports.files(OUTPUTS, SECRETS))
    assert not (tmp_path / "elsewhere").exists()


def test_the_secrets_name_is_the_scripts() -> None:
    assert exports.TOKEN_VARIABLE == TOKEN_VARIABLE
