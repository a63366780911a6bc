from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from blocks.models.event import Event, EventType
from blocks.models.event_catalogue import CATALOGUE
from deployments.event_catalogue import files, main, schema, title, version_of
from deployments.original_events import ORIGINAL, OURS_ALONE
from doubles.event_data import faults
from doubles.views import NOW

DOCS = Path(__file__).parents[2] / "docs"
each_type = pytest.mark.parametrize("type_", list(EventType), ids=title)


def _event(type_: EventType, **more: object) -> Event:
    entry = CATALOGUE[type_]
    return Event(
        event_id="e1",
        type=type_.value,
        stream=entry.stream_example,
        subject=entry.subject,
        sequence=1,
        time=NOW,
        data={**entry.example, **more},  # type: ignore[dict-item]  # tests give JSON
    )


def test_every_type_is_in_the_catalogue() -> None:
    """No type is forgotten, none is made up."""
    assert list(EventType) == list(CATALOGUE)
    assert {1} == {version_of(type_) for type_ in EventType}


@each_type
def test_every_example_is_one(type_: EventType) -> None:
    """Its fields are those of the model, and it fits the published schema."""
    jsonschema.Draft202012Validator(schema(type_)).validate(dict(CATALOGUE[type_].example))

    assert [] == faults([_event(type_)])


@each_type
def test_a_field_more_is_no_break(type_: EventType) -> None:
    """A consumer with this version's schema reads what a later one adds; our own tests want it named."""
    more = {**CATALOGUE[type_].example, "added_later": {"a": 1}}
    jsonschema.Draft202012Validator(schema(type_)).validate(more)

    assert [f"{type_.value}: added_later is not in the catalogue"] == faults([_event(type_, added_later={"a": 1})])


@each_type
def test_a_field_less_is_a_break(type_: EventType) -> None:
    """The schema says which fields are always there."""
    required = schema(type_)["required"]
    validator = jsonschema.Draft202012Validator(schema(type_))

    assert required
    assert all(
        not validator.is_valid({key: value for key, value in CATALOGUE[type_].example.items() if key != name})
        for name in required
    )


def test_the_published_files_are_up_to_date(tmp_path: Path) -> None:
    """`python -m deployments.event_catalogue docs` makes them; whoever changes a model runs it."""
    assert 0 == main(tmp_path)

    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    published = {str(path.relative_to(DOCS)): path.read_text() for path in (DOCS / "schemas/events").iterdir()}
    assert files() == written
    assert written == {**published, "events.md": (DOCS / "events.md").read_text()}


def test_the_page_names_everything() -> None:
    """Each type has its heading, the link to it, its schema and its example; every code of the original has a row."""
    page = files()["events.md"]

    for type_ in EventType:
        anchor = type_.value.replace(".", "")
        assert f"### {type_.value}\n" in page
        assert f"](#{anchor}) | 1 |" in page
        assert f"]({'schemas/events'}/{type_.value}.json)" in page
        assert json.dumps(dict(CATALOGUE[type_].example)) in page
    for rows in ORIGINAL.values():
        assert all(f"| `{theirs}` | " in page for theirs, _, _ in rows)


def test_every_code_of_the_original_has_an_answer() -> None:
    """One of ours, or the reason why there is none; none is listed twice, and what is ours alone is said."""
    rows = [row for known in ORIGINAL.values() for row in known]
    mapped = {ours for _, known, _ in rows for ours in known}

    assert [] == [theirs for theirs, ours, why in rows if not ours and not why]
    assert all(len(known) == len({theirs for theirs, _, _ in known}) for known in ORIGINAL.values())
    assert set(EventType) == mapped | set(OURS_ALONE)
    assert set() == mapped & set(OURS_ALONE)
