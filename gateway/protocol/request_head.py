"""The head of an upgrade request: gathered from pieces, and brought to what every supported `websockets` can parse.

`websockets` 17 parses other methods than GET, and HTTP/1.0, and says no to lines that are too long; 16 drops all of
these without a word, and takes a few requests that 17 does not. What depends on the version is decided here, as 17
would; the rest of the head stays the business of `websockets`.
"""

from __future__ import annotations

import re

from websockets.http11 import Request

from gateway.errors import HandshakeRefused
from gateway.protocol.limits import REQUEST_BYTES

LINE_BYTES = 8192  # of one line, its CRLF included; as `websockets` has it
HEADERS = 128  # lines behind the first; as `websockets` has it

_END = b"\r\n\r\n"
_PROTOCOLS = (b"HTTP/1.1", b"HTTP/1.0")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # all but the tab; `websockets` says nothing to a head that has one


class NotARequest(HandshakeRefused):
    """These bytes are no HTTP/1 request, or one with a body: the connection is closed without an answer."""

    def __init__(self) -> None:
        super().__init__(400, "expected an HTTP/1.1 request without a body")


class RequestHead:
    """The head of one request, from its first byte to the empty line; pure.

    Attributes:
        method: of the request line; empty before that is complete.
        protocol: of the request line; empty before that is complete.
    """

    __slots__ = ("_head", "_target", "method", "protocol")

    def __init__(self) -> None:
        self._head = bytearray()
        self._target = b""
        self.method = ""
        self.protocol = ""

    def feed(self, data: bytes) -> bytes | None:
        """Take what has come; return what follows the head once that is complete, None before.

        Raises:
            HandshakeRefused: 414 or 431, a line or the head is too long, or there are too many; 400, a header has a
                control character.
            NotARequest: it need not be read on.
        """
        searched = max(0, len(self._head) - len(_END) + 1)
        self._head += data
        if not self.method:
            self._read_line()
        end = self._head.find(_END, searched)
        size = len(self._head) if end < 0 else end + len(_END)
        if size > REQUEST_BYTES:
            raise HandshakeRefused(431, f"expected a request of at most {REQUEST_BYTES} bytes")
        if end < 0:
            return None
        rest = bytes(self._head[size:])
        del self._head[size:]
        self._check_headers()
        return rest

    def canonical(self) -> bytes:
        """Return the complete head with ``GET`` and ``HTTP/1.1`` in its first line, which both versions parse."""
        _, _, headers = bytes(self._head).partition(b"\r\n")
        return b"GET %b HTTP/1.1\r\n%b" % (self._target, headers)

    def restore(self, request: Request) -> None:
        """Give a request that was parsed of the canonical head its own method and protocol."""
        request.method = self.method
        request.protocol = self.protocol

    def check_upgrade(self) -> None:
        """Check what the first line of an upgrade must say.

        Raises:
            HandshakeRefused: 405 or 505.
        """
        if self.method != "GET":
            raise HandshakeRefused(405, "expected the method GET", {"Allow": "GET"})
        if self.protocol != "HTTP/1.1":
            raise HandshakeRefused(505, "expected HTTP/1.1")

    def _read_line(self) -> None:
        end = self._head.find(b"\n") + 1
        if (end or len(self._head)) > LINE_BYTES:
            raise HandshakeRefused(414, f"expected a request line of at most {LINE_BYTES} bytes")
        if not self._head[:1].isalpha():  # the first byte of TLS, for one: it would wait for an answer
            raise NotARequest
        if not end:
            return
        line = bytes(self._head[:end])
        words = line.removesuffix(b"\r\n").split(b" ", 2)
        if not line.endswith(b"\r\n") or not line.isascii() or len(words) != 3 or words[2] not in _PROTOCOLS:
            raise NotARequest
        self._target = words[1]
        self.method = words[0].decode("ascii")
        self.protocol = words[2].decode("ascii")

    def _check_headers(self) -> None:
        headers = self._head.split(b"\r\n")[1:-2]
        if len(headers) > HEADERS or any(len(line) + 2 > LINE_BYTES for line in headers):
            raise HandshakeRefused(431, f"expected at most {HEADERS} headers of at most {LINE_BYTES} bytes each")
        if any(b"\n" in line or line.partition(b":")[0].lower() == b"transfer-encoding" for line in headers):
            raise NotARequest
        if any(_CONTROL.search(line.partition(b":")[2]) for line in headers):
            raise HandshakeRefused(400, "malformed header: expected no control characters")
