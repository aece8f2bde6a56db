"""What a board may have that a test may need, in words that a bench file and a test share."""

from __future__ import annotations

import difflib
import re

from harness.bench.bench_file import BoardConfig

CAPABILITIES: dict[str, str] = {
    "boot_log": "its console shows every line from the ROM's first on: a UART bridge, not the chip's own USB",
    "wifi": "it can join the access point of the bench",
    "test_console": "its firmware takes orders on the console, as the firmware for tests does",
    "boot_button": "the harness can press BOOT (IO0)",
    "power": "its supply can be switched; had by every board whose `power.kind` is not `none`",
    "reset": "it can be reset by its lines; had by every board whose console has DTR and RTS",
    "psram:8M": "so much PSRAM, in MiB; a board with more has it, too",
    "flash:16M": "so much flash, in MiB; a board with more has it, too",
    "x-…": "anything of your own, such as `x-relay`",
}
"""Each with its meaning; sizes by example."""

_WORDS = frozenset(name for name in CAPABILITIES if name.isidentifier())
_SIZE = re.compile(r"(psram|flash):([1-9]\d{0,3})M")
_OWN = re.compile(r"x-[a-z0-9][a-z0-9_-]{0,30}")


def is_capability(text: str) -> bool:
    """Tell whether a text is of the vocabulary."""
    return text in _WORDS or bool(_SIZE.fullmatch(text) or _OWN.fullmatch(text))


def meant(text: str) -> str | None:
    """Guess which capability one that is not known was meant to be."""
    close = difflib.get_close_matches(text, [*_WORDS, "psram:8M", "flash:16M"], n=1)
    return close[0] if close else None


def of_board(board: BoardConfig) -> tuple[str, ...]:
    """Return what a board has: what its file says, and what follows from its supply and its lines; no word twice."""
    found = list(board.caps)
    if board.power.kind != "none":
        found.append("power")
    if board.console.has_lines:
        found.append("reset")
    return tuple(dict.fromkeys(found))


def has(board: BoardConfig, wanted: str) -> bool:
    """Tell whether a board has a capability; of a size, so much or more."""
    size = _SIZE.fullmatch(wanted)
    if not size:
        return wanted in of_board(board)
    return any(
        own[1] == size[1] and int(own[2]) >= int(size[2]) for own in map(_SIZE.fullmatch, of_board(board)) if own
    )
