"""Prints what devices and the gateway say to each other, as an exchange that people can read."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from websockets.frames import Close, Opcode

from gateway.errors import BadMessage
from gateway.identity import printable
from gateway.protocol.decoding import decode_object
from gateway.protocol.messages import encode
from harness.records import FramePassed, Happened

PIPE_COLUMNS = 160
"""Width of lines where no terminal says how wide it is, nor ``COLUMNS``."""
_LEAST = 24  # columns for what was said, however narrow the terminal
_OTHER_END = "gateway"
_LEFT_OUT = ",...}"
_SAY_LITTLE = ("targetsCount", "elapsedMs", "summary", "ts", "version", "transport")

_BOLD, _UP, _DOWN, _DIM = "1", "36", "32", "2"


class Exchange:
    """Prints sentences and, below them, frames: when, from whom to whom, and what; in columns.

    Colours are used on a terminal, unless ``NO_COLOR`` is set or the terminal is a dumb one. When whoever reads has
    gone away, nothing more is printed, and nothing is raised.

    Args:
        out: where to.
        names: of the devices; all of them stand in a column.
        began: loop time from which offsets are counted.
    """

    def __init__(self, out: TextIO, names: Sequence[str], began: float) -> None:
        self._out = out
        self._began = began
        self._width = shutil.get_terminal_size((PIPE_COLUMNS, 0)).columns
        self._name_width = max(map(len, [*names, _OTHER_END]))
        self._in_colour = _wants_colour(out)

    def say(self, text: str) -> None:
        """Print a paragraph, broken to the width."""
        self._print(textwrap.fill(text, self._width, break_long_words=False, break_on_hyphens=False))

    def line(self, text: str = "") -> None:
        """Print a line as it is."""
        self._print(text)

    def step(self, number: int, text: str) -> None:
        """Print the sentence that stands before a step."""
        filled = textwrap.fill(text, self._width, initial_indent=f"{number}. ", subsequent_indent="   ")
        self._print("\n" + self._colour(_BOLD, filled))

    def record(self, record: FramePassed | Happened) -> None:
        """Print one frame, or what a device did without one on purpose; fits ``watch`` of a fake device."""
        if isinstance(record, FramePassed):
            self._row(record.at, record.device, record.sent, lambda room: said_in(record, room))
        elif record.fault:
            self._row(record.at, record.device, True, lambda room: _cut(f"<{record.what}>", room))

    def _row(self, at: float, name: str, sent: bool, said: Callable[[int], str]) -> None:
        source, target = (name, _OTHER_END) if sent else (_OTHER_END, name)
        when = f"{at - self._began:7.3f}"
        who = f"{source:<{self._name_width}} -> {target:<{self._name_width}}"
        room = max(_LEAST, self._width - len(when) - len(who) - 4)
        what = self._colour(_UP if sent else _DOWN, f"{who}  {said(room)}")
        self._print(f"{self._colour(_DIM, when)}  {what}")

    def _colour(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._in_colour else text

    def _print(self, text: str) -> None:
        encoding = self._out.encoding or "utf-8"
        try:
            self._out.write(text.encode(encoding, "replace").decode(encoding) + "\n")
            self._out.flush()
        except BrokenPipeError:
            # so that neither the next line nor the interpreter's last flush fails again
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())


def said_in(frame: FramePassed, width: int) -> str:
    """Say in ``width`` characters what a frame says: its JSON, abbreviated, or what it is."""
    if frame.opcode is Opcode.TEXT:
        return abbreviated(frame.payload, width)
    if frame.opcode is Opcode.CLOSE:
        close = Close.parse(frame.payload)
        return _cut(f"<close {int(close.code)} {close.reason}>", width)
    kind = "audio" if frame.opcode is Opcode.BINARY else frame.opcode.name.lower()
    return _cut(f"<{kind}, {len(frame.payload)} bytes>", width)


def abbreviated(payload: bytes, width: int) -> str:
    """Fit a text message into ``width`` characters.

    First members that say little are left out, then objects become ``{...}``, the longest first, then the end is cut.
    """
    text = payload.decode("utf-8", "replace")
    if len(text) <= width:
        return _cut(text, width)
    try:
        parts = {key: encode(value).decode() for key, value in decode_object(payload).items()}
    except BadMessage:
        return _cut(text, width)
    for key in filter(parts.__contains__, _SAY_LITTLE):
        if len(text) > width:
            del parts[key]
            text = _joined(parts, left_out=True)
    left_out = text.endswith(_LEFT_OUT)
    while len(text) > width and (objects := [key for key, part in parts.items() if part.startswith('{"')]):
        parts[max(objects, key=lambda key: len(parts[key]))] = "{...}"
        text = _joined(parts, left_out=left_out)
    return _cut(text, width)


def _joined(parts: Mapping[str, str], *, left_out: bool) -> str:
    return "{" + ",".join(f'"{key}":{part}' for key, part in parts.items()) + (_LEFT_OUT if left_out else "}")


def _cut(text: str, width: int) -> str:
    shown = printable(text, 10 * len(text) + 1)  # an escape has ten characters at most; cutting is done here
    return shown if len(shown) <= width else shown[: width - 3] + "..."


def _wants_colour(out: TextIO) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
