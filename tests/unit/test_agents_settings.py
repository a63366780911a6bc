"""Settings of agents and sources: the environment's word, and no secret in sight."""

from __future__ import annotations

import pickle

import orjson
import pytest

from blocks.agents.settings import AgentsSettings
from blocks.errors import InvalidInputError
from blocks.models.tls import Tls
from blocks.sources.settings import SourcesSettings
from doubles.certificates import Authority


def test_the_environment_overrides() -> None:
    """Each field has a variable; TLS is given as JSON."""
    environ = {
        "REPLICORE_AGENTS_CONCURRENCY": "7",
        "REPLICORE_AGENTS_TLS": '{"ca_bundle": {"file": "/etc/ca.pem"}}',
        "REPLICORE_SOURCES_TOTAL_S": "9.5",
    }
    agents = AgentsSettings(keepalive_s=60).overlaid(environ)

    assert (7, 60.0, Tls.model_validate({"ca_bundle": {"file": "/etc/ca.pem"}})) == (
        agents.concurrency,
        agents.keepalive_s,
        agents.tls,
    )
    assert SourcesSettings().overlaid(environ).total_s == pytest.approx(9.5)


@pytest.mark.parametrize("value", ["-----BEGIN secret", '{"client_key": "-----BEGIN secret"}', "7"])
def test_a_bad_value_is_named_and_not_shown(value: str) -> None:
    """What does not fit is said by its variable, without the value."""
    with pytest.raises(InvalidInputError) as error:
        AgentsSettings().overlaid({"REPLICORE_AGENTS_TLS": value})

    assert ["REPLICORE_AGENTS_TLS"] == [fault.where for fault in error.value.faults]
    assert "secret" not in str(error.value)


def test_they_travel_without_showing_keys() -> None:
    """Settings can be pickled, and their text shows nothing of a key."""
    authority = Authority()
    settings = AgentsSettings(tls=authority.tls(authority.client()))

    copied = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own bytes

    assert settings.tls == copied.tls
    assert "-----" not in repr(settings) + str(settings) + orjson.dumps(settings.model_dump(mode="json")).decode()
