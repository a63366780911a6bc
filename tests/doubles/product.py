"""A running product, as end-to-end tests see it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stack.keeper import clean_environment
from infra.stack.layout import PROJECT
from infra.stack.testing import TestStack

UP_WITHIN_S = 560
COMMAND_WITHIN_S = 90


@dataclass(frozen=True, slots=True)
class Product:
    """A running product."""

    stack: TestStack
    stack_environment: dict[str, str]
    """Ports and folder, for `python -m infra.stack`."""

    @property
    def environment(self) -> dict[str, str]:
        """What a user who loads `.stack/env` has in the environment."""
        return {**clean_environment(), **self.stack.environment}

    def run(
        self,
        *command: str,
        stdin: str | None = None,
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a user would; `environment` instead of what `.stack/env` says."""
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment if environment is None else environment,
            cwd=cwd or PROJECT,
            timeout=COMMAND_WITHIN_S,
            check=False,
        )

    def replictl(
        self, *arguments: str, stdin: str | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `replictl`."""
        command = str(Path(sys.executable).parent / "replictl")
        return self.run(command, *arguments, stdin=stdin, environment=environment)

    def rows(self, *arguments: str) -> Any:
        """What `replictl` lists."""
        done = self.replictl(*arguments, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stack_command(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m infra.stack COMMAND` on this stack."""
        return subprocess.run(
            [sys.executable, "-m", "infra.stack", command],
            capture_output=True,
            text=True,
            env={**clean_environment(), **self.stack_environment},
            cwd=PROJECT,
            timeout=UP_WITHIN_S,
            check=False,
        )
