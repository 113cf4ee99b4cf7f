"""The firewall's sets, against nft itself where this host lets us make a network namespace."""

from __future__ import annotations

import json
import shutil
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from node.firewall import desired_sets, merged, observed_sets, script

TABLE = """table inet hybridnet {
  set wg_sources4 { type ipv4_addr; flags interval; }
  set wg_sources6 { type ipv6_addr; flags interval; }
  set admin4 { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 } }
  set admin6 { type ipv6_addr; flags interval; }
}
"""


def test_intervals_are_merged_where_they_touch() -> None:
    assert merged([(5, 9), (1, 4), (20, 30), (22, 25)]) == [(1, 9), (20, 30)]


def test_each_version_has_its_own_set() -> None:
    sets = desired_sets([ip_network("0.0.0.0/0"), ip_network("::/0")], [ip_network("203.0.113.7/32")])
    assert sets == {
        "wg_sources4": [(0, 2**32 - 1)],
        "wg_sources6": [(0, 2**128 - 1)],
        "admin4": [(int(ip_network("203.0.113.7/32").network_address),) * 2],
        "admin6": [],
    }


@pytest.mark.parametrize(
    ("sources", "admins"),
    [
        (["0.0.0.0/0", "::/0"], ["203.0.113.0/24"]),
        (["198.51.100.7/32"], []),
        (
            ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32", "2001:db8:1::/48"],
            ["::1/128"],
        ),
        (["10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"], ["0.0.0.0/1", "128.0.0.0/1"]),
        ([], []),
    ],
)
def test_nft_holds_what_was_asked_for(tmp_path: Path, sources: list[str], admins: list[str]) -> None:
    prefix = ["unshare", "--map-root-user", "--net"]
    if shutil.which("nft") is None or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs nft and the right to make a network namespace")
    desired = desired_sets(map(ip_network, sources), map(ip_network, admins))
    (tmp_path / "table").write_text(TABLE)
    (tmp_path / "script").write_text(script(desired))
    command = f"nft -f {tmp_path}/table && nft -f {tmp_path}/script && nft -j list table inet hybridnet"
    listing = subprocess.run([*prefix, "sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert observed_sets(listing) == desired


def test_a_listing_is_read_in_every_shape_of_element() -> None:
    elements = ["192.0.2.1", {"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": ["192.0.2.5", "192.0.2.9"]}]
    listing = json.dumps({"nftables": [{"metainfo": {}}, {"set": {"name": "admin4", "elem": elements}}]})
    assert observed_sets(listing) == {
        "admin4": [(10 << 24, (11 << 24) - 1), (0xC0000201, 0xC0000201), (0xC0000205, 0xC0000209)]
    }
