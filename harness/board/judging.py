"""Whose fault it is that a board does not come up: read off what its console said. Pure.

The texts are those that the ROMs, ESP-IDF and xiaozhi firmware print. What is not known here is the firmware's fault:
it was to come up, and did not say why it could not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gateway.identity import printable
from harness.board.console_lines import Line
from harness.board.errors import Verdict
from harness.board.resets import Reset, read_reset

LOOP = 3
"""Starts of a chip within one boot that make a loop: a power supply may take two to settle."""
GARBLED = 0.5
"""Share of lines with bytes that are no text, from which on the baud rate is not that of the board."""

APPLICATION = re.compile(
    r"^[EWIDV] \(\d+\) (?!(?:boot(?:\.\w+)?|bootloader\w*|esp_image|qio_mode|flash_parts|efuse|virtual):)[\w.\- ]+: "
)
"""A log line of an application, and not of the second-stage boot loader, whose tags are these, nor of the one line
where a virtual board says that it is one."""
ADDRESS = re.compile(r"(?:Got IP|sta ip): ?\d")
"""The board has an address in its network."""


class Judgement(NamedTuple):
    """Whose fault it is, and what happened."""

    verdict: Verdict
    why: str


# What explains why a board is not online. The last one that was printed counts: firmware tries again, and what it
# failed at last is what it cannot do.
_EXPLANATIONS: tuple[tuple[str, Verdict, str], ...] = (
    (r"Brownout detector was triggered", "rig", "its supply is too weak: a brown-out"),
    (r"No AP found", "network", "it does not find the access point"),
    (r"WiFi connection timeout", "network", "it could not join the Wi-Fi in time"),
    (r"WiFi disconnected,? reason: ?\d+|wifi:.*\breason: ?\d+", "network", "it could not join the Wi-Fi"),
    (r"[Cc]onfig mode entered", "network", "it waits for somebody to set up its Wi-Fi"),
    (r"Failed to open HTTP connection", "gateway", "it gets no connection to the OTA endpoint"),
    (r"Failed to check version, status code", "gateway", "the OTA endpoint refused it"),
    (r"Failed to parse JSON response", "gateway", "the OTA endpoint's answer is no JSON"),
    (r"No websocket section found", "gateway", "the OTA endpoint does not tell where the WebSocket is"),
    (r"WebSocket handshake failed", "gateway", "the gateway refused the WebSocket"),
    (r"Failed to connect to websocket server", "gateway", "it gets no connection to the WebSocket"),
    (r"Failed to receive server hello", "gateway", "the gateway did not answer its hello"),
    (r"Failed to send .*hello", "gateway", "the connection ended before its hello"),
)


def starts(lines: Sequence[Line]) -> list[Reset]:
    """Return what the ROM said of each start of the chip."""
    return [reset for line in lines if line.kind == "said" and (reset := read_reset(line.text, line.at))]


def application_runs(line: Line) -> bool:
    """Whether a line shows that an application has started."""
    return line.kind == "said" and APPLICATION.match(line.text) is not None


def judge(lines: Sequence[Line], *, online: bool) -> Judgement:
    """Say whose fault it is that a board did not boot, or has not come ``online``.

    Args:
        lines: of its console, since it was reset.
        online: it was to come online; else only to start an application.
    """
    said = [line for line in lines if line.kind == "said"]
    begun = starts(said)
    if (rig := _rig(lines, said, begun)) is not None:
        return rig
    if len(begun) >= LOOP:
        causes = ", ".join(dict.fromkeys(start.cause for start in begun[1:]))
        return Judgement("firmware", f"it starts again and again: {len(begun)} times, reset by {causes}")
    return _explained(said) if online else Judgement("firmware", "its application did not start")


def _rig(lines: Sequence[Line], said: Sequence[Line], begun: Sequence[Reset]) -> Judgement | None:
    away = next((line.text for line in lines if line.kind == "gap" and not line.text.startswith("back")), "")
    garbled = sum("\\x" in line.text for line in said)
    why = ""
    if away:
        why = f"its console was not there all the time ({away})"
    elif not any(line.text for line in said):
        why = "it said nothing after a reset; is it powered, and is its console at this port?"
    elif not begun and garbled > GARBLED * len(said):
        why = "what it says is garbled; is its console at this baud rate?"
    elif any(start.kind == "brown_out" for start in begun):
        why = "its supply is too weak: it was reset by its brown-out detector"
    elif begun and begun[-1].to_download_mode:
        why = "it waits in its boot loader: IO0 was low at reset"
    return Judgement("rig", why) if why else None


def _explained(said: Sequence[Line]) -> Judgement:
    for line in reversed(said):
        for pattern, verdict, why in _EXPLANATIONS:
            if re.search(pattern, line.text):
                return Judgement(verdict, f"{why} ({printable(line.text)})")
        if ADDRESS.search(line.text):
            return Judgement("firmware", "it has an address in the network, and does not say why it is not online")
    return Judgement("firmware", "it has no address in the network, and does not say why")
