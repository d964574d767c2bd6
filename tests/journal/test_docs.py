"""docs/journal.md lists the same events and fields as the code."""

import re
from pathlib import Path

import pytest

from afdctl.journal import SCHEMA
from afdctl.journal.events import EVENTS, TYPES

PAGE = Path(__file__).parents[2] / "docs" / "journal.md"


def sections() -> dict[str, str]:
    _, *parts = re.split(r"^### (\w+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_event_is_described_and_no_other():
    assert sections().keys() == EVENTS.keys()


@pytest.mark.parametrize("event", EVENTS)
def test_its_fields_and_their_types_are_described_and_no_others(event: str):
    rows = re.findall(r"^\| `([\w?]+)` \| ([^|]+) \| ([^|]+) \|$", sections()[event], flags=re.MULTILINE)
    assert {name: kind for name, kind, _ in rows} == EVENTS[event]
    assert len(rows) == len(EVENTS[event])


def test_the_schema_is_named():
    assert f"hold the schema number, {SCHEMA}." in PAGE.read_text()


def test_each_type_is_used():
    assert {kind for fields in EVENTS.values() for kind in fields.values()} == TYPES.keys()
