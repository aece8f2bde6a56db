"""The channel between a device program and its board: JSON lines on a socket that the program inherits.

The program asks, ``{"id": 1, "do": "nvs_set", ...}``, and is answered, ``{"id": 1, "ok": ...}`` or ``{"id": 1,
"error": "ESP_ERR_...", "text": "..."}``. The board tells, ``{"event": "wifi", ...}``, whenever something happens.
``docs/device-programs.md`` lists the requests and the events. This is the board's end.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any

import msgspec

LINE_BYTES = 256 * 1024
"""Of one request: forty times what the largest, a page of an OTA image in base64, takes."""
WAITING_BYTES = 1 << 20
"""Of answers and events that the program has not read; past it the channel is closed: it will never read them."""
_READ_BYTES = 65536


class ChannelEnd:
    """The board's end of one channel.

    Args:
        end: the socket.
        asked: is given each request, and returns its answer without the id: ``{"ok": ...}`` or ``{"error": ...,
            "text": ...}``; None: it is not to be answered, as the program will not live to read it.
    """

    def __init__(self, end: socket.socket, asked: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        self.socket = end
        self._asked = asked
        self._received = bytearray()
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._is_open = True
        end.setblocking(False)

    @property
    def wants(self) -> int:
        """What it waits for, as a mask of `selectors`; 0: nothing any more."""
        if not self._is_open:
            return 0
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._waiting else 0)

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event; any thread may call; it is sent by the next `serve`."""
        self._put(event)

    def serve(self) -> None:
        """Answer what has been asked, and send what waits; never blocks."""
        self._receive()
        self._send()

    def close(self) -> None:
        """End it."""
        self._is_open = False
        self.socket.close()

    def _take(self, data: bytes) -> None:
        self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        for line in lines:
            self._answer(line)
        if len(self._received) > LINE_BYTES:
            self._is_open = False

    def _answer(self, line: bytearray) -> None:
        try:
            request = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            self._put({"id": None, "error": "ESP_ERR_INVALID_ARG", "text": f"expected a JSON object, got {error}"})
            return
        if not isinstance(request, dict):
            self._put({"id": None, "error": "ESP_ERR_INVALID_ARG", "text": "expected a JSON object"})
            return
        answer = self._asked(request)
        if answer is not None:
            self._put({"id": request.get("id"), **answer})

    def _put(self, message: dict[str, Any]) -> None:
        line = msgspec.json.encode(message) + b"\n"
        with self._lock:
            if len(self._waiting) + len(line) > WAITING_BYTES:
                self._is_open = False
            else:
                self._waiting += line

    def _receive(self) -> None:
        try:
            while self._is_open and (data := self.socket.recv(_READ_BYTES)):
                self._take(data)
            self._is_open = False  # the program has closed its end
        except BlockingIOError:
            pass
        except OSError:
            self._is_open = False

    def _send(self) -> None:
        try:
            with self._lock:
                while self._waiting and self._is_open:
                    sent = self.socket.send(self._waiting)
                    del self._waiting[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._is_open = False
