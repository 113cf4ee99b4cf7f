"""How tests read metrics: with Prometheus' own library."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

DOWN = "0x1090\n"
UP = "0x1091\n"
"""The flags of an interface (linux/if.h)."""
Sample = tuple[str, dict[str, str], float]


def read(text: bytes) -> list[Sample]:
    """Every sample."""
    families = text_string_to_metric_families(text.decode())
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


def values(text: bytes, name: str) -> dict[tuple[str, ...], float]:
    """The samples called ``name`` by the values of their labels, which are in the order of their names."""
    return {
        tuple(labels[each] for each in sorted(labels)): value for found, labels, value in read(text) if found == name
    }


def types(text: bytes) -> dict[str, str]:
    """Metric -> type; none may be there twice."""
    lines = [line.split() for line in text.decode().splitlines() if line.startswith("# TYPE")]
    assert len({line[2] for line in lines}) == len(lines)
    return {line[2]: line[3] for line in lines}


def interface_up(devices: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have wg0 up, with its place under ``devices``: the file of its flags."""
    flags = devices / "wg0" / "flags"
    flags.parent.mkdir(parents=True)
    flags.write_text(UP)
    monkeypatch.setattr("node.exporter.machine.DEVICES", devices)
    return flags
