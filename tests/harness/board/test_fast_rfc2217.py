"""The fast ``rfc2217://`` client, against a server made of pyserial's own code."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from serial import PortNotOpenError, SerialException, rfc2217

from harness.board.fast_rfc2217.protocol_rfc2217 import Serial
from tests.harness.board.serial_server import SOON, SerialServer
from tests.harness.board.virtual import board


@pytest.fixture
def server() -> Iterator[SerialServer]:
    """A server whose port echoes."""
    with SerialServer() as server:
        server.echo = True
        yield server


def opened(url: str, baud: int = 115200) -> Serial:
    """Open a port as the harness does: with both lines inactive."""
    port = Serial(None, baud, timeout=SOON)
    port.dtr = port.rts = False
    port.port = url
    port.open()
    return port


def test_every_byte_arrives(server: SerialServer):
    """All values of a byte go there and back, Telnet's own mark included, in blocks and one at a time."""
    everything = bytes(range(256)) * 40
    with opened(server.url) as port:
        port.write(everything)
        assert port.read(len(everything)) == everything
        for value in (b"\xff", b"\xff\xff", b"\xf0"):
            port.write(value)
            assert port.read(len(value)) == value


def test_answers_cut_in_pieces():
    """Answers and data that come byte by byte are understood."""
    with SerialServer(chunk=1) as server, opened(server.url) as port:
        server.say(b"\xff\xf0 cut \xff")
        assert port.read(8) == b"\xff\xf0 cut \xff"


def test_setup_is_asked_for_once(server: SerialServer):
    """Timeouts are no business of the server's; a new baud rate is, once."""
    with opened(server.url) as port:
        for seconds in (0.1, 0.2, None, SOON):
            port.timeout = seconds
        port.baudrate = 921600
        port.baudrate = 921600
        port.write(b"!")
        port.read(1)
    assert [move for move in server.line.moves if move.startswith("baud")] == [
        "baud 9600",
        "baud 115200",
        "baud 921600",
    ]


def test_lines_are_let_go_in_order(server: SerialServer):
    """RTS goes before DTR when a port is opened, so that EN is never low; set, they come as they were set."""
    with opened(server.url) as port:
        port.dtr, port.rts = True, True
    assert server.line.moves[-4:] == ["R0", "D0", "D1", "R1"]


def test_lines_are_turned_on_in_order(server: SerialServer):
    """Who opens a port with both lines on, as esptool does, turns on DTR before RTS: RTS alone is a reset."""
    with Serial(server.url, timeout=SOON) as port:
        port.write(b"!")
        port.read(1)
    assert server.line.moves[-2:] == ["D1", "R1"]


def test_server_that_plays_resets():
    """Where answers to lines are not to be expected, none is waited for, and the lines are left alone at first."""

    class Espressif(rfc2217.PortManager):
        """Answers nothing about lines, as esp_rfc2217_server does not."""

        def _telnet_process_subnegotiation(self, suboption: bytes) -> None:
            if suboption[1:2] == rfc2217.SET_CONTROL and suboption[2:3] >= b"\x08":
                self.serial.moves.append(f"control {suboption[2]}")
            else:
                super()._telnet_process_subnegotiation(suboption)

    with SerialServer(Espressif) as server:
        began = time.monotonic()
        with opened(f"{server.url}?ign_set_control") as port:
            port.dtr = True
            port.write(b"x")
            server.wait(lambda: server.received == b"x")
        assert time.monotonic() - began < 2
        assert [move for move in server.line.moves if "control" in move] == ["control 8"]


def test_purge_keeps_what_comes_after():
    """What the board said before the purge is gone, and what it says right after it is kept."""

    class Talking(rfc2217.PortManager):
        """Its board speaks at the moment its buffer is emptied."""

        def rfc2217_send_subnegotiation(self, option: bytes, value: bytes = b"") -> None:
            if option == rfc2217.SERVER_PURGE_DATA:
                self.connection.write(b"old")
            super().rfc2217_send_subnegotiation(option, value)
            if option == rfc2217.SERVER_PURGE_DATA:
                self.connection.write(b"new")

    with SerialServer(Talking) as server, opened(server.url) as port:
        port.read(6)
        port.timeout = 0.0
        port.reset_input_buffer()
        port.timeout = SOON
        assert port.read(3) == b"new"
        assert port.in_waiting == 0


def test_timeout_of_read(server: SerialServer):
    """A read returns what there is when its time is over, and at once without any."""
    with opened(server.url) as port:
        port.write(b"ab")
        assert port.read(2) == b"ab"
        port.timeout = 0.05
        port.write(b"c")
        assert port.read(2) == b"c"
        port.timeout = 0
        assert port.read(1) == b""


def test_interrupted(server: SerialServer):
    """A reader that waits is woken, once."""
    with opened(server.url) as port:
        woken: list[bytes] = []
        reader = threading.Thread(target=lambda: woken.append(port.read_some(SOON)))
        reader.start()
        port.interrupt()
        reader.join(SOON)
        assert woken == [b""]
        port.write(b"on")
        assert port.read_some(SOON)


def test_server_goes(server: SerialServer):
    """What came is read to its end; then the port says that the connection has ended, in reads and in settings."""
    with opened(server.url) as port:
        server.say(b"last")
        with port.changed:
            assert port.changed.wait_for(lambda: port.received == b"last", SOON)
        server.hang_up()
        assert port.read(10) == b"last"
        with pytest.raises(SerialException, match="connection failed: the server closed"):
            port.read(1)
        with pytest.raises(SerialException):
            port.baudrate = 57600


def test_rejected_setting():
    """A baud rate that the server does not take is an error, as with pyserial's client; the port can be used on."""

    class Slow(rfc2217.PortManager):
        """Has one baud rate."""

        def rfc2217_send_subnegotiation(self, option: bytes, value: bytes = b"") -> None:
            if option == rfc2217.SERVER_SET_BAUDRATE:
                value = struct.pack("!I", 115200)
            super().rfc2217_send_subnegotiation(option, value)

    with SerialServer(Slow) as server, opened(server.url) as port:
        with pytest.raises(ValueError, match="baudrate"):
            port.baudrate = 921600
        port.baudrate = 115200
        port.write(b"x")
        server.wait(lambda: server.received == b"x")


def test_nobody_answers():
    """A port where no RFC 2217 is spoken is given up after the time its URL names, with the connection closed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rfc2217://127.0.0.1:{silent.getsockname()[1]}?timeout=0.1"
        with pytest.raises(SerialException, match="does not seem to support RFC2217"):
            opened(url)
        with silent.accept()[0] as connection:
            connection.settimeout(SOON)
            while connection.recv(1024):
                pass


def test_opened_again(server: SerialServer):
    """A port that was closed is free when `close` returns: the next client is served at once."""
    port = opened(server.url)
    for _ in range(5):
        port.close()
        port.close()
        port.open()
        port.write(b"again")
        assert port.read(5) == b"again"
    port.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rfc2217 reader")]


def test_modem_state_is_asked_for(server: SerialServer):
    """With ``poll_modem`` the server's lines are asked for; what it told at the beginning is known without."""
    with opened(f"{server.url}?poll_modem") as port:
        assert (port.cts, port.ri) == (True, False)
        server.line.ri = True
        port._modemstate_timeout.restart(-1)
        assert port.ri


def test_flow_control(server: SerialServer):
    """Flow control is passed on; both kinds at once are refused."""
    port: Any = Serial(None, rtscts=True)
    port.port = server.url
    with port:
        assert server.line.rtscts
        with pytest.raises(ValueError, match="together"):
            port.xonxoff = True
        with pytest.raises(NotImplementedError):
            port.write_timeout = 1.0


def test_virtual_board():
    """A virtual board's port is served, too: lines reset the chip into its boot loader, which answers at any rate."""
    with board() as (_, config), opened(config.console.url) as port:
        for dtr, rts in ((False, True), (True, True), (True, False), (False, False)):
            port.dtr, port.rts = dtr, rts
        said = b""
        while b"waiting for download" not in said:
            said += port.read_some(SOON)
            assert said
        port.baudrate = 921600
        port.reset_input_buffer()
        sync = b"\xc0\x00\x08\x24\x00\x00\x00\x00\x00\x07\x07\x12\x20" + b"\x55" * 32 + b"\xc0"
        port.write(sync)
        assert port.read(2) == b"\xc0\x01"


def test_closed_by_another_thread(server: SerialServer):
    """Who writes to a port that is being closed is told that it is, as of any port."""
    port = opened(server.url)
    port.close()
    for refused in (lambda: port.write(b"x"), lambda: port._internal_raw_write(b"x")):
        with pytest.raises(PortNotOpenError):
            refused()


def test_reader_that_fails(server: SerialServer, monkeypatch: pytest.MonkeyPatch):
    """Whatever ends its reader ends the waiting for bytes."""
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    with contextlib.closing(opened(server.url)) as port:
        monkeypatch.setattr(port, "_process", lambda _: 1 // 0)
        server.say(b"hello")
        with pytest.raises(SerialException, match="what the server sent could not be read"):
            port.read(5)
    assert len(failed) == 1
