"""Asks the HTTP port of a gateway: its OTA endpoint, as a device does at boot, and its health.

Only the running loop is used, so a simulated network can take the place of TCP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import h11
import msgspec

from harness.errors import CannotConnect

PATIENCE = 10.0
"""Seconds for an answer: as long as the firmware waits."""
_READ_BYTES = 64 * 1024


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer.

    Attributes:
        status: its code.
        headers: by their names in lower case; of a repeated one the last.
        body: as it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return what the body says.

        Raises:
            msgspec.DecodeError: it is not JSON.
        """
        return msgspec.json.decode(self.body)


async def ask(
    url: str,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout: float = PATIENCE,
) -> Answer:
    """Send one request on a connection of its own, and return the answer, whatever its status.

    Args:
        url: ``http://host[:port]/path``.
        method: of the request.
        headers: besides ``Host``, ``Content-Length`` and ``Connection``.
        body: of the request.
        timeout: seconds for all of it.

    Raises:
        CannotConnect: no connection, or no whole answer on it, in time.
    """
    where = urlsplit(url)
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    request = h11.Request(
        method=method,
        target=target,
        headers=[
            ("Host", where.netloc),
            *(headers or {}).items(),
            *([("Content-Length", str(len(body)))] if body or method == "POST" else []),
            ("Connection", "close"),
        ],
    )
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
            try:
                return await _exchange(reader, writer, request, body)
            finally:
                writer.close()
    except TimeoutError:
        raise CannotConnect(url, f"no answer within {timeout:g} s") from None
    except (OSError, h11.RemoteProtocolError) as error:
        raise CannotConnect(url, str(error)) from error


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, body: bytes
) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    for part in (request, h11.Data(data=body), h11.EndOfMessage()):
        if sent := connection.send(part):
            writer.write(sent)
    response: h11.Response | None = None
    received = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            received += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("the connection was closed before the answer")
    assert response is not None, "a message has a beginning"
    named = {name.decode("ascii"): value.decode("iso-8859-1") for name, value in response.headers}
    return Answer(response.status_code, named, bytes(received))
