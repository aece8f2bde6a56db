"""Firmware images: which is the newest for a board, and sending one, whole or in part.

An image is a file ``<board>_<version>.bin`` right in the image directory, its version numbers parted by dots. Nothing
else in the directory can be had. Put an image there under another name and rename it: a file that changes while it is
sent ends that download.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeAlias

import msgspec

from gateway.errors import WorldError
from gateway.http.exchange import Request, RequestRefused, Response, Stream

CHUNK_BYTES = 64 * 1024  # per trip to the executor: 64 trips for an image of 4 MiB
NAME_CHARACTERS = 255  # what a file system takes

Version: TypeAlias = tuple[int, ...]

# The first character keeps hidden files out; no character of it can part a path. Nine digits stay below 2**31.
_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)_([0-9]{1,9}(?:\.[0-9]{1,9})*)\.bin", re.ASCII)
_VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})*", re.ASCII)
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.ASCII | re.IGNORECASE)
_RANGE_DIGITS = 18  # a longer number is past the end of any file


def numeric_version(text: str) -> Version | None:
    """Return the numbers of a version, None where it is not numbers parted by dots.

    Any other version must never reach a device: the firmware gives each part to ``std::stoi``, which aborts it.
    Trailing zeros are left out, so that 1.0 and 1.0.0 are the same. The firmware holds the longer one to be newer;
    what is newer here is newer there too.
    """
    if not _VERSION.fullmatch(text):
        return None
    numbers = [int(part) for part in text.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


class Image(msgspec.Struct, frozen=True):
    """An image that can be offered.

    Attributes:
        name: its file name.
        version: as written in the name.
    """

    name: str
    version: str


class ImageChanged(WorldError):
    """An image was changed or taken away while it was being sent."""


class Images:
    """The images of one directory, which is looked at anew for each request.

    Args:
        directory: where they are; None: there are none.
        executor: does the file I/O; None: the loop's own.
    """

    def __init__(self, directory: Path | None, executor: Executor | None = None) -> None:
        self._directory = directory
        self._executor = executor

    async def newest(self, board: str) -> Image | None:
        """Return the newest image for a board; None where there is none, or the directory cannot be read."""
        if self._directory is None or not board:
            return None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, _newest, self._directory, board)

    async def answer(self, request: Request, name: str) -> Response:
        """Answer a GET or HEAD for an image: 200, 206, 304 or 416.

        Raises:
            RequestRefused: 404, there is no such image.
        """
        loop = asyncio.get_running_loop()
        file = None
        if self._directory is not None:
            file = await loop.run_in_executor(self._executor, _find, self._directory, name)
        if file is None:
            raise RequestRefused(404, "no such image")
        return respond(request, file, self._executor)


class ImageFile(msgspec.Struct, frozen=True):
    """A file as it was when it was found; every read checks that it still is that file, unchanged."""

    path: Path
    device: int
    inode: int
    size: int
    mtime_ns: int

    @property
    def etag(self) -> str:
        """A strong validator: size and time of change.

        Not a hash, which would cost reading each image whole: an image is a build that is put there once, and two
        builds of one size within one tick of the file system's clock do not happen by accident. Without the inode,
        so that gateways which serve copies with kept times (``rsync -a``) give the same one.
        """
        return f'"{self.size:x}-{self.mtime_ns:x}"'

    def read(self, offset: int, size: int) -> bytes:
        """Read from the file; blocks.

        The file is opened for each read: nothing is held while a slow device takes its time, so nothing can leak.

        Raises:
            ImageChanged: it is no longer what was found.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                if _stamp(os.fstat(file.fileno())) != (self.device, self.inode, self.size, self.mtime_ns):
                    raise ImageChanged(f"{self.path.name} was replaced or changed while it was being sent")
                return os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise ImageChanged(f"{self.path.name} cannot be read any more: {error.strerror}") from error


def respond(request: Request, file: ImageFile, executor: Executor | None = None) -> Response:
    """Decide what of a file a request gets (RFC 9110 sections 13.2.2 and 14.2)."""
    headers = {"ETag": file.etag, "Accept-Ranges": "bytes"}
    if _names(request.headers.get("if-none-match", ""), file.etag):
        return Response(304, headers=headers)
    headers["Content-Type"] = "application/octet-stream"
    part = None
    if request.method == "GET" and request.headers.get("if-range", file.etag) == file.etag:
        part = byte_range(request.headers.get("range", ""), file.size)
    if part is None:
        return Response(200, _stream(file, 0, file.size - 1, executor), headers)
    first, last = part
    if first > last:
        raise RequestRefused(416, "no such range", {"Content-Range": f"bytes */{file.size}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
    return Response(206, _stream(file, first, last, executor), headers)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Read a Range header for a file of ``size`` bytes.

    Returns:
        The first and the last byte; first > last where no byte of the file is asked for (416); None where the whole
        file is the answer: no range, another unit, a broken one, or several (which the standard lets us ignore).
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or max(len(match[1]), len(match[2])) > _RANGE_DIGITS:
        return None
    if match[1] == "":
        return (max(size - int(match[2]), 0), size - 1) if match[2] else None
    first = int(match[1])
    if match[2] == "":
        return first, size - 1
    last = int(match[2])
    return (first, min(last, size - 1)) if first <= last else None


def _names(header: str, etag: str) -> bool:
    """Whether an If-None-Match header names an entity tag, compared weakly, as the standard asks for here."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in tags or "*" in tags


def _stream(file: ImageFile, first: int, last: int, executor: Executor | None) -> Stream:
    return Stream(last + 1 - first, lambda: _chunks(file, first, last, executor))


async def _chunks(file: ImageFile, first: int, last: int, executor: Executor | None) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    while first <= last:
        chunk = await loop.run_in_executor(executor, file.read, first, min(CHUNK_BYTES, last + 1 - first))
        if not chunk:
            raise ImageChanged(f"{file.path.name} became shorter while it was being sent")
        first += len(chunk)
        yield chunk


# --- in the executor ----------------------------------------------------------------------------------------------


def _newest(directory: Path, board: str) -> Image | None:
    newest: tuple[Version, Image] | None = None
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError:
        return None
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None or match[1] != board:
            continue
        version = numeric_version(match[2])
        if version is not None and (newest is None or version > newest[0]):
            file = _find(directory, name)
            if file is not None and file.size:  # the firmware gives up on an empty one, at each boot anew
                newest = version, Image(name, match[2])
    return newest[1] if newest else None


def _find(directory: Path, name: str) -> ImageFile | None:
    """Look up an image by its name; None unless it is a plain file whose real place is inside the directory."""
    if len(name) > NAME_CHARACTERS or not _NAME.fullmatch(name):
        return None
    try:
        root = directory.resolve(strict=True)
        path = (root / name).resolve(strict=True)
        status = path.stat()
    except OSError:
        return None
    if not path.is_relative_to(root) or not path.is_file():
        return None
    return ImageFile(path, *_stamp(status))


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
