"""The measurement of many leases measures the service with all of them."""

from __future__ import annotations

from pathlib import Path

from bench.capacity import ROUNDS, cost


def test_each_look_adds_one_peer_and_more_leases_take_more_memory(tmp_path: Path) -> None:
    few, many = cost(tmp_path / "few", 10), cost(tmp_path / "many", 1000)
    assert len(few.seconds) == len(many.seconds) == ROUNDS
    assert min(many.seconds) > 0
    assert many.resident > few.resident + 1000 * 500, "a lease is a few hundred bytes at the least"
