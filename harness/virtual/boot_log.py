"""Writes what running code says on the UART: plain lines, and ESP-IDF's log lines with the milliseconds since reset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["E", "W", "I"]

LINE_END = b"\r\n"


class BootLog:
    """The log of one run; any thread may write whole lines.

    Args:
        send: puts bytes on the UART.
        began: `time.monotonic()` when the chip left reset; now, if it is left out.
    """

    def __init__(self, send: Callable[[bytes], None], began: float | None = None) -> None:
        self.began = time.monotonic() if began is None else began
        self._send = send

    def line(self, text: str) -> None:
        """Write a line as it is."""
        self._send(text.encode() + LINE_END)

    def lines(self, texts: Iterable[str]) -> None:
        """Write lines as they are, in one piece."""
        self._send(b"".join(text.encode() + LINE_END for text in texts))

    def __call__(self, level: Level, tag: str, text: str) -> None:
        """Write a log line: ``I (24) boot: text``."""
        self.line(formatted(level, self.milliseconds, tag, text))

    @property
    def milliseconds(self) -> int:
        """Since the chip left reset."""
        return round((time.monotonic() - self.began) * 1000)


def formatted(level: Level, milliseconds: int, tag: str, text: str) -> str:
    """Return a log line in ESP-IDF's format without colours (``CONFIG_LOG_COLORS`` is off by default since 5.5)."""
    return f"{level} ({milliseconds}) {tag}: {text}"
