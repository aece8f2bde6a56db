"""The sentences of the harness's errors."""

from __future__ import annotations

import harness.errors
from harness.errors import SHOWN_CHARACTERS, SHOWN_MESSAGES, ExpectationFailed, HarnessError, UpgradeRefused


def test_one_root():
    """Everything that is raised on purpose has one root."""
    kinds = [kind for kind in vars(harness.errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    assert len(kinds) == 9
    assert all(issubclass(kind, HarnessError) for kind in kinds)


def test_tree_is_in_the_head():
    """The tree in the head of the module names every class."""
    for name, kind in vars(harness.errors).items():
        if isinstance(kind, type) and issubclass(kind, HarnessError):
            assert name in (harness.errors.__doc__ or "")


def failed(count: int) -> list[str]:
    """The lines of an expectation that failed while so many messages came."""
    arrived = [{"type": "n", "n": number} for number in range(count)]
    return str(ExpectationFailed("door", 'a message "a"', 1.25, "it had not come", arrived)).splitlines()


def test_nothing_arrived():
    """Where nothing came, that is said."""
    assert failed(0) == ['door expected a message "a", but after 1.2 s it had not come', "  nothing else arrived"]


def test_all_that_arrived():
    """What came is shown, up to a number of messages."""
    lines = failed(SHOWN_MESSAGES)

    assert lines[1:3] == ["  what else arrived:", '    {"type":"n","n":0}']
    assert len(lines) == SHOWN_MESSAGES + 2


def test_the_last_that_arrived():
    """Past that, the latest are shown, and how many there were."""
    lines = failed(SHOWN_MESSAGES + 1)

    assert lines[1:3] == ["  the last 10 of 11 others that arrived:", '    {"type":"n","n":1}']
    assert len(lines) == SHOWN_MESSAGES + 2


def test_long_and_unprintable():
    """What a gateway sends is cut short and made printable."""
    text = str(ExpectationFailed("door", "x", 1, "y", [{"a": "\x1b" + "b" * 1000, "c": b"bytes"}]))

    assert text.isprintable() is False  # it has lines
    assert all(line.isprintable() and len(line) <= SHOWN_CHARACTERS + 5 for line in text.splitlines())
    assert len(str(UpgradeRefused(500, "x" * 1000 + "\n"))) < SHOWN_CHARACTERS + 40
