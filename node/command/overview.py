"""The status of a gateway as lines for people: the same as its status page, which says it with a map."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from node.command.table import BOLD, DIM, GREEN, RED, YELLOW, Cell, Paper, age, plain, rate, trip
from overlay.model import EXTERNAL

EVENTS = 5
"""How many of the last ones are shown."""
REVOKED = 5
"""How many of those who were cut off are, the last ones."""
JOINING_SECONDS = 60.0
"""A machine that has not shaken hands for so long after its joining is silent, and no longer joining."""
SESSION_SECONDS = 180.0
"""A handshake older than this is no longer of a session (WireGuard's REJECT_AFTER_TIME)."""
_WORST = ("silent", "unwell", "draining", "leaving", "joining", "away", "this gateway", "answers")
_COLOURS = {"silent": RED, "draining": YELLOW, "leaving": YELLOW, "joining": YELLOW, "unwell": YELLOW, "answers": GREEN}


def state_of(status: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """How a declared node, or a pool's machine, is: one word."""
    if node.get("state", "active") != "active":
        return "leaving" if node["state"] == "left" else "draining"
    if node["healthy"]:
        told = status["conditions"].get(node["name"])
        return "unwell" if told and not told["healthy"] else "answers"
    if "joined" in node and status["time"] - node["joined"] < JOINING_SECONDS and node["handshake_age"] is None:
        return "joining"
    site = status["sites"].get(node["site"])
    return "away" if site and site["cloud"] == EXTERNAL else "silent"


def is_well(status: Mapping[str, Any]) -> bool:
    """Whether nobody has to be woken."""
    return status["healthy"] and not any(alert["severity"] == "critical" for alert in status["alerts"])


def write(paper: Paper, status: Mapping[str, Any]) -> None:
    """Put everything on ``paper``, what is wrong first."""
    _head(paper, status)
    _alerts(paper, status)
    _nodes(paper, status)
    _pools(paper, status)
    _balancer(paper, status["load_balancer"])
    _gateways(paper, status)
    _revoked(paper, status)
    _events(paper, status)


def _head(paper: Paper, status: Mapping[str, Any]) -> None:
    own, roster = status["gateway"], status["roster"]
    facts = [
        str(status["topology"] or "no topology yet"),
        f"roster {roster['number']}" if roster else "no roster yet",
        f"release {status['release']['number']}",
        _clock(status["time"]),
    ]
    paper.say(f"{paper.paint(plain(own['name']), BOLD)}  {own['address']}  {', '.join(facts)}")
    rotation = status["rotation"]
    if rotation and rotation["phase"]:
        missing = rotation["missing"]
        waits = f", waiting for {_few(missing)}" if missing else ""
        paper.say(f"this gateway changes its WireGuard key{waits}", YELLOW)
    turning = [name for name, each in rotation["nodes"].items() if each["is_turning"]] if rotation else []
    if turning:
        paper.say(f"changing their WireGuard keys: {_few(turning)}", YELLOW)


def _few(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(plain(name, 40) for name in names[:4]) + rest


def _clock(seconds: float, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime(form)


def _alerts(paper: Paper, status: Mapping[str, Any]) -> None:
    alerts, now = status["alerts"], status["time"]
    if not alerts:
        paper.say("no alerts", GREEN)
    paper.table(
        ("ALERT", "SINCE", "WHAT"),
        (
            (
                Cell(plain(alert["severity"]), RED if alert["severity"] == "critical" else YELLOW),
                Cell(f"{_clock(alert['since'], '%H:%M:%S')} ({age(now - alert['since'])})"),
                Cell(plain(alert["summary"])),
            )
            for alert in alerts
        ),
    )


def _nodes(paper: Paper, status: Mapping[str, Any]) -> None:
    own = status["gateway"]
    rows = [("this gateway", own["name"], _own(own))]
    for node in (*status["peers"], *status["leases"]):
        word = state_of(status, node)
        rows.append((word, node["name"], _node(status, node, word)))
    for node in status["elsewhere"]:
        rows.append(("away", node["name"], _elsewhere(node)))
    rows.sort(key=lambda row: (_WORST.index(row[0]), str(row[1])))
    titles = ("NODE", "SITE", "ROLE OR POOL", "ADDRESS", "STATE", "HANDSHAKE", "ROUND TRIP", "RECEIVED", "SENT")
    paper.table(titles, (row for _, _, row in rows))


def _place(node: Mapping[str, Any], role: object) -> list[Cell]:
    return [Cell(plain(text, 40)) for text in (node["name"], node["site"] or "-", role, node["address"])]


def _own(own: Mapping[str, Any]) -> list[Cell]:
    return [*_place(own, "gateway"), Cell("this gateway"), *(Cell("-", "", is_number=True),) * 4]


def _elsewhere(node: Mapping[str, Any]) -> list[Cell]:
    word = "draining" if node["state"] == "draining" else "elsewhere"
    return [*_place(node, node["pool"]), Cell(word, _COLOURS.get(word, DIM)), *(Cell("-", "", is_number=True),) * 4]


def _node(status: Mapping[str, Any], node: Mapping[str, Any], word: str) -> list[Cell]:
    seconds, role = node["handshake_age"], node.get("pool") or node["role"]
    is_here = role == "gateway" or node["gateway"] == status["gateway"]["name"]
    is_old = is_here and (seconds is None or seconds >= SESSION_SECONDS) and word not in ("away", "joining")
    figures = [
        Cell(age(seconds) if is_here else "-", RED if is_old else "", is_number=True),
        Cell(trip(node["rtt"]), "", is_number=True),
        Cell(rate(node["rx_rate"]) if is_here else "-", "", is_number=True),
        Cell(rate(node["tx_rate"]) if is_here else "-", "", is_number=True),
    ]
    return [*_place(node, role), Cell(word, _COLOURS.get(word, DIM)), *figures]


def _pools(paper: Paper, status: Mapping[str, Any]) -> None:
    def counted(pool: str) -> str:
        words = [state_of(status, lease) for lease in status["leases"] if lease["pool"] == pool]
        return ", ".join(f"{words.count(word)} {word}" for word in _WORST if word in words) or "empty"

    paper.table(
        ("POOL", "SITE", "AT WORK", "MACHINES", "FREE ADDRESSES"),
        (
            (
                Cell(plain(name, 40)),
                Cell(plain(pool["site"], 40)),
                Cell(f"{pool['working']} of {pool['limit']}"),
                Cell(counted(name)),
                Cell(f"{pool['free']} ({pool['resting']} rest)"),
            )
            for name, pool in status["pools"].items()
        ),
    )


def _balancer(paper: Paper, balancer: Mapping[str, Any] | None) -> None:
    if balancer is None:
        return
    paper.say()
    chosen = sum(target["in_rotation"] for target in balancer["targets"])
    told = f"{balancer['state']}, {chosen} of {len(balancer['targets'])} machines get requests"
    paper.say(f"{paper.paint('LOAD BALANCER', BOLD)}  {told}")
    if balancer["problem"]:
        paper.say(plain(balancer["problem"]), RED)
    paper.table(
        ("TARGET", "ADDRESS", "STATE", "WEIGHT"),
        (
            (
                Cell(plain(target["name"], 40)),
                Cell(plain(f"{target['address']}:{target['port']}", 40)),
                Cell(*_target(target)),
                Cell(f"{target['weight']}{' backup' if target['backup'] else ''}"),
            )
            for target in balancer["targets"]
        ),
    )


def _target(target: Mapping[str, Any]) -> tuple[str, str]:
    if target["draining"]:
        return "draining", YELLOW
    if target["in_rotation"]:
        return "in rotation", GREEN
    return ("healthy, not in rotation", DIM) if target["healthy"] else ("fails its health check", DIM)


def _gateways(paper: Paper, status: Mapping[str, Any]) -> None:
    paper.table(
        ("OTHER GATEWAY", "STATE", "LAST HEARD", "MACHINES"),
        (
            (
                Cell(plain(name, 40)),
                Cell("answers", GREEN) if other["reachable"] else Cell("silent", RED),
                Cell(age(other["age"]), "", is_number=True),
                Cell(str(other["leases"]), "", is_number=True),
            )
            for name, other in status["neighbours"].items()
        ),
    )


def _revoked(paper: Paper, status: Mapping[str, Any]) -> None:
    revoked = sorted(status["revoked"], key=lambda each: -each["at"])
    paper.table(
        ("REVOKED", "SINCE", "INSTANCE", "REASON"),
        (
            (
                Cell(plain(each["name"], 40)),
                Cell(_clock(each["at"] / 1000)),
                Cell(plain(each["instance"] or "-", 40)),
                Cell(plain(each["reason"] or "-", 120), DIM),
            )
            for each in revoked[:REVOKED]
        ),
    )
    if len(revoked) > REVOKED:
        paper.say(f"and {len(revoked) - REVOKED} before: hybridnet revoke --list", DIM)


def _events(paper: Paper, status: Mapping[str, Any]) -> None:
    paper.table(("LAST EVENTS", "WHAT", "WHO", "MORE"), map(_event, status["events"][:EVENTS]))


def _event(event: Mapping[str, Any]) -> list[Cell]:
    rest = {name: value for name, value in event.items() if name not in ("time", "event", "node", "source", "number")}
    who = event.get("node") or event.get("source") or "-"
    more = ", ".join(f"{name} {value}" for name, value in rest.items())
    return [
        Cell(plain(event.get("time", "-"), 30)),
        Cell(plain(event.get("event", "-"), 30)),
        Cell(plain(who, 40)),
        Cell(plain(more, 120), DIM),
    ]


def shortened(lines: list[str], rows: int) -> Iterator[str]:
    """As many of the lines as a terminal has ``rows``, and how many are left out."""
    if len(lines) <= rows:
        yield from lines
        return
    yield from lines[: rows - 1]
    yield f"... and {len(lines) - rows + 1} more lines"
