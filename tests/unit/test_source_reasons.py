"""Why an HTTP request got no answer, in words."""

from __future__ import annotations

import socket

import httpx
import pytest

from blocks.sources.reasons import reason_of


def _raised(inner: Exception) -> httpx.ConnectError:
    """An error of httpx with a cause, as it is raised while something else is being handled."""
    try:
        try:
            {}["another matter"]
        except KeyError:
            try:
                raise inner
            except OSError as error:
                raise httpx.ConnectError("all attempts failed") from error
    except httpx.ConnectError as error:
        return error


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (
            socket.gaierror(-2, "Name or service not known"),
            "the host name cannot be resolved (Name or service not known)",
        ),
        (OSError(101, "Network is unreachable"), "network is unreachable"),
        (OSError("no number"), "it cannot be connected to"),
    ],
)
def test_what_the_system_said(inner: OSError, said: str) -> None:
    """Whatever was being handled when the request was sent."""
    assert said == reason_of(_raised(inner), 500)
