"""A board's console: a thread that reads it from the first moment to the last, and everything that was said, in order.

::

    with Console("bench-1", "rfc2217://127.0.0.1:4001") as console:
        console.expect("Got IP", timeout=30)

The console goes on through everything: while the board is flashed another program has the port and the reader pauses,
while a port is unplugged it looks for it; both are in the log as gaps, and who waits for a line that did not come is
told of them. Nothing is thrown away but what is older than so many lines, and that is counted.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.board.console_log import ConsoleLog
from harness.board.errors import NoLines, PortBusy, PortFailed, PortMissing, PortVanished
from harness.board.line_record import LineRecord
from harness.board.serial_ports import OpenPort, open_port
from harness.errors import Misuse
from harness.redaction import Redactor

REOPEN = 5.0
"""Seconds to get the port again after another program had it: a serial server may take a while to see a client go."""
RETURN = 30.0
"""Seconds to wait for a port that vanished: a chip that starts its own USB anew takes 1 or 2, a hub that is switched
off and on up to 10."""
LOOK = 0.2
"""Seconds between two looks for a port that is away."""
_logger = logging.getLogger(__name__)
_READ = 1.0  # seconds of one read; an interrupt ends it at once
_JOIN = 10.0  # seconds for the reader to end: one read, or one attempt to open a port


class Console(LineRecord):
    """One console; calls may come from any thread.

    Args:
        name: of the board, for errors and logs.
        port: its path or URL; or a function that finds it, asked whenever it is opened: a port on USB may be called
            something else after it was plugged in again.
        baud: of the running firmware.
        log: a file that all lines are appended to, secrets masked.
        redactor: masks secrets in the log file and in what is written.
        returns_within: seconds to wait for a port that vanished.

    Attributes:
        has_lines: DTR and RTS can be moved, as the port told when it was open last.
        plays_resets: the server plays reset sequences of its own (``ign_set_control``).
    """

    def __init__(
        self,
        name: str,
        port: str | Callable[[], str],
        *,
        baud: int = 115200,
        log: Path | None = None,
        redactor: Redactor | None = None,
        returns_within: float = RETURN,
    ) -> None:
        self._redactor = redactor or Redactor()
        super().__init__(name, ConsoleLog(log, name, self._redactor) if log else None)
        self.has_lines = self.plays_resets = False
        self._find = port if callable(port) else lambda: port
        self._baud = baud
        self._returns_within = returns_within
        self._ending = threading.Event()  # of the present reader: one that is late must not go on as the next one
        self._writing = threading.Lock()  # a line is written as a whole
        self._port: OpenPort | None = None
        self._reader: threading.Thread | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Open the port."""
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def open(self, within: float = 0.0) -> None:
        """Open the port and begin to read, trying again for so many seconds; lines of an earlier life are kept.

        Raises:
            PortFailed: why the port cannot be opened.
        """
        if self.state in {"open", "away"}:
            raise Misuse(f"expected a console that is closed, {self.name}'s is {self.state}")
        self._port = self._opened(within)
        self._ending = threading.Event()
        self.state = "open"
        self._reader = threading.Thread(
            target=self._read, args=(self._ending,), name=f"console of {self.name}", daemon=True
        )
        self._reader.start()

    def close(self) -> None:
        """Stop reading and close the port; idempotent. Who waits for a line is told."""
        self._stop()
        with self._news:
            self._flush()
            self.state = "closed"
            self._news.notify_all()
        if self._log:
            self._log.close()

    @contextlib.contextmanager
    def paused(self, why: str) -> Iterator[None]:
        """Let another program have the port; afterwards read on. The gap is in the log with its reason.

        Raises:
            PortFailed: the port could not be had again; the console is ``lost``.
        """
        if self.state == "closed":
            yield
            return
        self._stop()
        began = time.monotonic()
        with self._news:
            self.state = "paused"
            self._flush()
            self._add("gap", f"paused: {why}")
        try:
            yield
        finally:
            self._resume(began)

    def _resume(self, began: float) -> None:
        if self.state != "paused":
            return  # closed meanwhile
        try:
            self.open(REOPEN)
        except PortFailed as error:
            self._lose(error)
            raise
        self._add("gap", f"read again after {time.monotonic() - began:.1f} s")

    def _opened(self, within: float) -> OpenPort:
        deadline = time.monotonic() + within
        while True:
            try:
                port = open_port(self._find(), self._baud)
            except PortFailed:
                if time.monotonic() >= deadline:
                    raise
            else:
                self.has_lines, self.plays_resets = port.has_lines, port.plays_resets
                return port
            time.sleep(LOOK)

    def _stop(self) -> None:
        with self._news:
            self._ending.set()
        port, reader = self._port, self._reader
        if port is not None:
            port.interrupt()
        if reader is not None and reader is not threading.current_thread():
            reader.join(_JOIN)
        if self._port is not None:
            self._port.close()
        self._port = self._reader = None

    # --- reading ------------------------------------------------------------------------------------------------

    def _read(self, ending: threading.Event) -> None:
        try:
            self._read_on(ending)
        except Exception as error:
            # the rim of the thread: nobody may wait for lines that nobody reads any more
            _logger.exception("the console of %s is not read any more", self.name)
            self._lose(PortVanished(f"the console of {self.name}", f"reading it failed: {error!r}"), ending)

    def _read_on(self, ending: threading.Event) -> None:
        while not ending.is_set():
            assert self._port is not None
            try:
                data = self._port.read_some(_READ)
            except PortVanished as error:
                if not self._await_return(error, ending):
                    return
                continue
            if data:
                self._take(data)

    def _await_return(self, error: PortVanished, ending: threading.Event) -> bool:
        """Look for the port until it is there again; return whether it is."""
        began = time.monotonic()
        with self._news:
            if ending.is_set():
                return False  # it was closed under our hands
            self.state = "away"
            self._flush()
            self._add("gap", f"vanished: {error.why}")
            assert self._port is not None
            self._port.close()
        last: PortFailed = error
        while not ending.wait(LOOK):
            try:
                port = open_port(self._find(), self._baud)
            except PortFailed as failed:
                last = failed
            else:
                return self._is_back(port, time.monotonic() - began, ending)
            if time.monotonic() - began > self._returns_within:
                why = f"it did not come back within {self._returns_within:g} s: {last.why}"
                self._lose(PortMissing(last.port, why), ending)
                break
        return False

    def _is_back(self, port: OpenPort, seconds: float, ending: threading.Event) -> bool:
        """Read on from a port that is there again; return whether anybody wants that."""
        with self._news:
            if not ending.is_set():
                self._port, self.state = port, "open"
                self._add("gap", f"back after {seconds:.1f} s")
                return True
        port.close()
        return False

    def _lose(self, error: PortFailed, ending: threading.Event | None = None) -> None:
        with self._news:
            if ending is None or not ending.is_set():
                self.state, self._lost = "lost", error
                self._add("gap", f"lost: {error.why}")

    # --- writing ------------------------------------------------------------------------------------------------

    def write_line(self, text: str) -> None:
        r"""Say one line to the board; it ends with ``\n``.

        Raises:
            PortBusy: another program has the port now.
            PortVanished: the port is gone.
        """
        port = self._open_port()
        with self._writing:
            self._add("written", self._redactor(text))
            port.write(text.encode() + b"\n")

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Set both modem lines.

        Raises:
            NoLines: the port has none.
            PortBusy, PortVanished: as `write_line`.
        """
        port = self._open_port()
        if not port.has_lines:
            raise NoLines(f"expected a port with DTR and RTS; {port.name}, the console of {self.name}, has none")
        port.set_lines(dtr=dtr, rts=rts)

    def _open_port(self) -> OpenPort:
        port, name = self._port, f"the console of {self.name}"
        if self.state == "paused":
            raise PortBusy(name, "it is paused: another program has the port")
        if port is None or self.state != "open":
            raise PortVanished(name, f"it is {self.state}")
        return port
