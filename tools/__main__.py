"""Where ``./dev`` enters: see :mod:`dev.main`."""

import sys

from dev.main import main

sys.exit(main(sys.argv[1:]))
