"""The chip as what runs on it has it, and that it has nothing any more after its end."""

from __future__ import annotations

import threading

import pytest

from harness.firmware.chips import CHIPS
from harness.virtual.flash import SECTOR, NorFlash
from harness.virtual.life import Life


class Surroundings:
    """What came out of a life."""

    def __init__(self) -> None:
        self.sent, self.resets, self.cuts = [], [], []
        self.flash = NorFlash(1 << 20)
        self.life = Life(
            CHIPS["esp32"],
            b"\x02SE\x01\x02\x03",
            self.flash,
            send=self.sent.append,
            restart=self.resets.append,
            power_cut=lambda: self.cuts.append(True),
        )


@pytest.fixture
def around():
    """A life and its surroundings."""
    return Surroundings()


def test_it_has_everything(around):
    """UART, flash and the reset are there."""
    around.life.flash.program(0, b"abc")
    around.life.uart_send(b"hello")
    assert around.life.flash.read(0, 4) == b"abc\xff"
    around.life.flash.erase(0, SECTOR)
    around.life.restart("software")

    assert around.flash.read(0, 3) == b"\xff\xff\xff"
    assert around.life.flash.size == 1 << 20
    assert around.sent == [b"hello"]
    assert around.resets == ["software"]


@pytest.mark.parametrize("how", ["end", "restart"])
def test_nothing_after_its_end(around, how):
    """Whether it was ended or asked for a reset itself."""
    if how == "end":
        around.life.end()
    else:
        around.life.restart("panic")
    around.life.uart_send(b"last words")
    around.life.restart("software")
    around.life.flash.program(0, b"\0")
    around.life.flash.erase(0, SECTOR)

    assert around.sent == []
    assert around.resets == ([] if how == "end" else ["panic"])
    assert around.flash.read(0, 1) == b"\xff"


def test_power_cut_is_its_end(around):
    """The write returns as usual; a prefix is written, and nothing is sent any more."""
    around.flash.cut_after(2)
    around.life.flash.program(0, b"abcd")
    around.life.uart_send(b"last words")
    around.life.flash.program(2, b"cd")

    assert around.cuts == [True]
    assert around.flash.read(0, 4) == b"ab\xff\xff"
    assert around.sent == []


def test_errors_of_its_own(around):
    """What it does wrong is told to it."""
    with pytest.raises(ValueError, match="whole sectors"):
        around.life.flash.erase(1, 1)


def test_end_waits_for_what_is_being_sent(around):
    """When `end` has returned, nothing is on its way any more."""
    inside, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def send(_):
        inside.set()
        assert go_on.wait(5)
        around.sent.append(ended.is_set())

    life = Life(CHIPS["esp32"], bytes(6), around.flash, send=send, restart=print, power_cut=print)
    sender = threading.Thread(target=life.uart_send, args=(b"x",))
    sender.start()
    assert inside.wait(5)
    ender = threading.Thread(target=lambda: (life.end(), ended.set()))
    ender.start()
    assert not ended.wait(0.05)
    go_on.set()
    sender.join(5)
    ender.join(5)

    assert around.sent == [False]
    assert ended.is_set()
