"""Prometheus's text format (version 0.0.4): what prometheus_client writes, several times as fast.

A gateway's peers are thousands of lines whose labels hardly ever change, so those are put together once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from functools import cached_property

from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_IN_LABELS = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Labels(dict[str, str]):
    """Labels that are told again and again: their text is made once, so they are not to be changed."""

    @cached_property
    def text(self) -> str:
        return _braces(self)


def exposition(families: Iterable[Metric]) -> bytes:
    """The text of gauges, counters and histograms. What UTF-8 cannot say becomes a question mark."""
    # Ten thousand samples that are all gone in a moment would make the collector look through everything for nothing.
    gc.disable()
    try:
        return "".join(_lines(families)).encode(errors="replace")
    finally:
        gc.enable()


def _lines(families: Iterable[Metric]) -> list[str]:
    lines: list[str] = []
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(f"# HELP {name} {family.documentation.translate(_IN_HELP)}\n# TYPE {name} {family.type}\n")
        lines += [f"{sample[0]}{_text(sample[1])} {float(sample[2])!r}\n" for sample in family.samples]
    return lines


def _text(labels: Mapping[str, str]) -> str:
    return labels.text if isinstance(labels, Labels) else _braces(labels)


def _braces(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value.translate(_IN_LABELS)}"' for name, value in sorted(labels.items()))
    return f"{{{pairs}}}" if pairs else ""
