"""Serial ports of any kind: local ones, ports of an RFC 2217 server, plain TCP; found by name or by USB socket.

The only file, with `harness.board.fast_rfc2217`, that imports pyserial.

A port is opened with both lines inactive, and in a way that moves neither EN nor IO0: see `_LocalSerial` and the fast
client. What cannot be opened is refused with the reason, and where it is taken, with who has it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import re
import select
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from harness.board.errors import (
    NoLines,
    PortBusy,
    PortFailed,
    PortForbidden,
    PortMissing,
    PortSilent,
    PortVanished,
)
from harness.errors import Misuse

try:
    import serial
    from serial.tools import list_ports

    from harness.board.fast_rfc2217 import protocol_rfc2217
except ModuleNotFoundError as missing:  # pragma: no cover - the extra is installed wherever tests run
    raise Misuse("serial ports need pyserial: pip install 'wsdevice[hil]'") from missing

WRITE = 5.0
"""Seconds for the port to take what is written: 50 KiB at 115200, far more than any test says at once."""
READ_AT_ONCE = 1 << 16

SHOWN_PORTS = 8
"""In the text of an error: those there are."""


class UsbPort(msgspec.Struct, frozen=True):
    """A serial port on USB that is attached now.

    Attributes:
        device: its path, which changes when it is plugged in again.
        location: the socket it is in: hubs and ports, such as ``1-1.4.2``.
        vendor, product: of the USB device, as numbers; of a bridge they say nothing about the board behind it.
        serial_number: many bridges have none, or all the same.
        description: what the device calls itself.
    """

    device: str
    location: str
    vendor: int
    product: int
    serial_number: str
    description: str


def usb_ports() -> tuple[UsbPort, ...]:
    """Return the serial ports on USB that are attached now, by location."""
    found = [
        UsbPort(
            port.device, port.location, port.vid or 0, port.pid or 0, port.serial_number or "", port.description or ""
        )
        for port in list_ports.comports()
        if port.location
    ]
    return tuple(sorted(found, key=lambda port: port.location))


def at_usb_location(location: str) -> str:
    """Return the path of the port in a USB socket; the first interface of a device that has several.

    Args:
        location: as `UsbPort.location`; ``:1.2`` at its end names an interface.

    Raises:
        PortMissing: nothing with a serial port is in it, with those that are attached.
    """
    attached = usb_ports()
    for port in attached:
        if location in (port.location, port.location.partition(":")[0]):
            return port.device
    there = ", ".join(f"{port.location} ({port.device})" for port in attached[:SHOWN_PORTS]) or "none"
    raise PortMissing(
        f"USB {location}", f"no serial port is in this socket; attached are: {there}. Is the board powered?"
    )


class OpenPort:
    """A port that is open; one thread reads, any may write, move the lines, or `interrupt` the reader.

    Attributes:
        name: its path or URL.
        has_lines: DTR and RTS can be moved.
        plays_resets: the server plays whole reset sequences when it sees the first move of one (``ign_set_control``).
    """

    def __init__(self, name: str, port: Any, *, has_lines: bool) -> None:
        self.name = name
        self.has_lines = has_lines
        self.plays_resets = "ign_set_control" in urlsplit(name).query
        self._port = port
        self._closed = False

    def read_some(self, timeout: float) -> bytes:
        """Return what came in, waiting at most so many seconds; nothing after `interrupt`.

        Raises:
            PortVanished: the port is gone.
        """
        raise NotImplementedError

    def interrupt(self) -> None:
        """Have a `read_some` that waits return at once, or the next one if none does."""
        raise NotImplementedError

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Set both lines; at once where the port can, else one right after the other.

        Raises:
            NoLines: it has none.
            PortVanished: the port is gone.
        """
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            PortVanished: the port is gone, or takes nothing any more.
        """
        with self._vanishing():
            self._port.write(data)

    def close(self) -> None:
        """Close it; idempotent. Both lines fall together, which no reset circuit notices."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):  # what is gone is closed
                self._port.close()

    @contextlib.contextmanager
    def _vanishing(self) -> Iterator[None]:
        try:
            yield
        except (serial.SerialException, OSError, termios.error) as error:
            raise PortVanished(self.name, f"the port is gone: {error}") from error


class _LocalSerial(serial.Serial):  # type: ignore[misc]
    """A local port that sets both lines in one step.

    Opening raises both (the kernel's doing). pyserial then lowers DTR and, a moment later, RTS; in between RTS is on
    and DTR off, which is EN low on the boards' reset circuit: it would reset each board it looks at.
    """

    def _update_dtr_state(self) -> None:
        _set_lines(self.fd, dtr=self._dtr_state, rts=self._rts_state)

    _update_rts_state = _update_dtr_state


def _set_lines(descriptor: int, *, dtr: bool, rts: bool) -> None:
    (state,) = struct.unpack("I", fcntl.ioctl(descriptor, termios.TIOCMGET, struct.pack("I", 0)))
    state = state & ~(termios.TIOCM_DTR | termios.TIOCM_RTS)
    state |= (termios.TIOCM_DTR if dtr else 0) | (termios.TIOCM_RTS if rts else 0)
    fcntl.ioctl(descriptor, termios.TIOCMSET, struct.pack("I", state))


class _DescriptorPort(OpenPort):
    """A local port, or a TCP connection: a descriptor that does not block.

    It is read and written without pyserial, whose ``select`` takes no descriptor above 1023.
    """

    def __init__(self, name: str, port: Any, *, has_lines: bool) -> None:
        super().__init__(name, port, has_lines=has_lines)
        self._closing = threading.Lock()  # a descriptor that was closed may be anybody's
        try:
            self._woken, self._wake = os.pipe()
        except OSError:
            port.close()
            raise
        os.set_blocking(self._woken, False)

    def read_some(self, timeout: float) -> bytes:
        with self._vanishing():
            port = self._port.fileno()
            found = _ready(timeout, (port, select.POLLIN), (self._woken, select.POLLIN))
            if self._woken in found:
                os.read(self._woken, 4096)
            elif found and not (data := os.read(port, READ_AT_ONCE)):
                raise OSError(errno.EIO, "the other end has closed it")
            elif found:
                return data
            return b""

    def write(self, data: bytes) -> None:
        deadline, rest = time.monotonic() + WRITE, memoryview(data)
        with self._vanishing():
            port = self._port.fileno()
            while rest:
                if not _ready(deadline - time.monotonic(), (port, select.POLLOUT)):
                    raise TimeoutError(errno.ETIMEDOUT, f"it took not all of {len(data)} bytes within {WRITE:g} s")
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(port, rest) :]

    def interrupt(self) -> None:
        with self._closing:
            if not self._closed:
                os.write(self._wake, b"!")

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        if not self.has_lines:
            raise NoLines(f"expected a port with DTR and RTS; {self.name} has none")
        with self._vanishing():
            _set_lines(self._port.fileno(), dtr=dtr, rts=rts)

    def close(self) -> None:
        with self._closing:
            if not self._closed:
                super().close()
                os.close(self._woken)
                os.close(self._wake)


def _ready(seconds: float, *wanted: tuple[int, int]) -> set[int]:
    """Wait until a descriptor is ready for what is wanted of it, or broken, and return those that are."""
    poll = select.poll()
    for descriptor, events in wanted:
        poll.register(descriptor, events)
    return {descriptor for descriptor, _ in poll.poll(max(seconds, 0) * 1000)}


class _RemotePort(OpenPort):
    """A port of an RFC 2217 server."""

    _port: protocol_rfc2217.Serial

    def read_some(self, timeout: float) -> bytes:
        with self._vanishing():
            return self._port.read_some(timeout)

    def interrupt(self) -> None:
        self._port.interrupt()

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        with self._vanishing():
            # both on lies between any two states, and is the one that changes neither EN nor IO0
            if dtr:
                self._port.dtr = True
                self._port.rts = rts
            else:
                self._port.rts = rts
                self._port.dtr = False


def open_port(name: str, baud: int = 115200) -> OpenPort:
    """Open a port, with DTR and RTS inactive.

    Args:
        name: ``rfc2217://host:port``, ``socket://host:port``, or a path.
        baud: bits in a second; without meaning for ``socket://``.

    Raises:
        PortMissing, PortForbidden, PortBusy, PortSilent: why it cannot be.
        Misuse: a URL that is none of these.
    """
    try:
        if name.startswith("rfc2217://"):
            _check_url(name)
            return _RemotePort(name, _opened(protocol_rfc2217.Serial(None, baud), name), has_lines=True)
        if name.startswith("socket://"):
            _check_url(name)
            port = serial.serial_for_url(name, baud, timeout=0, write_timeout=WRITE)
            return _DescriptorPort(name, port, has_lines=False)
        if "://" in name:
            raise Misuse(f"expected a path, rfc2217://host:port or socket://host:port, got {name!r}")
        local = _LocalSerial(None, baud, timeout=0, write_timeout=WRITE, exclusive=True)
        return _DescriptorPort(name, _opened(local, name), has_lines=_has_lines(local))
    except (serial.SerialException, OSError, termios.error) as error:
        raise _refusal(name, error) from error


def _opened(port: Any, name: str) -> Any:
    port.dtr = port.rts = False
    port.port = name
    port.open()
    return port


def _check_url(name: str) -> None:
    try:
        good = bool(urlsplit(name).hostname and urlsplit(name).port)
    except ValueError:
        good = False
    if not good:
        raise Misuse(f"expected {name.partition('://')[0]}://host:port, got {name!r}")


def _has_lines(port: Any) -> bool:
    try:
        fcntl.ioctl(port.fileno(), termios.TIOCMGET, struct.pack("I", 0))
    except OSError:
        return False  # a pty: ENOTTY
    return True


# --- why it cannot be opened ------------------------------------------------------------------------------------


def _refusal(name: str, error: Exception) -> PortFailed:
    if name.startswith(("rfc2217://", "socket://")):
        return _remote_refusal(name, error)
    code = getattr(error, "errno", None)
    if code in {errno.EBUSY, errno.EWOULDBLOCK}:
        return PortBusy(name, f"another program has it open: {_holders(name) or 'one of another user'}")
    if code in {errno.EACCES, errno.EPERM}:
        return PortForbidden(name, f"this user may not open it; add it to the group {_group(name)}, and log in again")
    if not Path(name).exists():
        return PortMissing(name, "there is no such device; is the board plugged in, and powered?")
    return PortSilent(name, f"it cannot be opened as a serial port: {error}")


def _remote_refusal(name: str, error: Exception) -> PortFailed:
    cause = error.__cause__ or error.__context__ or error
    if isinstance(cause, socket.gaierror):
        return PortMissing(name, f"the name of the host is unknown: {cause.strerror}")
    if isinstance(cause, ConnectionRefusedError):
        return PortMissing(name, "nothing listens there; is the serial server running?")
    if isinstance(cause, TimeoutError):
        return PortSilent(name, "the host does not answer; is it on, and in this network?")
    if "RFC2217" in str(error):
        return PortSilent(
            name,
            "the connection was accepted, but no port answers on it: another client may have it (these servers serve "
            f"one at a time), or it is no RFC 2217 server. {error}",
        )
    return PortSilent(name, str(error))


def _group(path: str) -> str:
    try:
        return grp.getgrgid(Path(path).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def holders(path: str) -> tuple[str, ...]:
    """Return the processes that have a device open, ``1234 (picocom)``; those of other users may stay unseen."""
    device = Path(os.path.realpath(path))
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if any(_target(descriptor) == device for descriptor in (process / "fd").iterdir()):
                found.append(f"{process.name} ({(process / 'comm').read_text().strip()})")
    return tuple(sorted(found))


def _target(descriptor: Path) -> Path | None:
    try:
        return descriptor.readlink()
    except OSError:
        return None  # it was closed meanwhile


def _holders(path: str) -> str:
    own = re.compile(rf"^{os.getpid()} ")
    return ", ".join(f"{holder}, this process" if own.match(holder) else holder for holder in holders(path))
