"""A device program as a child process: its output, its input and its channel, all bounded, in one loop.

What it prints is passed on no faster than a UART would take it, so a program that prints without end waits in its own
``print``, as it would on a chip, and fills no memory here. What it is sent, and does not read, is dropped beyond a
buffer, as in a FIFO.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.virtual.program_channel import ChannelEnd

BYTES_PER_SECOND = 256 * 1024
"""That are passed on to the UART: 2 Mbaud, the fastest that the USB bridges of development boards are run at."""
TYPED_BYTES = 1 << 20
"""That wait to be read by the program; what comes beyond is lost. An order with the largest frame a gateway takes, in
base64, has a tenth of it."""
_READ_BYTES = 4096
_PIPE_BYTES = 65536
_LOOK_SECONDS = 0.2  # between two looks for the end of a process where nothing else happens
_CLOSING_SECONDS = 0.02  # from the end of its output to the end of a process, mostly
_END_SECONDS = 1.5  # for a killed process to be gone; `Running.stop` has 2


class Child:
    """One process, from its start to its end; ``with`` kills what is left of it. `run` is its loop.

    Args:
        arguments: the command.
        environment: all of it; ``WSDEVICE_CHANNEL`` is added.
        folder: where it runs.
        said: is given what it prints, line ends as on a UART.
        asked: is given each request on its channel, and returns the answer (`ChannelEnd`).
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        said: Callable[[bytes], None],
        asked: Callable[[dict[str, Any]], dict[str, Any] | None],
    ) -> None:
        self._said = said
        self._typed = bytearray()
        self._lock = threading.Lock()
        self._killed = False
        self._frozen = False
        self._resumes = 0.0
        with contextlib.ExitStack() as opened:
            self._wake_end, self._woken, own, its = (
                opened.enter_context(end) for end in (*socket.socketpair(), *socket.socketpair())
            )
            self._process = subprocess.Popen(  # noqa: S603 - the point is to run it
                list(arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**environment, "WSDEVICE_CHANNEL": str(its.fileno())},
                pass_fds=[its.fileno()],
                start_new_session=True,  # so that what it starts can be killed with it
            )
            opened.pop_all()
        its.close()
        self._channel = ChannelEnd(own, asked)
        for end in (self._wake_end, self._woken):
            end.setblocking(False)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Kill what still runs, and close everything; to be called in the thread of `run`."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self._channel.close()
        for end in (self._wake_end, self._woken):
            end.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    # --- from any thread ----------------------------------------------------------------------------------------

    def type(self, data: bytes) -> None:
        """Give it bytes to read; never blocks. Beyond `TYPED_BYTES` they are lost."""
        with self._lock:
            self._typed += data[: max(TYPED_BYTES - len(self._typed), 0)]
        self._wake()

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event on its channel; never blocks."""
        self._channel.tell(event)
        self._wake()

    def freeze(self) -> None:
        """Let it do nothing any more, and its output not be heard; its connections stay."""
        self._frozen = True
        self._signal(signal.SIGSTOP)

    def kill(self) -> None:
        """Kill it and what it has started; idempotent."""
        self._killed = True
        self._signal(signal.SIGKILL)
        self._wake()

    def _signal(self, number: int) -> None:
        # the group has the process's id, which is not given to another as long as nobody has waited for it
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake; closed: it has ended
            self._wake_end.send(b"\0")

    # --- its loop -----------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Serve it until it has ended or was killed; return its exit status, negative for a signal."""
        is_open = True
        with selectors.DefaultSelector() as selector:
            while not self._killed and not self._has_ended(is_open=is_open):
                ready = self._ready(selector, is_open=is_open)
                if self._woken in ready:
                    self._woken.recv(_READ_BYTES)
                if self._channel.socket in ready:
                    self._channel.serve()
                if self._in in ready:
                    self._write()
                if self._out in ready:
                    is_open = self._read()  # there is something, or the end
        if self._killed:
            return -signal.SIGKILL
        self.drain()
        return self._process.wait()

    def _has_ended(self, *, is_open: bool) -> bool:
        if is_open:  # it may leave processes behind that hold its output
            return self._process.poll() is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSING_SECONDS)
        return self._process.returncode is not None

    def drain(self) -> None:
        """Pass on what it has printed so far, a pipe's worth at most; to be called in the thread of `run`."""
        for _ in range(_PIPE_BYTES // _READ_BYTES):
            self._resumes = 0.0
            if not self._read():
                return

    def _ready(self, selector: selectors.BaseSelector, *, is_open: bool) -> set[Any]:
        wanted: dict[Any, int] = {self._woken: selectors.EVENT_READ}
        wait = self._resumes - time.monotonic()
        if is_open and wait <= 0 and not self._frozen:
            wanted[self._out] = selectors.EVENT_READ
        if self._typed and not self._frozen:
            wanted[self._in] = selectors.EVENT_WRITE
        if self._channel.wants:
            wanted[self._channel.socket] = self._channel.wants
        for known in list(selector.get_map().values()):
            if wanted.get(known.fileobj) != known.events:
                selector.unregister(known.fileobj)
        for file, events in wanted.items():
            if file not in selector.get_map():
                selector.register(file, events)
        found = selector.select(_LOOK_SECONDS if wait <= 0 else min(wait, _LOOK_SECONDS))
        return {key.fileobj for key, _ in found}

    def _read(self) -> bool:
        """Pass on what it has printed; false at the end, and where there is nothing."""
        try:
            data = os.read(self._out, _READ_BYTES)
        except BlockingIOError:
            return False
        if data and not self._frozen:
            # LF becomes CR LF, as in the console of ESP-IDF
            self._said(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
            now = time.monotonic()
            self._resumes = max(self._resumes, now - 0.1) + len(data) / BYTES_PER_SECOND
        return bool(data)

    def _write(self) -> None:
        with self._lock:
            try:
                sent = os.write(self._in, self._typed)
            except BlockingIOError:
                return
            except BrokenPipeError:  # it has closed its input; nobody will read this
                sent = len(self._typed)
            del self._typed[:sent]
