"""`python -m bench`: takes the measurements and prints them as a table. Exit status 1 when one could not be taken."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench import capacity, joins, machines, meshes, previews, recoveries, rotations, scrapes, sizes, traffic
from bench.figures import table
from localcloud import host


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(f"measuring: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Everything that this host can measure."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        found = [*previews.rows(folder, say), *sizes.rows(), *capacity.rows(folder, say)]
        found += [*meshes.rows(folder / "meshes", say), *scrapes.rows(folder / "scrapes", say)]
        why = host.problems()
        if not why:
            found += [*joins.rows(folder / "joins", say), *machines.rows(folder, say)]
            found += [*rotations.rows(folder / "rotations", say), *traffic.rows(folder / "traffic", say)]
            found += recoveries.rows(folder / "recoveries", say)
    print(table(found))
    print(
        "\nby hand: the same resources in a flat program; the gateway's wg-quick file with every peer; wg-quick and"
        " the usual forwarding lines; beside joins, as many bare requests for the status; beside requests,"
        " nginx set up by hand on the same gateway, which connects to a machine for each request as the gateway does"
        " or keeps connections, and a machine that is asked without gateway, TLS and tunnel; beside a mesh's files,"
        " wg-meshconf 2.5.1; beside a change of keys, `wg set` on each machine in turn; beside a gateway that is off,"
        " a hub of wg-quick alone; beside a scrape,"
        " `wg show dump`, whose place a script takes that prints the same."
    )
    print("Ratios are medians of pairs measured in turn, with the least and the greatest.")
    if why:
        print(f"No machines were measured: {'; '.join(why)}", file=sys.stderr)
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
