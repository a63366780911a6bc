"""Which account this process runs as."""

from __future__ import annotations

import os
import pwd


def account() -> str:
    """Its name as the system has it, whatever the environment says; its number where it has no name."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container without that user in its list
        return str(uid)
