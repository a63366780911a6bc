from __future__ import annotations

import pytest

from deployments.cli.arguments import arranged


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["clusters", "--output", "json"], ["--output", "json", "clusters"]),
        (["clusters", "--output=json"], ["--output=json", "clusters"]),
        (["clusters", "-ojson", "-n", "demo"], ["-ojson", "-n", "demo", "clusters"]),
        (["nodes", "a/b", "--timeout", "3", "--verbose"], ["--timeout", "3", "--verbose", "nodes", "a/b"]),
        (["nodes", "--watch", "a/b"], ["nodes", "--watch", "2", "a/b"]),
        (["nodes", "-w"], ["nodes", "-w", "2"]),
        (["nodes", "--watch", "0.5", "a/b"], ["nodes", "--watch", "0.5", "a/b"]),
        (
            ["nodes", "-l", "!a", "-lb", "--where", "x=1", "-n", "d"],
            ["-n", "d", "nodes", "-l", "!a", "-lb", "--where", "x=1"],
        ),
        (["topology", "--", "--output"], ["topology", "--", "--output"]),
        (["apply", "-f", "-"], ["apply", "-f", "-"]),
        (["clusters", "-o"], ["-o", "clusters"]),
        ([], []),
    ],
)
def test_arranged(given: list[str], expected: list[str]) -> None:
    """Global options come first, `--watch` gets its number, and what follows `--` is left alone."""
    assert expected == arranged(given)
