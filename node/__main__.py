"""``python3 -m node gateway|spoke [PULSE_FD [LISTENER_FD]]`` runs a role; ``… gateway|spoke check`` only looks."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run what the arguments say; the exit status. Imports only the role's modules: a boot waits for them."""
    role, rest = (arguments[0] if arguments else ""), arguments[1:]
    if role == "gateway":
        from node.gateway import boot as module
    elif role == "spoke":
        from node import spoke as module
    else:
        print(__doc__, file=sys.stderr)
        return 2
    if rest == ["check"]:
        module.check()
        return 0
    descriptors = [int(text) for text in rest]
    pulse, listener = [*descriptors, None, None][:2]
    return module.main(pulse, listener)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
