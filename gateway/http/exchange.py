"""One request on the HTTP port and its answer, free of sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
from msgspec import field

from gateway.errors import PeerError


class Request(msgspec.Struct, frozen=True):
    """A complete request.

    Attributes:
        method: as sent; methods are case-sensitive.
        path: as sent, without query string, never percent-decoded: no path of ours needs it, and what is not decoded
            cannot hide a separator.
        headers: names in lower case; values of a repeated header are joined by ``", "`` (RFC 9110 section 5.2).
            Bytes beyond ASCII become lone surrogates, as on the WebSocket port.
        body: all of it, decoded if it was chunked.
        address: the peer's address, without its port.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    address: str = ""


class Stream(msgspec.Struct, frozen=True):
    """A body that is made while it is sent.

    Attributes:
        length: how many bytes it has.
        chunks: called once, and only if the body is sent. The generator gives exactly ``length`` bytes, is asked for
            the next chunk when the kernel has taken the last one, and is closed in any case. If it raises, the
            connection is aborted, which tells the peer that the body is not whole.
    """

    length: int
    chunks: Callable[[], AsyncGenerator[bytes, None]]


class Response(msgspec.Struct, frozen=True):
    """An answer. Content-Length, Date and Connection are the listener's to add.

    Attributes:
        status: HTTP status code.
        body: what a GET gets; the listener leaves it out of the answer to a HEAD.
        headers: further headers.
        device: the device it is about, for the record; empty where there is none.
        refused: why a request to the OTA endpoint was refused, for the record; empty for all other answers.
    """

    status: int
    body: bytes | Stream = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    refused: str = ""


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers a request; raises `RequestRefused` for an error status. Any other exception is a fault of ours: 500."""


class RequestRefused(PeerError):
    """A request is answered with an error status.

    Attributes:
        status: HTTP status code.
        reason: one sentence for the peer; it never repeats what the peer sent.
        headers: further response headers, such as ``Allow``.
        device: who is refused, for the record; empty where that is not known.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None, *, device: str = "") -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        self.device = device

    def __str__(self) -> str:
        return f"request refused with {self.status} {HTTPStatus(self.status).phrase}: {self.reason}"

    def response(self) -> Response:
        """Return the answer to give: ``{"error": reason}``."""
        answer = json_response({"error": self.reason}, self.status, self.headers)
        return msgspec.structs.replace(answer, device=self.device)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Make a JSON answer."""
    return Response(status, msgspec.json.encode(value), {"Content-Type": "application/json", **(headers or {})})


def text_response(text: str, content_type: str = "text/plain; charset=utf-8") -> Response:
    """Make a text answer with status 200."""
    return Response(200, text.encode(), {"Content-Type": content_type})
