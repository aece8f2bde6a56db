"""The statements of the table, none of which may look at every letter; and what it keeps in mind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.peer import letters_table
from gateway.peer.letters_table import COLUMNS, LettersTable
from gateway.peer.mailbox import Letter
from gateway.peer.mailbox_file import SCHEMA, MailboxFile, open_for_writing
from tests.peer.letters import NOW, A, B, C, event, letter

# Without a search for one name or device: after a failure, at a scrape, in a sweep.
_COUNTS = {
    "_COUNT_WAITING",
    "_COUNT_SENT",
    "_COUNT_EVENTS",
    "_COUNT_ASIDE",
    "_COUNT_SETTLED",
    "_OLDEST",
    "_FORGET_ASIDE",
}

_STATEMENTS = {
    name: text
    for name, text in vars(letters_table).items()
    if isinstance(text, str) and text.startswith(("SELECT", "INSERT", "UPDATE", "DELETE"))
}


@pytest.fixture
def file(tmp_path: Path) -> Iterator[MailboxFile]:
    """An open mailbox file."""
    with closing(open_for_writing(str(tmp_path / "mailbox.db"))) as opened:
        yield opened


@pytest.mark.parametrize("name", _STATEMENTS)
def test_no_statement_looks_at_every_letter(file: MailboxFile, name: str) -> None:
    """Each searches in an index, and none sorts what it does not take."""
    text = _STATEMENTS[name]
    plan = [row[3] for row in file.connection.execute(f"EXPLAIN QUERY PLAN {text}", [0] * text.count("?"))]

    assert not [step for step in plan if step.startswith("SCAN")], plan
    # _EVENTS_OF sorts no more than MAILBOX_EVENTS; _COUNT_SENT takes 40 ms for 100,000, at the start and after failures
    if name not in {"_EVENTS_OF", "_COUNT_SENT"}:
        assert not [step for step in plan if "TEMP B-TREE" in step]


@pytest.mark.parametrize("name", sorted(_COUNTS))
def test_counts_are_answered_from_an_index_alone(file: MailboxFile, name: str) -> None:
    """They do not touch the letters themselves, whose bodies are large."""
    text = _STATEMENTS[name]
    plan = [row[3] for row in file.connection.execute(f"EXPLAIN QUERY PLAN {text}", [0] * text.count("?"))]

    assert [step for step in plan if "COVERING INDEX" in step], plan


def test_columns_are_the_fields_of_a_letter() -> None:
    """A field that a letter gains must be kept too."""
    assert ", ".join(Letter.__struct_fields__) == COLUMNS
    for column in COLUMNS.split(", "):
        assert f"\n    {column} " in SCHEMA


def test_counts_are_the_same_counted_anew(file: MailboxFile) -> None:
    """What is kept in mind agrees with what the file says, whatever was done."""
    table = LettersTable(file.connection, per_device=100, total=100, dedupe=600)
    table.begin()
    table.store([letter(str(n)) for n in range(8)], NOW)
    table.store([letter(str(n), to=C) for n in range(3)], NOW)
    table.store([Letter(A, "", "s", "summary", b"", NOW, NOW + 9)], NOW)
    table.add_event(event("e1"), NOW)
    table.add_event(event("e2"), NOW)
    table.settle(A, [(B, "1"), (B, "2")], NOW)
    table.set_aside(A, B, "3", event("e3", to=B, kind="dropped"), NOW)
    table.set_aside(A, B, "4", None, NOW)
    table.store([letter("4")], NOW)
    table.take_expired(2, lambda lost: event(f"x{lost.id}", to=B, kind="expired"), NOW + 200)
    table.purge(C)
    table.commit()
    fresh = LettersTable(file.connection, per_device=100, total=100, dedupe=600)

    for name in ("waiting", "events", "set_aside", "settled", "_shares", "_sent"):
        assert getattr(table._tally, name) == getattr(fresh._tally, name), name
    assert table._tally.waiting > 0
    assert table._tally.settled > 0


def test_rollback_forgets_what_could_be_merged(file: MailboxFile) -> None:
    """The position of an event that was undone is given to the next one, which has been sent."""
    table = LettersTable(file.connection, per_device=100, total=100, dedupe=600)
    table.begin()
    table.add_event(event("undone"), NOW)
    table.rollback()
    table.begin()
    table.add_event(event("sent", count=1), NOW, sent=True)
    table.add_event(event("new", count=2), NOW)
    table.commit()

    assert [one.count for one in table.waiting(A, 10, NOW)] == [1, 2]


def test_events_that_are_gone_are_not_kept_in_mind(file: MailboxFile) -> None:
    """Which events may be merged is known of those that wait, however many have come and gone."""
    table = LettersTable(file.connection, per_device=100, total=100, dedupe=600)
    table.begin()
    for name in ("settled", "aside", "merged", "purged"):
        table.add_event(event(name, about=name), NOW)
    table.add_event(event("expired", life=1), NOW)
    table.add_event(event("merging", about="merged"), NOW)
    table.settle(A, [("", "settled")], NOW)
    table.set_aside(A, "", "aside", None, NOW)
    table.take_expired(10, None, NOW + 5)
    assert len(table._unseen) == 2
    table.purge(A)
    table.commit()

    assert table._unseen == set()
