"""Requests on a gateway's WebSocket port that no device sends: a port check, broken upgrades, those of browsers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from pytest_wsdevice.types import FakeDevice

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, 1.2
_PATIENCE = 10.0  # seconds for the answer, as the firmware has it


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer.

    Attributes:
        status: its code.
        headers: by their names in lower case.
        body: as text; of a 101 nothing is read.
    """

    status: int
    headers: dict[str, str]
    body: str


async def upgrade(device: FakeDevice, target: str = "", headers: Mapping[str, str | None] | None = None) -> Answer:
    """Send the upgrade request of a device, and leave once it is answered.

    Args:
        device: whose; its own headers are sent.
        target: path and query, if not those of its URL.
        headers: that are to be other than the firmware's; None as a value leaves one out.
    """
    own = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": _KEY,
        "Sec-WebSocket-Version": "13",
        "Device-Id": device.device_id,
        "Client-Id": device.client_id,
        "Protocol-Version": str(device.framing),
        **({"Authorization": f"Bearer {device.token}"} if device.token else {}),
    }
    return await get(device.url, target, {**own, **(headers or {})})


async def get(url: str, target: str = "", headers: Mapping[str, str | None] | None = None) -> Answer:
    """Send a GET with these headers and no others but Host; see `upgrade`."""
    where = urlsplit(url)
    own_target = where.path + (f"?{where.query}" if where.query else "")
    sent = [f"{name}: {value}\r\n" for name, value in (headers or {}).items() if value is not None]
    secure = where.scheme == "wss"
    port = where.port or (443 if secure else 80)
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(where.hostname, port, ssl=secure or None)
        try:
            writer.write(
                f"GET {target or own_target} HTTP/1.1\r\nHost: {where.hostname}\r\n{''.join(sent)}\r\n".encode()
            )
            return await _read(reader)
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("iso-8859-1").split("\r\n")
    status = int(first.split()[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    size = int(headers.get("content-length", "-1"))
    body = b"" if status == 101 else await (reader.read() if size < 0 else reader.readexactly(size))
    return Answer(status, headers, body.decode("utf-8", "replace"))
