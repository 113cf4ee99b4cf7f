"""``python3 -m node gateway PULSE LISTENER`` and ``… spoke|pool PULSE``, with descriptors of stage 0, run a role.

``python3 -m node gateway|spoke|pool check`` is a release's self-check.
"""

from __future__ import annotations

import sys

from node import watchdog


def main(arguments: list[str]) -> int:
    """Run what the arguments say; the exit status. Imports only the role's modules: a boot waits for them."""
    if arguments[1:2] != ["check"]:
        watchdog.OWN.start()
    match arguments:
        case ["gateway", "check"]:
            from node.gateway.boot import check

            check()
        case ["gateway", pulse, listener]:
            from node.gateway.boot import main as gateway

            return gateway(int(pulse), int(listener))
        case ["spoke", "check"]:
            from node.spoke import check

            check()
        case ["spoke", pulse]:
            from node.spoke import main as spoke

            return spoke(int(pulse))
        case ["pool", "check"]:
            from node.pool.boot import check

            check()
        case ["pool", pulse]:
            from node.pool.boot import main as pool

            return pool(int(pulse))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
