"""Run an agent, or the discovery endpoint: ``python -m infra.agents KIND --help``."""

import sys

from infra.agents.app import main

sys.exit(main())
