"""An HTTP server that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from typing import Any


class Web:
    """A server on loopback, in the running loop.

    Attributes:
        answers: status and body by path; a dictionary is sent as JSON.
        asked: method, path, headers and body of each request.
        cuts_after: bytes of a body after which the connection ends; None: it is sent whole.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.cuts_after: int | None = None
        self.url = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.asked.append((method, path, headers, body))
        status, answer = self.answers.get(path, (404, b""))
        content = json.dumps(answer).encode() if isinstance(answer, dict) else answer
        size = b"" if content is None else f"Content-Length: {len(content)}\r\n".encode()
        writer.write(f"HTTP/1.1 {status} x\r\n".encode() + size + b"Connection: close\r\n\r\n")
        writer.write((content or b"")[: self.cuts_after])
        writer.close()
