"""Serve the platform: ``python -m infra.platform``; its settings are those of the local stack."""

import sys

from infra.platform.app import main

sys.exit(main())
