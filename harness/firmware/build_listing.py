"""What the layouts of build folders have in common: files are read once, with limits, and each fault names its file."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from harness.errors import Misuse
from harness.firmware.chips import Chip, chip_named
from harness.firmware.errors import BadBuild

T = TypeVar("T")

TEXT_BYTES = 4 << 20
"""Of a file with a build's description; the largest real ones (project_description.json) have some 200 KB."""
BINARY_BYTES = 128 << 20
"""Of one file to flash: the largest flash there is for these chips."""

Layout: TypeAlias = Literal["esp-idf", "platformio", "arduino", "merged"]


class Piece(NamedTuple):
    """Something that goes on the flash.

    Attributes:
        offset: where to, in bytes.
        name: the file's, or what it is called in a merged image.
        data: its bytes.
        path: the file; None: a piece of a merged image.
    """

    offset: int
    name: str
    data: bytes
    path: Path | None = None


class Listing(msgspec.Struct, frozen=True):
    """What a layout says: which file goes where.

    Attributes:
        layout: which one.
        path: of the build: its folder, or the file of a merged image.
        source: the file that says so; what is wrong with the list is wrong with it.
        files: offset and file, in any order.
        application: offset of the application.
        chip: that it is for; None: only the images say so.
        flash_size: in bytes; None: only the images say so.
        elf: of the application; None: there is none.
    """

    layout: Layout
    path: Path
    source: Path
    files: tuple[tuple[int, Path], ...]
    application: int
    chip: Chip | None = None
    flash_size: int | None = None
    elf: Path | None = None


def read_description(path: Path, kind: type[T]) -> T:
    """Read a JSON file into a type; members the type does not have are ignored.

    Raises:
        BadBuild: it cannot be read, is not JSON, or lacks what the type has.
    """
    try:
        return msgspec.json.decode(read_limited(path, TEXT_BYTES), type=kind)
    except msgspec.ValidationError as wrong:
        raise BadBuild(path, f"{wrong}; is it of a finished build?") from None
    except (msgspec.DecodeError, RecursionError) as wrong:
        raise BadBuild(path, f"expected JSON: {wrong}") from None


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        BadBuild: it cannot be read, or is not UTF-8.
    """
    try:
        return read_limited(path, TEXT_BYTES).decode()
    except UnicodeDecodeError as wrong:
        raise BadBuild(path, f"expected text in UTF-8: {wrong.reason} at byte {wrong.start}") from None


def read_limited(path: Path, limit: int = BINARY_BYTES) -> bytes:
    """Read a file.

    Raises:
        BadBuild: it is not there, cannot be read, or is longer than ``limit`` bytes.
    """
    try:
        if not path.exists():
            raise BadBuild(path, "expected a file, there is none; build again")
        if not path.is_file():  # a pipe would keep us waiting
            raise BadBuild(path, "expected a file, it is something else")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as refused:
        raise BadBuild(path, f"cannot be read: {refused.strerror}") from None
    if len(data) > limit:
        raise BadBuild(path, f"expected at most {limit} bytes, there are more")
    return data


def offset_of(text: str, source: Path, what: str) -> int:
    """Read an offset, decimal or ``0x``.

    Raises:
        BadBuild: it is none.
    """
    try:
        offset = int(text, 0)
    except ValueError:
        raise BadBuild(source, f"expected the offset of {what} in flash, got {text!r}") from None
    if not 0 <= offset < BINARY_BYTES:
        raise BadBuild(source, f"expected the offset of {what} within {BINARY_BYTES:#x} bytes, got {text!r}")
    return offset


def flash_size_of(text: str, source: Path) -> int | None:
    """Read a flash size as esptool spells it, for example ``4MB``; None: ``detect`` or ``keep``.

    Raises:
        BadBuild: it is none.
    """
    if text in {"detect", "keep"}:
        return None
    match = re.fullmatch(r"(\d{1,4})(MB|KB)", text)
    if match is None:
        raise BadBuild(source, f"expected a flash size like 4MB, got {text!r}")
    return int(match[1]) << (20 if match[2] == "MB" else 10)


def chip_of(name: str, source: Path) -> Chip | None:
    """Return the chip with this name; None: ``auto``.

    Raises:
        BadBuild: it is not a supported one.
    """
    if name == "auto":
        return None
    try:
        return chip_named(name)
    except Misuse as unknown:
        raise BadBuild(source, f"the chip: {unknown}") from None


def beside(folder: Path, path: str) -> Path:
    """Return where a listed file is: below the folder, or under its name in it where the build was moved there."""
    listed = folder / path
    moved = folder / Path(path.replace("\\", "/")).name
    return moved if not os.path.lexists(listed) and os.path.lexists(moved) else listed  # false, too, for no name at all
