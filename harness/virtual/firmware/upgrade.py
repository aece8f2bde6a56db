"""Over-the-air update: the image is downloaded page by page into the other slot, checked, and started next time.

Lines: ``Ota::Upgrade`` of the firmware's ``ota.cc``. The flash is written as the bytes come, so power can go at any of
them.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import h11

from harness.http import PATIENCE
from harness.virtual.firmware.board_channel import BoardChannel, BoardRefused
from harness.virtual.firmware.log import Log

PAGE = 4096
"""Bytes that are written at once, as the firmware does."""
_TAG = "Ota"


class UpgradeFailed(Exception):
    """The update did not come about, which was said; what ran before runs on."""


async def upgrade(board: BoardChannel, log: Log, url: str) -> None:
    """Download an image and have it started after the next reset.

    Raises:
        UpgradeFailed: it was not to be had, or is none.
    """
    log("I", _TAG, f"Upgrading firmware from {url}")
    try:
        slot = await board.ask("ota_begin")
    except BoardRefused as error:
        log("E", _TAG, "Failed to get update partition")
        raise UpgradeFailed from error
    log("I", _TAG, f"Writing to partition {slot['label']} at offset {slot['offset']:#x}")
    try:
        async with _opened(url) as download:
            await _write(board, log, download)
        await board.ask("ota_end")
    except (OSError, ValueError, TimeoutError, h11.RemoteProtocolError) as error:
        log("E", _TAG, f"Failed to open HTTP connection: {error}" if not isinstance(error, _BadAnswer) else str(error))
        raise UpgradeFailed from error
    except BoardRefused as error:
        bad = error.code == "ESP_ERR_OTA_VALIDATE_FAILED"
        log("E", _TAG, "Image validation failed, image is corrupted" if bad else f"Failed to end OTA: {error.code}")
        raise UpgradeFailed from error
    log("I", _TAG, "Firmware upgrade successful")


class _BadAnswer(ValueError):
    """The answer is no image; its text is the firmware's line."""


class _Download:
    """The body of an answer, in pages.

    Attributes:
        size: of the body, in bytes.
    """

    def __init__(self, connection: h11.Connection, reader: asyncio.StreamReader, size: int) -> None:
        self.size = size
        self._connection = connection
        self._reader = reader

    async def pages(self) -> AsyncIterator[bytes]:
        """Return the body in pieces of `PAGE` bytes; the last may be shorter."""
        waiting = bytearray()
        while not isinstance(event := await _next(self._connection, self._reader), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                waiting += event.data
            while len(waiting) >= PAGE:
                yield bytes(waiting[:PAGE])
                del waiting[:PAGE]
        if waiting:
            yield bytes(waiting)


async def _write(board: BoardChannel, log: Log, download: _Download) -> None:
    written = recent = 0
    told = time.monotonic()
    async for page in download.pages():
        await board.ask("ota_write", data=base64.b64encode(page).decode())
        written += len(page)
        recent += len(page)
        if time.monotonic() - told >= 1.0 or written == download.size:
            percent = written * 100 // download.size
            log("I", _TAG, f"Progress: {percent}% ({written}/{download.size}), Speed: {recent}B/s")
            told, recent = time.monotonic(), 0


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[_Download]:
    where = urlsplit(url)
    if where.scheme != "http" or not where.hostname:
        raise ValueError(f"expected an address of http, got {url}")
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    connection = h11.Connection(h11.CLIENT)
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(where.hostname, where.port or 80)
    try:
        headers = [("Host", where.netloc), ("Connection", "close")]
        for part in (h11.Request(method="GET", target=target, headers=headers), h11.EndOfMessage()):
            writer.write(connection.send(part) or b"")
        while not isinstance(answer := await _next(connection, reader), h11.Response):
            pass
        if answer.status_code != 200:
            raise _BadAnswer(f"Failed to get firmware, status code: {answer.status_code}")
        size = int(dict(answer.headers).get(b"content-length", b"0"))
        if not size:
            raise _BadAnswer("Failed to get content length")
        yield _Download(connection, reader, size)
    finally:
        writer.close()


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Event:
    while (event := connection.next_event()) is h11.NEED_DATA:
        async with asyncio.timeout(PATIENCE):
            connection.receive_data(await reader.read(PAGE))
    if isinstance(event, h11.ConnectionClosed) or not isinstance(event, h11.Event):
        raise h11.RemoteProtocolError("the connection was closed before the end")
    return event
