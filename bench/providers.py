"""`python -m bench.providers DIR`: the providers over an empty world in DIR and no machines, until standard input ends.

Prints one line, what PULUMI_DEBUG_PROVIDERS shall be.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from localcloud.cloud import Cloud
from localcloud.provider.server import serve
from localcloud.spec import MachineSpec


class NoMachines:
    """Takes the place of the fabric where nothing is made."""

    def apply(self, specs: Mapping[str, MachineSpec], /) -> None:
        """Refuses to make any."""
        if specs:
            raise RuntimeError("previews make no machines")


def main(directory: Path) -> None:
    """Serve until standard input ends."""
    providers = serve(Cloud(directory), NoMachines())
    print(",".join(f"{package}:{port}" for package, port in providers.ports.items()), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
