"""The board: supply, buttons, lines, faults, and what each of them does to what runs."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest

from harness.errors import Misuse
from harness.virtual import events
from harness.virtual.board import VirtualBoard
from harness.virtual.events import Recorder
from harness.virtual.flash import SECTOR
from harness.virtual.serial_protocol import Op, command_frame
from harness.virtual.slip import SlipDecoder
from tests.harness.virtual.idle import Boots
from tests.harness.virtual.loader_host import words

SYNC = command_frame(Op.SYNC, b"\x07\x07\x12\x20" + b"\x55" * 32)
ATTACH = command_frame(Op.SPI_ATTACH, words(0, 0))


class Wire:
    """A port that keeps what it is given."""

    def __init__(self, baud: int | None = 115200) -> None:
        self.baud = baud
        self.got = bytearray()

    def deliver(self, data: bytes) -> None:
        """Keep it."""
        self.got += data

    def close(self) -> None:
        """Do nothing."""


class Bench:
    """A board, what it was started with, and what happened to it."""

    def __init__(self, chip: str = "esp32s3", **options) -> None:
        self.boots, self.seen, self.wire = Boots(), Recorder(), Wire()
        self.board = VirtualBoard(chip, boot=self.boots, watch=self.seen, **options)
        self.board._plugged(self.wire)

    def resets(self) -> list[tuple[str, bool]]:
        """Cause and mode of each reset so far."""
        return [(reset.cause, reset.download) for reset in self.seen.of(events.Reset)]

    def enter_download_mode(self) -> None:
        """Power on, with IO0 held low."""
        self.board.power_on(download=True)
        self.board.host_sent(SYNC + ATTACH, 115200)
        self.wire.got.clear()

    def answers(self) -> list[bytes]:
        """The frames that have come back, and forget them."""
        got = list(SlipDecoder().feed(bytes(self.wire.got)))
        self.wire.got.clear()
        return got


@pytest.fixture
def bench():
    """A bench that is cleared away."""
    made = Bench()
    with made.board:
        yield made


# --- supply -----------------------------------------------------------------------------------------------------


def test_power(bench):
    """It runs while it has power, and is silent without; both twice is once."""
    bench.board.host_sent(b"early", 115200)
    bench.board.power_on()
    bench.board.power_on()
    assert bench.board.powered
    bench.board.host_sent(b"abc", 115200)
    bench.board.power_off()
    bench.board.power_off()
    bench.board.host_sent(b"late", 115200)
    bench.boots.last.machine.uart_send(b"last words")

    assert bytes(bench.wire.got) == b"started: power_on\r\nabc"
    assert bench.boots.last.received == b"abc"
    assert bench.boots.last.stopped.is_set()
    assert not bench.board.powered
    assert [type(event).__name__ for event in bench.seen.of(object)] == ["PoweredOn", "Reset", "PoweredOff"]


def test_power_on_again(bench):
    """It is another life, and the flash is what it was."""
    bench.board.power_on()
    bench.boots.last.machine.flash.program(0, b"abc")
    bench.board.power_off()
    bench.board.power_on()

    assert len(bench.boots.lives) == 2
    assert bench.boots.last.machine.flash.read(0, 3) == b"abc"


def test_power_on_into_download_mode(bench):
    """With IO0 held low the ROM waits for a host, and says so at once."""
    bench.board.power_on(download=True)

    assert bench.wire.got.endswith(b"boot:0x0 (DOWNLOAD(USB/UART0))\r\nwaiting for download\r\n")
    assert bench.boots.lives == []
    bench.wire.got.clear()
    bench.board.host_sent(SYNC, 115200)
    assert len(bench.answers()) == 8


def test_power_on_while_in_reset(bench):
    """A host that holds EN low keeps it in reset until it lets go."""
    bench.board.set_lines(rts=True)
    bench.board.power_on()
    assert bench.resets() == []
    bench.board.set_lines(rts=False)

    assert bench.resets() == [("power_on", False)]


def test_brown_out(bench):
    """A reset with a cause of its own; without power it is nothing."""
    bench.board.brown_out()
    bench.board.power_on()
    bench.board.brown_out()

    assert bench.resets() == [("power_on", False), ("brown_out", False)]
    assert bench.boots.lives[0].stopped.is_set()
    assert [fault.what for fault in bench.seen.of(events.FaultStruck)] == ["brown-out"]


def test_power_cut_in_a_write_of_the_loader(bench):
    """At that very byte; there is no answer, and the board stays off until it is switched on."""
    bench.enter_download_mode()
    bench.board.host_sent(command_frame(Op.FLASH_BEGIN, words(8, 1, 8, 0, 0)), 115200)
    bench.answers()
    bench.board.cut_power_after(3)
    data = words(8, 0, 0, 0) + b"abcdefgh"
    total = 0xEF ^ 0x08  # the letters XORed
    bench.board.host_sent(command_frame(Op.FLASH_DATA, data, total), 115200)

    assert bench.answers() == []
    assert bench.board.flash.read(0, 8) == b"abc\xff\xff\xff\xff\xff"
    assert not bench.board.powered
    assert bench.seen.of(events.PoweredOff)[0].why == "power cut in a write"
    bench.board.power_on()
    assert bench.resets()[-1] == ("power_on", False)


def test_power_cut_in_a_write_of_what_runs(bench):
    """It is ended in the middle of it, without a word."""
    bench.board.power_on()
    bench.board.cut_power_after(3)
    bench.boots.last.machine.flash.program(0, b"abcd")
    bench.boots.last.machine.uart_send(b"last words")

    bench.seen.wait_for(events.PoweredOff)
    assert bench.boots.last.stopped.is_set()
    assert not bench.board.powered
    assert bench.board.flash.read(0, 4) == b"abc\xff"
    assert b"last words" not in bench.wire.got


# --- resets -----------------------------------------------------------------------------------------------------


def test_reset_button(bench):
    """Pressed, nothing runs; let go, it starts again."""
    bench.board.power_on()
    bench.board.press_reset(0.01)

    assert bench.resets() == [("power_on", False)] * 2
    assert bench.boots.lives[0].stopped.is_set()
    assert not bench.boots.last.stopped.is_set()


def test_boot_button_while_it_runs(bench):
    """What runs sees it, pressed and let go."""
    bench.board.power_on()
    bench.board.press_boot(0.01)

    assert bench.boots.last.buttons == [True, False]
    assert bench.resets() == [("power_on", False)]


def test_dtr_alone_is_the_boot_button(bench):
    """Hosts can press it so; with RTS, too, nothing is pulled."""
    bench.board.power_on()
    for lines in ({"dtr": True}, {"rts": True}, {"dtr": False, "rts": False}):
        bench.board.set_lines(**lines)

    assert bench.boots.last.buttons == [True, False]
    assert bench.resets() == [("power_on", False)]


def test_both_buttons(bench):
    """BOOT held while RESET is pressed: download mode."""
    bench.board.power_on()
    with bench.board.boot_held():
        bench.board.press_reset(0)

    assert bench.resets()[-1] == ("power_on", True)


def test_classic_reset_sequence(bench):
    """esptool's, line by line, into download mode and out of it."""
    bench.board.power_on()
    for lines in ({"dtr": False}, {"rts": True}, {"dtr": False}, {"dtr": True}, {"rts": False}, {"dtr": True}):
        bench.board.set_lines(**lines)
    assert bench.resets()[1:] == [("power_on", True)]

    bench.board.set_lines(dtr=False)
    bench.board.set_lines(rts=True)
    assert bench.resets()[1:] == [("power_on", True)]
    bench.board.set_lines(rts=False)
    assert bench.resets()[2:] == [("power_on", False)]


def test_both_lines_left_on(bench):
    """EN is held for a while, and then the chip runs."""
    bench.board.power_on()
    bench.seen.clear()
    bench.board.set_lines(rts=True)
    began = time.monotonic()
    bench.board.set_lines(dtr=True)

    assert bench.seen.wait_for(events.Reset).download is False
    assert time.monotonic() - began >= 0.6


def test_hold_does_not_outlive_its_reset(bench):
    """The chip that entered download mode stays there when the time of the hold is over."""
    bench.board.power_on()
    for lines in ({"rts": True}, {"dtr": True}, {"rts": False}):
        bench.board.set_lines(**lines)
    resets = bench.resets()
    time.sleep(0.7)  # the hold was for 0.6 s

    assert bench.resets() == resets


def test_restart_from_inside(bench):
    """What runs asks for it, is stopped by it, and the next one is told why."""
    bench.board.power_on()
    bench.seen.clear()
    bench.boots.last.machine.restart("panic")

    assert bench.seen.wait_for(events.Reset).cause == "panic"
    assert bench.boots.lives[0].stopped.is_set()


def test_restart_that_comes_too_late(bench):
    """Asked for by what a host resets meanwhile, it is no second reset."""
    bench.board.power_on()
    life = bench.boots.last
    with bench.board._lock:  # so that the restart cannot happen before the button
        life.machine.restart("software")
        bench.board.press_reset(0)
    bench.board.press_boot(0.1)

    assert bench.resets() == [("power_on", False)] * 2


def test_restart_without_power(bench):
    """A board that was switched off meanwhile stays off."""
    bench.board.power_on()
    life = bench.boots.last
    with bench.board._lock:
        life.machine.restart("software")
        bench.board.power_off()
    bench.board.press_boot(0.1)

    assert bench.resets() == [("power_on", False)]


def test_watchdog_reset(bench):
    """A host starts the RTC watchdog, with its key; it bites a moment later, into what is flashed."""
    config, protect = 0x60008098, 0x600080B0
    bench.enter_download_mode()
    bench.board.host_sent(command_frame(Op.WRITE_REG, words(config, 1 << 31, 0xFFFFFFFF, 0)), 115200)
    bench.board.host_sent(command_frame(Op.WRITE_REG, words(protect, 0x50D83AA1, 0xFFFFFFFF, 0)), 115200)
    assert bench.resets() == [("power_on", True)]
    bench.board.host_sent(command_frame(Op.WRITE_REG, words(config, 1 << 31, 0xFFFFFFFF, 0)), 115200)

    bench.seen.wait_for(events.Reset, 2)
    assert bench.resets()[-1] == ("rtc_watchdog", False)


@pytest.mark.parametrize(("chip", "strap", "value"), [("esp32", 0x3FF44038, 0x3), ("esp32c3", 0x60004038, 0x4)])
def test_strapping_pins(chip, strap, value):
    """Hosts read from their register that it is in download mode."""
    bench = Bench(chip)
    with bench.board:
        bench.enter_download_mode()
        bench.board.host_sent(command_frame(Op.READ_REG, words(strap)), 115200)
        ((frame),) = bench.answers()
    assert struct.unpack_from("<I", frame, 4)[0] == value


# --- UART -------------------------------------------------------------------------------------------------------


def test_baud_rate_is_found_and_changed(bench):
    """The ROM takes the host's rate over; after a change both ends have to follow; a reset ends it."""
    bench.board.power_on(download=True)
    bench.wire.baud = 460800
    bench.wire.got.clear()
    bench.board.host_sent(SYNC, 460800)
    assert len(bench.answers()) == 8

    bench.board.host_sent(command_frame(Op.CHANGE_BAUDRATE, words(921600, 0)), 460800)
    assert len(bench.answers()) == 1
    bench.board.host_sent(command_frame(Op.READ_REG, words(0)), 460800)
    assert bench.answers() == []
    bench.wire.baud = 921600
    bench.board.host_sent(command_frame(Op.READ_REG, words(0)), 921600)
    assert len(bench.answers()) == 1

    bench.board.press_reset(0)
    assert b"started" not in bench.wire.got
    bench.wire.baud = 115200
    bench.board.host_sent(b"abc", 115200)
    assert bench.boots.last.received == b"abc"
    assert bench.wire.got.endswith(b"abc")


def test_uart_divider(bench):
    """Hosts see the crystal's frequency in it, by the baud rate."""
    bench.enter_download_mode()
    bench.board.host_sent(command_frame(Op.READ_REG, words(0x60000014)), 115200)
    ((frame),) = bench.answers()

    assert struct.unpack_from("<I", frame, 4)[0] * 115200 == pytest.approx(40e6, rel=0.01)


def test_ports_with_rates_of_their_own(bench):
    """What one host reads well is garbled to another that has set another rate."""
    other = bench.board._plugged(Wire(9600))
    bench.board.power_on()

    assert bench.wire.got == b"started: power_on\r\n"
    assert len(other.got) == len(bench.wire.got)
    assert other.got != bench.wire.got


def test_what_comes_behind_a_reset_is_lost(bench):
    """In one piece with the command that resets, the rest of it is for nobody."""
    bench.enter_download_mode()
    begin = command_frame(Op.FLASH_BEGIN, words(0, 0, 0x400, 0, 0))
    bench.board.host_sent(begin + command_frame(Op.FLASH_END, words(0)) + SYNC + b"rest", 115200)

    assert bench.resets()[-1] == ("software", False)
    assert bench.boots.last.received == b""
    assert bench.wire.got.endswith(b"started: software\r\n")


def test_unknown_command(bench):
    """It is told who was asked for what: most likely a host that is newer than this board."""
    bench.enter_download_mode()
    bench.board.host_sent(command_frame(0xEE), 115200)

    assert [(event.op, event.by_stub) for event in bench.seen.of(events.UnknownCommand)] == [(0xEE, False)]


def test_program_in_ram(bench):
    """It is started, and the chip is silent until the next reset."""
    bench.enter_download_mode()
    bench.board.host_sent(command_frame(Op.MEM_END, words(0, 0x40010000)), 115200)
    assert len(bench.answers()) == 1
    bench.board.host_sent(SYNC, 115200)
    assert bench.answers() == []
    assert [event.entry for event in bench.seen.of(events.RamAppStarted)] == [0x40010000]

    bench.board.press_reset(0)
    assert bench.resets()[-1] == ("power_on", False)


# --- faults -----------------------------------------------------------------------------------------------------


def test_dropped_command(bench):
    """It has no answer, the next one has; a reset does not take it back."""
    bench.board.drop_command(Op.READ_REG)
    bench.enter_download_mode()
    bench.board.host_sent(command_frame(Op.READ_REG, words(0)), 115200)
    assert bench.answers() == []
    bench.board.host_sent(command_frame(Op.READ_REG, words(0)), 115200)
    assert len(bench.answers()) == 1


def test_corrupted_command(bench):
    """Its checksum does not fit."""
    bench.enter_download_mode()
    bench.board.host_sent(command_frame(Op.MEM_BEGIN, words(4, 1, 4, 0x40010000)), 115200)
    bench.answers()
    bench.board.corrupt_command(Op.MEM_DATA)
    bench.board.host_sent(command_frame(Op.MEM_DATA, words(4, 0, 0, 0) + b"\0\0\0\0", 0xEF), 115200)
    ((frame),) = bench.answers()

    assert frame[8:] == b"\x01\x07\0\0"


def test_bit_rot(bench):
    """Nobody has written it."""
    bench.board.rot(0x100, 0x80)

    assert bench.board.flash.read(0x100, 1) == b"\x7f"
    assert bench.seen.of(events.FlashWritten) == []
    assert bench.seen.of(events.FaultStruck)[0].what == "bit rot at 0x100, mask 0x80"


def test_noise(bench):
    """Some bytes arrive wrong, both ways, until it ends."""
    bench.board.power_on()
    bench.board.noise(10, seed=1)
    bench.board.host_sent(b"\x55" * 1000, 115200)
    received = bytes(bench.boots.last.received)
    assert received != b"\x55" * 1000
    assert not bench.wire.got.endswith(received)
    bench.board.noise(0)
    bench.board.host_sent(b"abc", 115200)
    assert bench.wire.got.endswith(b"abc")


# --- what is told, and the end ----------------------------------------------------------------------------------


def test_flash_events(bench):
    """What is erased and written is told, whoever does it."""
    bench.board.power_on()
    bench.boots.last.machine.flash.erase(0, SECTOR)
    bench.boots.last.machine.flash.program(16, b"abc")

    assert [(event.address, event.size) for event in bench.seen.of(events.FlashErased)] == [(0, SECTOR)]
    assert [(event.address, event.size) for event in bench.seen.of(events.FlashWritten)] == [(16, 3)]


def test_metadata(bench):
    """It says what it is, and what of it is real."""
    assert bench.board.virtual
    assert bench.board.metadata == {
        "virtual": True,
        "chip": "esp32s3",
        "mac": bench.board.mac.hex(":"),
        "flash_size": 4 << 20,
        "real": ("serial protocol", "flash", "images", "NVS", "network"),
        "not_real": ("CPU", "radio", "timing"),
    }


def test_mac_by_chance():
    """It is a locally administered one, and another each time."""
    macs = {VirtualBoard("esp32", boot=Boots()).mac for _ in range(3)}

    assert len(macs) == 3
    assert {mac[0] for mac in macs} == {0x02}


@pytest.mark.parametrize("options", [{"mac": b"12345"}, {"flash_size": 3 << 20}])
def test_boards_that_cannot_be(options):
    """A MAC has six bytes, a flash one of its sizes."""
    with pytest.raises(Misuse, match="expected a"):
        VirtualBoard("esp32", boot=Boots(), **options)


def test_flash_file(tmp_path):
    """The flash is kept over the end of the board."""
    path = tmp_path / "flash.bin"
    with VirtualBoard("esp32", boot=Boots(), flash_file=path, flash_size=1 << 20) as board:
        board.flash.program(0, b"abc")
        board.save()
        assert path.stat().st_size == 1 << 20
        board.flash.program(3, b"def")
    with VirtualBoard("esp32", boot=Boots(), flash_file=path, flash_size=1 << 20) as board:
        assert board.flash.read(0, 6) == b"abcdef"


def test_close_leaves_nothing(bench):
    """No thread, no port, nothing that runs; twice is once, and it cannot be switched on again."""
    before = set(threading.enumerate())
    tcp, pty = bench.board.rfc2217(), bench.board.pty()
    bench.board.power_on()
    bench.boots.last.machine.restart("software")
    client = socket.create_connection((tcp.host, tcp.port), timeout=5)
    bench.seen.wait_for(events.ClientConnected)
    bench.board.close()
    bench.board.close()

    assert set(threading.enumerate()) <= before
    assert bench.boots.last.stopped.is_set()
    assert client.recv(1000)[-1:] in (b"", b"\n")
    client.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((tcp.host, tcp.port), timeout=5)
    with pytest.raises(Misuse, match="not closed"):
        bench.board.power_on()
    with pytest.raises(Misuse, match="not closed"):
        tcp.come_back()
    assert pty.baud is None


def test_a_port_that_does_not_close(bench, tmp_path, monkeypatch):
    """The others are closed, the threads ended and the flash saved all the same; what was wrong is told."""
    path = tmp_path / "flash.bin"
    board = VirtualBoard("esp32", boot=Boots(), flash_file=path, flash_size=1 << 20)
    tcp, raw = board.rfc2217(), board.raw_tcp()
    board.flash.program(0, b"abc")

    def fail() -> None:
        raise Misuse("it still runs")

    with monkeypatch.context() as broken:
        broken.setattr(tcp, "close", fail)
        broken.setattr(raw, "close", lambda: raw.vanish() or fail())
        with pytest.raises(Misuse, match="it still runs"):
            board.close()
    assert path.read_bytes()[:3] == b"abc"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((raw.host, raw.port), timeout=5)
    tcp.close()
    raw.close()
