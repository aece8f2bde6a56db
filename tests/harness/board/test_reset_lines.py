"""EN and IO0 through DTR and RTS: what each call does to the lines, and where it cannot be done."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from harness.board.errors import BadSequence, NoLines
from harness.board.reset_lines import ResetLines


class Port:
    """A port that notes how its lines are moved."""

    def __init__(self, *, has_lines: bool = True, plays_resets: bool = False) -> None:
        self.has_lines = has_lines
        self.plays_resets = plays_resets
        self.moves: list[str] = []

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Note both: a low EN or IO0 by its name."""
        self.moves.append({(0, 1): "EN", (1, 0): "IO0", (1, 1): "both", (0, 0): "run"}[int(dtr), int(rts)])

    def wait(self, seconds: float) -> None:
        """Note it."""
        self.moves.append(f"{seconds:g} s")


def lines(port: Port, reset: str = "classic") -> ResetLines:
    """The lines of a board with this port."""
    return ResetLines("bench-1", port, reset, port.wait)


@pytest.mark.parametrize(
    ("reset", "act", "moves"),
    [
        ("classic", ResetLines.reset, ["EN", "0.1 s", "run"]),
        ("usb", ResetLines.reset, ["EN", "0.2 s", "run", "0.2 s"]),
        ("custom:D1|W2|D0", ResetLines.reset, ["EN", "0.1 s", "run"]),
        ("classic", ResetLines.enter_download, ["EN", "0.1 s", "IO0", "0.05 s", "run"]),
        ("usb", ResetLines.enter_download, ["run", "0.1 s", "IO0", "0.1 s", "both", "EN", "0.1 s", "run"]),
        ("custom:D1|W2|D0", ResetLines.enter_download, ["IO0", "2 s", "run"]),
        ("classic", ResetLines.click_boot, ["IO0", "0.1 s", "run"]),
        ("classic", lambda lines: lines.click_boot(1.5), ["IO0", "1.5 s", "run"]),
        ("classic", lambda lines: (lines.hold_en(True), lines.hold_en(False)), ["EN", "run"]),
        ("classic", lambda lines: lines.play("R1|D1|D0"), ["EN", "both", "EN"]),
    ],
)
def test_moves(reset: str, act: Callable[[ResetLines], object], moves: list[str]):
    """Each call moves the lines as it says."""
    port = Port()
    act(lines(port, reset))
    assert port.moves == moves


@pytest.mark.parametrize(
    ("port", "reset", "can_reset", "can_click"),
    [
        (Port(), "classic", True, True),
        (Port(), "custom:D1|D0", True, True),
        (Port(), "usb", True, False),
        (Port(plays_resets=True), "classic", True, False),
        (Port(has_lines=False), "classic", False, False),
        (Port(), "none", False, False),
    ],
)
def test_what_can_be_done(port: Port, reset: str, can_reset: bool, can_click: bool):
    """What the port or the wiring does not allow is refused, and nothing is moved."""
    board = lines(port, reset)
    assert (board.can_reset, board.can_click) == (can_reset, can_click)
    for possible, act in (
        (can_reset, board.reset),
        (can_reset, board.enter_download),
        (can_reset and not port.plays_resets, lambda: board.hold_en(True)),
        (can_click, board.click_boot),
    ):
        port.moves.clear()
        if possible:
            act()
            assert port.moves
        else:
            with pytest.raises(NoLines, match=r"expected bench-1 to .* through DTR and RTS"):
                act()
            assert not port.moves


def test_bad_sequence_moves_nothing():
    """A sequence with a bad step at its end is refused before its first one."""
    port = Port()
    with pytest.raises(BadSequence):
        lines(port).play("R1|what")
    assert not port.moves


def test_one_at_a_time():
    """Two threads' sequences do not mix."""
    port = Port()
    board = ResetLines("bench-1", port, wait=lambda seconds: threading.Event().wait(0.005))
    threads = [threading.Thread(target=board.reset) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert port.moves == ["EN", "run"] * 4
