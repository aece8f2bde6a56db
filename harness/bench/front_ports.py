"""Which ports a board was told last: with the same ones again, its settings need not be written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from harness.bench.errors import HistoryFailed

Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class FrontPorts(msgspec.Struct, frozen=True):
    """The ports of a front; 0: any that is free."""

    websocket: Port = 0
    http: Port = 0


def remembered(directory: Path, board: str) -> FrontPorts:
    """Return the ports that a board was told last; none if nothing is known, or what is known cannot be read."""
    try:
        return msgspec.json.decode(_file(directory, board).read_bytes(), type=FrontPorts)
    except (OSError, msgspec.DecodeError):
        return FrontPorts()  # it costs writing 16 KiB


def remember(directory: Path, board: str, ports: FrontPorts) -> None:
    """Keep the ports that a board is told; replaced as a whole, so that a crash leaves the old or the new ones.

    Raises:
        HistoryFailed: the file cannot be written.
    """
    file = _file(directory, board)
    new = file.with_suffix(".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(msgspec.json.encode(ports))
        new.replace(file)
    except OSError as error:
        raise HistoryFailed(file, error) from error


def _file(directory: Path, board: str) -> Path:
    return directory / f"{board}.front.json"
