"""What has become of a board's connection, as someone between it and the gateway sees it. Pure, but for two events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from websockets.frames import Close

from gateway.protocol.close_codes import CloseCode
from harness.records import WireOpened, WireRecord


class SeenConnection:
    """The last connection of one board; what is told of those before it is not of it.

    Attributes:
        closed: set while there is none.
        opened: set once one has opened, since `begin_anew`.
        upgrade: the headers of its upgrade request, names in lower case.
        code: of the Close frame that it was sent; 1006 if it ended without one; None while open.
        vanished: it is silent, or left behind, and the gateway was not told.
        answered: its hello was.
    """

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.closed.set()
        self.opened = asyncio.Event()
        self.upgrade: Mapping[str, str] = {}
        self.code: int | None = None
        self.vanished = self.answered = False
        self._number: int | None = None

    @property
    def exists(self) -> bool:
        """Whether there is one, however silent."""
        return self._number is not None

    @property
    def is_online(self) -> bool:
        """Whether its hello was answered, and it is open."""
        return self.exists and self.code is None and not self.vanished and self.answered

    def is_of(self, record: WireRecord) -> bool:
        """Whether a record is of this connection."""
        return self.exists and record.connection == self._number

    def begin_anew(self) -> None:
        """Leave it behind: another one is to come."""
        self._number, self.code = None, None
        self.vanished = self.answered = False
        self.opened.clear()
        self.closed.set()

    def opens(self, record: WireOpened) -> None:
        """Another one has opened; from here on this is the one."""
        self._number, self.code, self.upgrade = record.connection, None, record.headers
        self.vanished = self.answered = False
        self.closed.clear()
        self.opened.set()

    def close_frame(self, payload: bytes) -> None:
        """Take the gateway's Close frame; raises websockets' `ProtocolError` where it is none."""
        self.code = int(Close.parse(payload).code)

    def ends(self) -> None:
        """It is gone."""
        if self.code is None:
            self.code = CloseCode.ABNORMAL
        self._number = None
        self.closed.set()

    def state(self) -> str:
        """Say what has become of it, as the end of a sentence."""
        if self.code is not None:
            return f"its connection ended with {self.code}"
        if self.vanished:
            return "its connection has vanished"
        return "its connection is open" if self.exists else "it has not connected"
