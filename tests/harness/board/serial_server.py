"""A serial server made of pyserial's own server code: one port, which echoes, or says what the test has it say."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from typing import Any, Self

from serial import rfc2217

SOON = 5.0


class Line:
    """The attributes that pyserial's `PortManager` expects of its serial port; notes what is done to them."""

    cts = dsr = cd = True
    ri = False
    break_condition = False

    def __init__(self) -> None:
        self.moves: list[str] = []
        self.settings: dict[str, Any] = {}
        self.bytesize, self.parity, self.stopbits = 8, "N", 1
        self.xonxoff = self.rtscts = False
        self.baudrate = 9600
        self.purges = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("dtr", "rts"):
            self.moves.append(f"{name[0].upper()}{int(value)}")
        elif name == "baudrate":
            self.moves.append(f"baud {value}")
        super().__setattr__(name, value)

    def reset_input_buffer(self) -> None:
        """Count it."""
        self.purges += 1

    def reset_output_buffer(self) -> None:
        """Nothing is kept."""


class SerialServer:
    """An RFC 2217 server on a free port: one client at a time, in a thread.

    Args:
        manager: the protocol's class, for servers with habits of their own.
        chunk: bytes of each piece that is sent; 0: as they come.
        raw: no RFC 2217 at all: a plain TCP port.
    """

    def __init__(self, manager: type = rfc2217.PortManager, *, chunk: int = 0, raw: bool = False) -> None:
        self.line = Line()
        self.received = bytearray()
        self.echo = False
        self.clients = 0
        self.news = threading.Condition()
        self._manager, self._chunk, self._raw = manager, chunk, raw
        self._client: socket.socket | None = None
        self._sending = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"{'socket' if raw else 'rfc2217'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, data: bytes) -> None:
        """Have the board say something."""
        self.write(data if self._raw else data.replace(b"\xff", b"\xff\xff"))

    def write(self, data: bytes) -> None:
        """Send as it is; what `PortManager` calls."""
        with self._sending, contextlib.suppress(OSError):
            if self._client is not None:
                size = self._chunk or max(len(data), 1)
                for at in range(0, len(data), size):
                    self._client.sendall(data[at : at + size])

    def wait(self, holds: Any) -> None:
        """Wait until something holds of what was received, or of the line."""
        with self.news:
            assert self.news.wait_for(holds, SOON), (bytes(self.received), self.line.moves)

    def hang_up(self) -> None:
        """End the connection of the client there is."""
        with contextlib.suppress(OSError, AttributeError):
            self._client.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    def close(self) -> None:
        """End the server: its port refuses."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.hang_up()
        self._thread.join(SOON)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._client = client
                self._tell(lambda: setattr(self, "clients", self.clients + 1))
                with contextlib.suppress(OSError):
                    self._session(client)
                self._client = None

    def _session(self, client: socket.socket) -> None:
        manager = None if self._raw else self._manager(self.line, self)
        while data := client.recv(65536):
            content = data if manager is None else b"".join(manager.filter(data))
            if content and self.echo:
                self.say(content)
            self._tell(functools.partial(self.received.extend, content))

    def _tell(self, act: Any) -> None:
        with self.news:
            act()
            self.news.notify_all()
