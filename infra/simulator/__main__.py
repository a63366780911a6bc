"""Run a simulated fleet: ``python -m infra.simulator --help``."""

import sys

from infra.simulator.app import main

sys.exit(main())
