"""A port of a board as a device file, for tools that take no URL.

A pty has no modem lines, so that hosts cannot reset the board through it.
"""

from __future__ import annotations

import os
import selectors
import termios
import threading
import tty
from contextlib import suppress

from harness.errors import Misuse
from harness.virtual.errors import CannotServe
from harness.virtual.ports.conversation import BoardSide
from harness.virtual.ports.outbox import Outbox
from harness.virtual.ports.tcp import JOIN

ROOM = 1 << 16
"""Bytes that wait for a host. A pty does not tell whether anybody has it open; who opens it late sees no more than
these and what the kernel holds (4 KiB)."""

_READ = 1 << 16
_SPEEDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdecimal()}
_SPEED = 5  # in what tcgetattr returns: of output


class PtyPort:
    """One port; it serves from the moment it is made, in a thread of its own, until `close`.

    Args:
        board: whose port it is.

    Attributes:
        path: of the device file; another one after `come_back`, as with a cable that is plugged in again.

    Raises:
        CannotServe: this machine has no more ptys.
    """

    def __init__(self, board: BoardSide) -> None:
        self.path = ""
        self._board = board
        self._lock = threading.Lock()  # of the three below; never held while the board is called
        self._master: int | None = None
        self._outbox = Outbox()
        self._waker = -1
        self._thread: threading.Thread | None = None
        self.come_back()

    @property
    def baud(self) -> int | None:
        """What the host has set; None: a rate that this machine has no constant for."""
        with self._lock:
            if self._master is None:
                return None
            return _SPEEDS.get(termios.tcgetattr(self._master)[_SPEED])

    @property
    def lost(self) -> int:
        """Bytes that no host has read in time."""
        return self._outbox.lost

    def deliver(self, data: bytes) -> None:
        """Take bytes for the host."""
        with self._lock:
            if self._master is None:
                return
            self._outbox.put(data)
            self._outbox.send(self._write)
            if not self._outbox.is_empty:
                self._wake()

    def vanish(self) -> None:
        """Be gone, as when a USB cable is pulled: hosts that have it open read its end. Idempotent.

        Raises:
            Misuse: called by what the port itself calls, or that does not come to an end.
        """
        thread = self._thread
        if thread is None:
            return
        if thread is threading.current_thread():
            raise Misuse("expected a port to be closed by another thread than its own")
        with self._lock:
            self._master = None
            self._wake()
        thread.join(JOIN)
        if thread.is_alive():
            raise Misuse(f"expected what {self.path} has told the board to be done within {JOIN:g} s; it still runs")
        self._thread = None

    def come_back(self) -> None:
        """Be there again, under another path. Idempotent.

        Raises:
            CannotServe: this machine has no more ptys.
        """
        if self._thread is not None:
            return
        try:
            master, slave = os.openpty()
        except OSError as error:
            raise CannotServe("a pty", error.strerror or str(error)) from None
        tty.setraw(slave)
        attributes = termios.tcgetattr(slave)
        attributes[4] = attributes[5] = termios.B115200
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        os.set_blocking(master, False)
        woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        self.path = os.ttyname(slave)
        self._outbox = Outbox(room=ROOM)
        self._master = master
        self._thread = threading.Thread(
            target=self._serve, args=(master, slave, woken, self._waker), name=f"port {self.path}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Vanish for good; idempotent."""
        self.vanish()

    # --- in the port's thread -----------------------------------------------------------------------------------

    def _serve(self, master: int, slave: int, woken: int, waker: int) -> None:
        # the slave is kept open here, too: a pty whose last user has closed it answers every read with EIO
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(woken, selectors.EVENT_READ)
                selector.register(master, selectors.EVENT_READ)
                while self._master is not None:
                    ready = {key.fd: events for key, events in selector.select()}
                    if woken in ready:
                        os.read(woken, _READ)
                    if ready.get(master, 0) & selectors.EVENT_READ:
                        self._received(master)
                    selector.modify(master, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._flush() else 0))
        finally:
            with self._lock:
                self._master, self._waker = None, -1
            for end in (master, slave, woken, waker):
                os.close(end)

    def _received(self, master: int) -> None:
        with suppress(BlockingIOError):
            data = os.read(master, _READ)
            self._board.host_sent(data, self.baud)

    def _flush(self) -> bool:
        """Send what can be sent; return whether there is more."""
        with self._lock:
            if self._master is None:
                return False
            self._outbox.send(self._write)
            return not self._outbox.is_empty

    def _write(self, data: bytes) -> int:
        assert self._master is not None
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def _wake(self) -> None:
        if self._waker < 0:
            return
        # where the pipe is full, the thread is being woken already
        with suppress(BlockingIOError):
            os.write(self._waker, b"\0")
