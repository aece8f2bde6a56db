"""Invariant 10 on records made by hand."""

from __future__ import annotations

from typing import Any

from harness.invariants.snapshots import OneInstant
from tests.harness.invariants.records import ANN, Record


def online() -> Record:
    """A device is online."""
    return Record().begin().connect(ANN, 1)


def tasks(*versions: int) -> dict[str, Any]:
    """A task list."""
    return {"type": "workflow", "event": "update", "tasks": [{"version": version} for version in versions]}


def transcript(revision: int, *texts: str) -> dict[str, Any]:
    """A transcript."""
    return {"type": "meeting", "phase": "transcript", "revision": revision, "items": [{"text": one} for one in texts]}


def test_forward():
    """Newer and newer, the same again, and nothing at all."""
    record = online().gets(ANN, 1, tasks()).gets(ANN, 1, tasks(1, 1)).gets(ANN, 1, tasks(1, 1)).gets(ANN, 1, tasks(3))
    record.gets(ANN, 1, transcript(1, "a")).gets(ANN, 1, transcript(2, "a", "b"))

    assert record.wrong(OneInstant) == []


def test_mixed():
    """Tasks of two versions in one list."""
    assert online().gets(ANN, 1, tasks(1, 2)).wrong(OneInstant) == [
        "aa was sent a list of several versions: ['1', '2']"
    ]


def test_backwards():
    """An older list behind a newer one, and an older transcript."""
    record = online().gets(ANN, 1, tasks(2)).gets(ANN, 1, tasks(1))
    record.gets(ANN, 1, transcript(2, "a", "b")).gets(ANN, 1, transcript(1, "a"))

    assert record.wrong(OneInstant) == [
        "aa was sent version 1 of the list after version 2",
        "aa was sent revision 1 of its transcript after revision 2",
    ]


def test_of_an_older_connection():
    """Two connections do not keep each other's order; the newer one keeps its own, and does not fall behind."""
    record = online().connect(ANN, 2).gets(ANN, 2, tasks(2)).gets(ANN, 1, tasks(1))
    assert record.wrong(OneInstant) == []
    behind = online().gets(ANN, 1, tasks(2)).connect(ANN, 2).gets(ANN, 2, tasks(1))
    assert len(behind.wrong(OneInstant)) == 1


def test_of_another_life():
    """A life that died may have had more than its checkpoint."""
    record = online().gets(ANN, 1, tasks(2)).die().begin(2).connect(ANN, 2).gets(ANN, 2, tasks(1))
    assert record.wrong(OneInstant) == []


def test_twice_in_a_transcript():
    """A snippet stands once."""
    record = online().gets(ANN, 1, transcript(2, "a", "a"))
    assert record.wrong(OneInstant) == ["aa was sent a transcript in which a snippet stands twice"]
