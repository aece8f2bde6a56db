"""What becomes of a connection, as it is told from between the board and the gateway."""

from __future__ import annotations

import pytest
from websockets.exceptions import ProtocolError
from websockets.frames import Close

from harness.board.seen_connection import SeenConnection
from harness.records import WireClosed, WireOpened


@pytest.fixture
def seen() -> SeenConnection:
    """One that has opened, and whose hello was answered."""
    seen = SeenConnection()
    seen.opens(WireOpened(0.0, 7, {"client-id": "x"}))
    seen.answered = True
    return seen


def test_none_yet():
    """There is none, which nobody has to wait for, and no record is of it."""
    seen = SeenConnection()

    assert seen.closed.is_set()
    assert not seen.opened.is_set()
    assert not seen.exists
    assert not seen.is_of(WireClosed(0.0, 7, ""))
    assert seen.state() == "it has not connected"


def test_open(seen: SeenConnection):
    """It is online once its hello was answered, until it is silent; its upgrade is known."""
    assert seen.is_online
    assert seen.opened.is_set()
    assert not seen.closed.is_set()
    assert seen.is_of(WireClosed(0.0, 7, ""))
    assert not seen.is_of(WireClosed(0.0, 6, ""))
    assert seen.upgrade == {"client-id": "x"}
    assert seen.state() == "its connection is open"

    seen.vanished = True
    assert not seen.is_online
    assert seen.state() == "its connection has vanished"


def test_ended(seen: SeenConnection):
    """Without a Close frame the code is 1006; with one it is that one's, before its end and after."""
    seen.ends()
    assert (seen.code, seen.exists, seen.closed.is_set()) == (1006, False, True)
    assert seen.state() == "its connection ended with 1006"

    seen.opens(WireOpened(1.0, 8, {}))
    assert (seen.code, seen.is_online) == (None, False)
    seen.close_frame(Close(4010, "kicked").serialize())
    assert (seen.code, seen.closed.is_set()) == (4010, False)
    seen.ends()
    assert seen.code == 4010


def test_a_close_frame_that_is_none(seen: SeenConnection):
    """It is refused, and nothing has changed."""
    with pytest.raises(ProtocolError):
        seen.close_frame(b"\x03")

    assert seen.is_online


def test_left_behind(seen: SeenConnection):
    """Another one is to come; what is told of this one is not of it any more."""
    seen.vanished = True
    seen.begin_anew()

    assert not seen.exists
    assert not seen.is_of(WireClosed(0.0, 7, ""))
    assert seen.closed.is_set()
    assert not seen.opened.is_set()
    assert seen.state() == "it has not connected"
