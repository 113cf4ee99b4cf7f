"""What requests through the gateway are compared with."""

from __future__ import annotations

import re

from bench.compared import CONFIGURATION, KEEPING, compared
from bench.load import Outcome


def test_each_other_way_has_a_line_of_its_own() -> None:
    ours, anew, kept, direct = ([[Outcome(0, seconds, 200)]] for seconds in (2.0, 2.0, 1.0, 0.5))
    rows = compared("seconds", [ours, anew, kept, direct], lambda seen: seen[0].seconds, "<= 1.05")
    assert [(row.ours, row.by_hand, row.ratio.split()[0], row.aim) for row in rows] == [
        ("2.0", "2.0", "1.00", "<= 1.05"),
        ("2.0", "1.0", "2.00", ""),
        ("2.0", "0.5", "4.00", ""),
    ]
    assert ["keepalive 32" in row.what for row in rows] == [False, True, False]


def test_nginx_by_hand_keeps_connections_to_the_same_machines_at_one_path_only() -> None:
    text = CONFIGURATION.format(folder="/f", port=22, servers="server 10.100.1.1:8000;", keeping=KEEPING)
    upstreams = dict(re.findall(r"upstream (\w+) \{\s(.*?)\}", text, re.DOTALL))
    lines = {name: block.split(";") for name, block in upstreams.items()}
    passed = dict(re.findall(r"location (\S+) \{\s+proxy_pass http://([^;]+);", text))
    assert passed == {"/": "machines", f"{KEEPING}/": "machines_kept/"}
    stripped = {name: {line.strip() for line in block} for name, block in lines.items()}
    assert stripped["machines_kept"] - stripped["machines"] == {"keepalive 32"}
    assert stripped["machines"] <= stripped["machines_kept"]
