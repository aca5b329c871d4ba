"""`python -m tickbus` is the command `tickbus`."""

import sys

from tickbus.cli import main

if __name__ == "__main__":
    sys.exit(main())
