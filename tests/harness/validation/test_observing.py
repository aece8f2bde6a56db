"""What is seen of a board while it lives."""

import threading
import time

import pytest
from websockets.frames import Opcode

from harness.board.console_lines import Line
from harness.records import WireClosed, WireFrame
from harness.validation.observing import NotBack, Observation, says_wifi_lost

HELLO = b'{"type":"hello"}'


class Board:
    """A held board, its console, the front and its thread, all in one."""

    def __init__(self):
        self.mac = "02:00:00:00:00:01"
        self.console = self
        self.said = []
        self.position = 0

    def lines(self, since=0):
        """What it has said."""
        return tuple(self.said[since:])

    def on_crash(self, tell):
        """It never does."""
        return lambda: None

    def attend(self, _, attention):
        """Show what passes."""
        self.pass_on = attention
        return lambda: None

    def call(self, work):
        """Run it here."""
        return work()

    def says(self, text, at=0.0, kind="said"):
        """Say a line."""
        self.said.append(Line(len(self.said), at, kind, text))


@pytest.fixture
def board():
    """One that has said nothing."""
    return Board()


@pytest.fixture
def seen(board):
    """What is seen of it."""
    with Observation(board, board, board) as observation:
        yield observation


def frame(at, connection=1, sent=True, payload=HELLO, opcode=Opcode.TEXT):
    """A frame of its."""
    return WireFrame(at, connection, sent, opcode, payload)


def test_greeted(board, seen):
    """A hello and its answer, on one connection, from a moment on."""
    for record in (
        *(frame(1), frame(2, sent=False), frame(3), frame(3.5, connection=2, sent=False)),
        *(frame(3.6, payload=b"{"), frame(4, sent=False), frame(5, sent=False)),
    ):
        board.pass_on(record)

    assert seen.greeted(0) == (1, 2)
    assert seen.greeted(1.5) == (3, 4)
    assert seen.greeted(3.55) is None


def test_await_greeted(board, seen):
    """It is noticed when it happens; what does not is told with what was waited for."""
    now = time.monotonic()
    timer = threading.Timer(0.05, lambda: [board.pass_on(frame(now + 1)), board.pass_on(frame(now + 2, sent=False))])
    timer.start()

    assert seen.await_greeted(now, 5.0, "it").answered == now + 2
    timer.join()
    with pytest.raises(NotBack, match="the board to be back"):
        seen.await_greeted(now + 5, 0.01, "the board to be back")


def test_ends(board, seen):
    """Of connections, from a moment on."""
    board.pass_on(WireClosed(1, 1, "FIN"))
    board.pass_on(WireClosed(2, 2, "RST"))

    assert [end.why for end in seen.ends(1.5)] == ["RST"]


def test_starts_and_address(board, seen):
    """As the ROM and the firmware tell."""
    board.says("rst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)", 1.0)
    board.says("I (815) esp_netif_handlers: sta ip: 10.0.0.7, mask: 255.255.255.0", 2.0)
    board.says("rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)", 3.0)

    assert [start.kind for start in seen.starts()] == ["power_on", "software"]
    assert seen.address_at(0) == 2.0
    assert seen.address_at(2) is None


def test_wifi_losses(board, seen):
    """What was said while somebody had taken the network away is no news, nor what was only noted."""
    seen.network_is_away(5.0)
    board.says("I (1) WifiStation: WiFi disconnected, reason: 200", time.monotonic())
    seen.network_is_back()
    board.says("I (1) WifiStation: WiFi disconnected, reason: 200", time.monotonic(), kind="note")
    assert seen.wifi_losses() == []
    board.says("I (1) WifiStation: WiFi disconnected, reason: 201", time.monotonic() + 1)
    assert [line.text[-3:] for line in seen.wifi_losses()] == ["201"]


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("I (9) WifiStation: WiFi disconnected, reason: 200", True),
        ("I (9) wifi:state: run -> init, reason: 2", True),
        ("I (9) WifiStation: No AP found, next scan in 4 seconds", True),
        ("I (9) WifiStation: WiFi disconnected, reason: 8", False),
        ("I (9) WifiStation: Got IP: 10.0.0.7", False),
    ],
)
def test_says_wifi_lost(text, lost):
    """Reason 8 is the board's own wish."""
    assert says_wifi_lost(text) is lost
