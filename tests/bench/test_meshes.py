"""The files that are compared with wg-meshconf's say the same, so that the times compare the same work."""

from __future__ import annotations

import csv
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path

from bench import meshes

Section = dict[str, str]


def read(path: Path) -> list[Section]:
    """The sections of a wg-quick file: the interface's first, then each peer's."""
    sections: list[Section] = []
    for line in path.read_text().splitlines():
        if line.startswith("["):
            sections.append({})
        elif line and not line.startswith("#"):
            name, _, value = line.partition(" = ")
            assert name not in sections[-1]
            sections[-1][name] = ", ".join(map(str, networks(value))) if name == "AllowedIPs" else value
    return sections


def networks(text: str) -> list[IPv4Network]:
    """Allowed-ips as few prefixes: an address in a network that stands beside it says nothing more."""
    return [*collapse_addresses(IPv4Network(part) for part in text.split(", "))]


def by_key(peers: list[Section]) -> dict[str, Section]:
    found = {peer["PublicKey"]: peer for peer in peers}
    assert len(found) == len(peers)
    return found


def test_a_mesh_of_fifty_nodes_is_the_same_in_every_field(tmp_path: Path) -> None:
    """But for the gateway, which has no keepalive for nodes that all have one for it."""
    listed = tmp_path / "database.csv"
    meshes.write_list(listed, 50)
    meshes.ours(listed, tmp_path / "ours")
    meshes.wg_meshconf(listed, tmp_path / "theirs")
    names = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert names == {path.name for path in (tmp_path / "ours").iterdir()}
    assert len(names) == 50
    for name in names:
        (interface, *peers), (their_interface, *their_peers) = (
            read(tmp_path / which / name) for which in ("ours", "theirs")
        )
        assert interface == their_interface
        assert interface.keys() == {"Address", "PrivateKey", "ListenPort", "MTU"}
        theirs = by_key(their_peers)
        assert len(theirs) == 49
        if name == f"{meshes.GATEWAY}.conf":
            theirs = {
                key: {k: v for k, v in peer.items() if k != "PersistentKeepalive"} for key, peer in theirs.items()
            }
        assert by_key(peers) == theirs
        assert all(peer.keys() >= {"PublicKey", "Endpoint", "AllowedIPs"} for peer in peers)


def test_the_list_has_a_key_of_its_own_for_every_node(tmp_path: Path) -> None:
    meshes.write_list(tmp_path / "database.csv", meshes.COUNT)
    with (tmp_path / "database.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column in ("Name", "Address", "Endpoint", "PrivateKey"):
        assert len({row[column] for row in rows}) == meshes.COUNT == 1000


def test_the_table_shows_time_and_memory_of_both_with_the_aims(tmp_path: Path) -> None:
    said: list[str] = []
    files = meshes.rows(tmp_path / "meshes", said.append, 3)
    assert [row.aim for row in files] == ["<= 0.1", "<= 300 MB"]
    assert [row.ours.split()[1] for row in files] == ["s", "MB"]
    assert all(row.by_hand and row.ratio for row in files)
    assert len(said) == 2 * meshes.ROUNDS
    assert 5 < float(files[1].ours.split()[0]) < 200, "a process with Python in it, and not the tests' own"
