"""What is measured is a whole scrape: of a real exporter and a real gateway, with every peer in it, under its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.scrapes import KINDS, Scraped, rows
from tests.node.metrics_support import values

COUNT = 20


@pytest.mark.parametrize("kind", KINDS)
def test_every_peer_is_in_a_scrape(kind: str, tmp_path: Path) -> None:
    with Scraped(kind, tmp_path / kind, COUNT) as scraped:
        text = scraped.text().encode()
        assert scraped.scrape() > 0
        assert scraped.dump() > 0
    peers = values(text, "wireguard_peer_last_handshake_seconds")
    names = {labels[1] for labels in peers}
    assert names == {*(f"node-{number}" for number in range(COUNT)), *(["gw"] if kind == "node" else [])}
    assert min(peers.values()) > 0
    assert values(text, "hybridnet_interface_up") == {("wg0",): 1}


def test_the_table_has_a_line_for_each_kind(tmp_path: Path) -> None:
    found = rows(tmp_path, lambda _: None, COUNT)
    assert [row.aim for row in found] == ["< 100 ms"] * len(KINDS)
    for kind, row in zip(KINDS, found, strict=True):
        assert f"scrape of a {kind} with {COUNT} peers" in row.what
        assert row.ours.endswith(" ms")
