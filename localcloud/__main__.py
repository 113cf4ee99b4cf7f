"""`python -m localcloud`: see `--help`."""

import sys

from localcloud import fast

if __name__ == "__main__":
    fast.run_in_machine(sys.argv[1:])
    from localcloud.cli import main

    sys.exit(main(sys.argv[1:]))
