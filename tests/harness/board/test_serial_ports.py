"""Opening serial ports of each kind, and what is said of those that cannot be opened."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from serial.tools import list_ports

from harness.board import serial_ports
from harness.board.errors import NoLines, PortBusy, PortForbidden, PortMissing, PortSilent, PortVanished
from harness.board.serial_ports import OpenPort, at_usb_location, holders, open_port, usb_ports
from harness.errors import Misuse
from tests.harness.board.serial_server import SOON, SerialServer


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """A pty: its other end, and the path of this one."""
    other, own = pty.openpty()
    path = os.ttyname(own)
    yield other, path
    for descriptor in (other, own):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def read(port: OpenPort, size: int) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < size and (more := port.read_some(SOON)):
        data += more
    return data


def test_local(terminal: tuple[int, str]):
    """A local port is read and written; a pty has no lines, and says so."""
    other, path = terminal
    with contextlib.closing(open_port(path)) as port:
        os.write(other, b"\x00\xff\r\n")
        assert read(port, 4) == b"\x00\xff\r\n"
        port.write(b"back\r")
        assert os.read(other, 10) == b"back\r"
        assert not port.has_lines
        with pytest.raises(NoLines, match="expected a port with DTR and RTS"):
            port.set_lines(dtr=True, rts=False)


def test_local_among_many(terminal: tuple[int, str], many_descriptors: None):
    """In a process with thousands of connections a port is read as in any."""
    other, path = terminal
    with contextlib.closing(open_port(path)) as port:
        os.write(other, b"hello")
        assert read(port, 5) == b"hello"
        assert port.read_some(0.0) == b""
        port.write(b"back\r")
        assert os.read(other, 10) == b"back\r"


def test_takes_nothing(terminal: tuple[int, str], monkeypatch: pytest.MonkeyPatch):
    """A port that takes nothing any more is as good as gone: who writes does not wait for ever."""
    monkeypatch.setattr(serial_ports, "WRITE", 0.1)
    told = r"it took not all of 1000000 bytes within 0\.1 s"
    with contextlib.closing(open_port(terminal[1])) as port, pytest.raises(PortVanished, match=told):
        port.write(b"x" * 1_000_000)


def test_a_terminal_that_is_gone(terminal: tuple[int, str]):
    """A cable that was pulled ends reading and writing."""
    with contextlib.closing(open_port(terminal[1])) as port:
        os.close(terminal[0])
        with pytest.raises(PortVanished, match="the port is gone"):
            port.read_some(SOON)
        with pytest.raises(PortVanished, match="the port is gone"):
            port.write(b"x")


def test_closed_under_the_hands_of_who_interrupts(terminal: tuple[int, str], monkeypatch: pytest.MonkeyPatch):
    """A descriptor that was closed may be somebody else's by now: it is not closed before it was written to."""
    port = open_port(terminal[1])
    closer = threading.Thread(target=port.close)
    write = os.write

    def slow(descriptor: int, data: bytes) -> int:
        closer.start()
        closer.join(0.05)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    port.interrupt()
    closer.join(SOON)
    monkeypatch.undo()
    port.interrupt()


def test_socket():
    """A plain TCP port is read and written, a large block at once; it has no lines."""
    with SerialServer(raw=True) as server, contextlib.closing(open_port(server.url)) as port:
        port.write(b"hello")
        server.wait(lambda: server.received == b"hello")
        server.say(b"\xff" * 50_000)
        assert read(port, 50_000) == b"\xff" * 50_000
        assert not port.has_lines
        server.hang_up()
        with pytest.raises(PortVanished, match="the port is gone"):
            port.read_some(SOON)


def test_rfc2217():
    """A port of a server is opened with its lines inactive; they pass through both on, never through EN low."""
    with SerialServer() as server, contextlib.closing(open_port(server.url, 57600)) as port:
        assert server.line.baudrate == 57600
        assert server.line.moves[-2:] == ["R0", "D0"]
        for dtr, rts in ((False, True), (True, False), (False, False), (True, True), (False, False)):
            port.set_lines(dtr=dtr, rts=rts)
        assert server.line.moves[4:] == ["R1", "D0", "D1", "R0", "R0", "D0", "D1", "R1", "R0", "D0"]
        server.hang_up()
        with pytest.raises(PortVanished):
            port.read_some(SOON)


@pytest.mark.parametrize("kind", ["local", "socket", "rfc2217"])
def test_interrupted(kind: str, terminal: tuple[int, str]):
    """A reader that waits is woken, whatever the port is; closing twice is closing once."""
    with SerialServer(raw=kind == "socket") as server:
        port = open_port(terminal[1] if kind == "local" else server.url)
        woken: list[bytes] = []
        reader = threading.Thread(target=lambda: woken.append(port.read_some(SOON)))
        reader.start()
        port.interrupt()
        reader.join(SOON)
        port.close()
        port.close()
        assert woken == [b""]


def test_both_lines_at_once(monkeypatch: pytest.MonkeyPatch, terminal: tuple[int, str]):
    """Opening a local port takes both lines down in one step: one after the other would reset the board."""
    steps: list[int] = []
    real = fcntl.ioctl

    def ioctl(descriptor: int, request: int, argument: bytes) -> bytes:
        assert request not in (termios.TIOCMBIS, termios.TIOCMBIC)
        if request == termios.TIOCMGET:
            return struct.pack("I", termios.TIOCM_DTR | termios.TIOCM_RTS | termios.TIOCM_CTS)
        if request == termios.TIOCMSET:
            steps.append(struct.unpack("I", argument)[0] & (termios.TIOCM_DTR | termios.TIOCM_RTS))
            return argument
        return bytes(real(descriptor, request, argument))

    monkeypatch.setattr(serial_ports.fcntl, "ioctl", ioctl)
    with contextlib.closing(open_port(terminal[1])) as port:
        assert port.has_lines
        assert set(steps) == {0}
        steps.clear()
        port.set_lines(dtr=True, rts=False)
        port.set_lines(dtr=False, rts=True)
    assert steps == [termios.TIOCM_DTR, termios.TIOCM_RTS]


def test_missing():
    """A port that is not there is missing, of whatever kind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
    for name, why in (
        ("/dev/ttyNONE7", "no such device"),
        (f"rfc2217://127.0.0.1:{number}", "nothing listens there"),
        (f"socket://127.0.0.1:{number}", "nothing listens there"),
    ):
        with pytest.raises(PortMissing, match=why) as caught:
            open_port(name)
        assert (caught.value.port, caught.value.verdict) == (name, "rig")


def test_busy(terminal: tuple[int, str]):
    """A port that a program has open names the program, be it another's or our own."""
    _, path = terminal
    code = f"import fcntl, os, sys; fd = os.open({path!r}, os.O_RDWR); fcntl.flock(fd, fcntl.LOCK_EX); print(); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdin is not None
    assert other.stdout is not None
    try:
        other.stdout.readline()
        with pytest.raises(PortBusy, match=rf"another program has it open: .*{other.pid} \(python"):
            open_port(path)
    finally:
        other.stdin.close()
        other.wait(SOON)
        other.stdout.close()
    with contextlib.closing(open_port(path)), pytest.raises(PortBusy, match=rf"{os.getpid()} \(.*\), this process"):
        open_port(path)
    assert holders("/dev/ttyNONE7") == ()


def test_forbidden(monkeypatch: pytest.MonkeyPatch):
    """A port that this user may not open names the group that may."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(serial_ports._LocalSerial, "open", refuse)
    with pytest.raises(PortForbidden, match="add it to the group "):
        open_port("/dev/null")
    with pytest.raises(PortForbidden, match="group dialout"):
        open_port("/dev/ttyNONE7")


def test_silent(tmp_path: Path):
    """What is there, and is no serial port, is silent: a file, and a server that says nothing."""
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(PortSilent, match="cannot be opened as a serial port"):
        open_port(str(file))
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"rfc2217://127.0.0.1:{server.getsockname()[1]}?timeout=0.05"
        with pytest.raises(PortSilent, match="another client may have it"):
            open_port(url)


@pytest.mark.parametrize("name", ["rfc2217://host", "socket://:77", "rfc2217://host:99999", "loop://", "http://host:1"])
def test_no_port(name: str):
    """A URL that is none is a mistake of the caller's."""
    with pytest.raises(Misuse, match=r"expected .*, got "):
        open_port(name)


def test_usb_location(monkeypatch: pytest.MonkeyPatch):
    """A port is found by the USB socket it is in, its first interface unless another is named; else all are listed."""
    attached = [
        SimpleNamespace(
            device=device, location=location, vid=0x10C4, pid=None, serial_number=None, description="CP2102"
        )
        for device, location in (
            ("/dev/ttyUSB1", "1-1.4:1.1"),
            ("/dev/ttyUSB0", "1-1.4:1.0"),
            ("/dev/ttyACM0", "1-1.4.2"),
            ("/dev/ttyS0", None),
        )
    ]
    monkeypatch.setattr(list_ports, "comports", lambda: attached)

    assert [port.location for port in usb_ports()] == ["1-1.4.2", "1-1.4:1.0", "1-1.4:1.1"]
    assert at_usb_location("1-1.4") == "/dev/ttyUSB0"
    assert at_usb_location("1-1.4:1.1") == "/dev/ttyUSB1"
    assert at_usb_location("1-1.4.2") == "/dev/ttyACM0"
    with pytest.raises(PortMissing, match=r"attached are: 1-1.4.2 \(/dev/ttyACM0\), 1-1.4:1.0"):
        at_usb_location("1-1")
    attached.clear()
    with pytest.raises(PortMissing, match="attached are: none"):
        at_usb_location("1-1")
