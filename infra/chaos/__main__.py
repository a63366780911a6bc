"""Run chaos: ``python -m infra.chaos --help``."""

import sys

from infra.chaos.app import main

sys.exit(main())
