"""A virtual ESP32 board: chip, flash, reset circuit, buttons, supply, and ports that a host can open.

::

    with VirtualBoard("esp32s3", boot=boot) as board:
        port = board.rfc2217()
        board.power_on()
        subprocess.run([sys.executable, "-m", "esptool", "--port", port.url, "flash-id"])

What is real of it: the serial protocol, the flash and what is on it, the lines. What is not: there is no core that
executes machine code, no radio, and nothing takes the time it takes in silicon. `VirtualBoard.metadata` says so, and
whatever reports on such a board repeats it.

Threads: one for each port, one for what happens later, and those of what runs (`harness.virtual.machine`). One lock is
held while lines, power or the state of the chip change. What runs sends and writes without it, so that it can be waited
for with the lock held.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from harness.errors import Misuse
from harness.firmware.chips import chip_named
from harness.virtual import events
from harness.virtual.command_faults import CommandFaults
from harness.virtual.events import BoardEvent, WatchBoard, unwatched
from harness.virtual.flash import NorFlash, PowerCut
from harness.virtual.flash_file import load, save
from harness.virtual.machine import Boot, ResetCause
from harness.virtual.ports.conversation import HostPort
from harness.virtual.ports.pty import PtyPort
from harness.virtual.ports.raw_tcp import RawTcp
from harness.virtual.ports.rfc2217 import Rfc2217
from harness.virtual.ports.tcp import TcpPort
from harness.virtual.reset_circuit import ResetCircuit
from harness.virtual.soc import Soc
from harness.virtual.timers import Timers

REAL = ("serial protocol", "flash", "images", "NVS", "network")
NOT_REAL = ("CPU", "radio", "timing")

P = TypeVar("P", bound=HostPort)


class VirtualBoard:
    """One board; ``with`` closes it, ports and threads included. Calls may come from any thread but its ports' own.

    It has no power until `power_on`.

    Args:
        chip: esp32, esp32s3 or esp32c3.
        boot: starts what is on the flash, each time the chip leaves reset in run mode.
        flash_size: in bytes: 1, 2, 4, 8, 16 or 32 MiB.
        mac: 6 bytes; None: a locally administered one, by chance.
        flash_file: the flash is loaded from it if it exists, and written to it by `save` and by `close`.
        checks_baud: bytes arrive garbled where host and chip differ in baud rate by more than 3 %.
        watch: is shown what happens.

    Attributes:
        virtual: always true: no silicon is involved.
        chip, mac: what and who it is.
        flash: the main flash, to look into, and to write to behind the chip's back.

    Raises:
        Misuse: there is no such chip or size, or the file holds another size of flash.
        BadFlashFile: the file cannot be read.
    """

    virtual: Literal[True] = True

    def __init__(
        self,
        chip: str,
        *,
        boot: Boot,
        flash_size: int = 4 << 20,
        mac: bytes | None = None,
        flash_file: Path | None = None,
        checks_baud: bool = True,
        watch: WatchBoard = unwatched,
    ) -> None:
        self.chip = chip_named(chip)
        self.mac = mac or bytes([0x02]) + secrets.token_bytes(5)
        if len(self.mac) != 6:
            raise Misuse(f"expected a MAC of 6 bytes, got {len(self.mac)}")
        content = b"" if flash_file is None else load(flash_file, flash_size)
        self.flash = NorFlash(flash_size, content, erased=self._flash_erased, programmed=self._flash_programmed)
        self._flash_file = flash_file
        self._watch = watch
        self._lock = threading.RLock()  # of supply, circuit and chip; also while what runs is started and stopped
        self._powered = False
        self._circuit = ResetCircuit()
        self._faults = CommandFaults(self._struck)
        self._soc = Soc(
            self.chip, self.mac, self.flash, boot, faults=self._faults, around=self, checks_baud=checks_baud
        )
        self._resets = 0  # by which a reset that is asked for later knows whether there was one meanwhile
        self._timers = Timers(f"virtual board {self.mac.hex(':')}")
        self._ports: tuple[HostPort, ...] = ()
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Switch it off, close its ports, wait for its threads, write the flash file; idempotent.

        Raises:
            Misuse: something that it called does not come to an end.
            BadFlashFile: the file cannot be written.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        with ExitStack() as ends:  # in the opposite order, each whatever becomes of the others
            ends.callback(self.save)
            ends.callback(self._end_timers)
            for port in self._ports:
                ends.callback(port.close)
            self.power_off("the board is closed")

    def _end_timers(self) -> None:
        if not self._timers.close():
            raise Misuse("expected what runs on the board to stop when it is told to; it still runs")

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What reports say of it."""
        return {
            "virtual": True,
            "chip": self.chip.name,
            "mac": self.mac.hex(":"),
            "flash_size": self.flash.size,
            "real": REAL,
            "not_real": NOT_REAL,
        }

    def save(self) -> None:
        """Write the flash to its file, if it has one: whole or not at all. Raises `BadFlashFile`."""
        if self._flash_file is not None:
            save(self._flash_file, self.flash.read(0, self.flash.size))

    # --- supply -------------------------------------------------------------------------------------------------

    @property
    def powered(self) -> bool:
        """The supply is on."""
        return self._powered

    def power_on(self, *, download: bool = False) -> None:
        """Switch the supply on: the chip leaves reset, with IO0 held low if ``download``. Idempotent.

        Where a host holds EN low, it stays in reset until that lets go.

        Raises:
            Misuse: the board is closed.
        """
        if self._closed.is_set():
            raise Misuse("expected a board that was not closed")
        with self._lock:
            if self._powered:
                return
            self._powered = True
            self.tell(events.PoweredOn(time.monotonic()))
            if not self._circuit.in_reset:
                self._leave_reset("power_on", download=download or self._circuit.io0_low)

    def power_off(self, why: str = "switched off") -> None:
        """Switch the supply off: nothing runs any more when this returns. Idempotent.

        The ports stay, silent, as where a board has a supply of its own; pulling a USB cable is `vanish` of a port.
        """
        with self._lock:
            if not self._powered:
                return
            self._powered = False
            self._soc.halt()
            self.tell(events.PoweredOff(time.monotonic(), why))

    def brown_out(self) -> None:
        """Let the supply sag: the chip is reset, and its ROM says why. Nothing happens without power."""
        with self._lock:
            if self._powered and not self._circuit.in_reset:
                self._struck("brown-out")
                self._leave_reset("brown_out", download=self._circuit.io0_low)

    def cut_power_after(self, written_bytes: int) -> None:
        """Switch the supply off once so many more bytes of flash were erased or programmed, at that very byte."""
        self.flash.cut_after(written_bytes)

    # --- buttons and lines --------------------------------------------------------------------------------------

    def press_reset(self, seconds: float = 0.05) -> None:
        """Hold EN low for so long; returns when it has been let go."""
        self._change_pins(reset_pressed=True)
        self._closed.wait(seconds)
        self._change_pins(reset_pressed=False)

    def press_boot(self, seconds: float = 0.1) -> None:
        """Hold IO0 low for so long; returns when it has been let go."""
        with self.boot_held():
            self._closed.wait(seconds)

    @contextmanager
    def boot_held(self) -> Iterator[None]:
        """Hold IO0 low meanwhile: with `press_reset` inside, the chip goes to download mode."""
        self._change_pins(boot_pressed=True)
        try:
            yield
        finally:
            self._change_pins(boot_pressed=False)

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Change the modem lines as a host does, both at once; true is asserted, None: as it is."""
        self._change_pins(dtr=dtr, rts=rts)

    def _change_pins(self, **pins: bool | None) -> None:
        with self._lock:
            was_low = self._circuit.io0_low
            self._circuit.change(time.monotonic(), **pins)
            self._pins_changed(was_low=was_low)

    def _pins_changed(self, *, was_low: bool) -> None:
        """Bring about what the circuit says; the lock is held."""
        circuit = self._circuit
        if circuit.held_until is not None:
            self._timers.call_in(circuit.held_until - time.monotonic(), self._hold_ends)
        if not self._powered:
            return
        if circuit.in_reset:
            self._soc.halt()
        elif self._soc.is_halted:
            self._leave_reset("power_on", download=circuit.io0_low)
        elif circuit.io0_low != was_low:
            self._soc.boot_button(pressed=circuit.io0_low)

    def _hold_ends(self) -> None:
        with self._lock:
            if self._circuit.held_until is not None:
                self._circuit.pass_time(time.monotonic())
                self._pins_changed(was_low=False)

    # --- ports --------------------------------------------------------------------------------------------------

    def rfc2217(self, host: str = "127.0.0.1", port: int = 0) -> TcpPort:
        """Open a port with everything that a serial port has; port 0: a free one. Raises `CannotServe`."""
        return self._plugged(TcpPort(self, "rfc2217", Rfc2217, host, port))

    def raw_tcp(self, host: str = "127.0.0.1", port: int = 0) -> TcpPort:
        """Open a port that carries bytes and nothing else; port 0: a free one. Raises `CannotServe`."""
        return self._plugged(TcpPort(self, "socket", RawTcp, host, port))

    def pty(self) -> PtyPort:
        """Open a device file with data and baud rate, without lines. Raises `CannotServe`."""
        return self._plugged(PtyPort(self))

    def _plugged(self, port: P) -> P:
        with self._lock:
            self._ports = (*self._ports, port)
        return port

    # --- more faults --------------------------------------------------------------------------------------------

    def rot(self, address: int, mask: int = 0x01) -> None:
        """Flip bits of one byte of flash, without anybody writing it.

        Raises:
            BadRange: past the end.
        """
        self.flash.flip(address, mask)
        self._struck(f"bit rot at {address:#x}, mask {mask:#04x}")

    def drop_command(self, op: int, nth: int = 1) -> None:
        """Do not hear the nth command ``op`` (`serial_protocol.Op`) from now on: no effect, no answer."""
        self._faults.ask("drop", op, nth)

    def corrupt_command(self, op: int, nth: int = 1) -> None:
        """Hear one bit of the nth command ``op`` from now on wrong."""
        self._faults.ask("corrupt", op, nth)

    def noise(self, one_in: int, seed: int = 0) -> None:
        """Garble one byte in so many, on average, both ways on the UART; 0 ends it."""
        self._struck(f"noise: one byte in {one_in}" if one_in else "no more noise")
        self._soc.uart.add_noise(one_in, seed)

    # --- for its ports ------------------------------------------------------------------------------------------

    def host_sent(self, data: bytes, baud: int | None) -> None:
        """Take bytes for the chip; without power, or in reset, they are lost."""
        with self._lock:
            if not self._powered or self._soc.is_halted:
                return
            try:
                self._soc.received(data, baud)
            except PowerCut:
                self._struck("power cut in a write of the loader")
                self.power_off("power cut in a write")

    def connected(self, url: str) -> None:
        """Take note of a host that has opened a port."""
        self.tell(events.ClientConnected(time.monotonic(), url))

    def disconnected(self, url: str) -> None:
        """Take note that it has gone."""
        self.tell(events.ClientDisconnected(time.monotonic(), url))

    # --- for its chip -------------------------------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """Take bytes that the chip sends."""
        for port in self._ports:
            port.deliver(self._soc.uart.to_host(data, port.baud))

    def reset_later(self, seconds: float, cause: ResetCause) -> None:
        """Take a reset that the chip asks for, unless another comes before it."""
        resets = self._resets

        def reset() -> None:
            with self._lock:
                if self._powered and self._resets == resets and not self._circuit.in_reset:
                    self._leave_reset(cause, download=False)

        self._timers.call_in(seconds, reset)

    def power_cut(self) -> None:
        """Take note that the supply went off in a write of what runs."""
        self._struck("power cut in a write of what runs")
        self._timers.call_in(0, lambda: self.power_off("power cut in a write"))

    def tell(self, event: BoardEvent) -> None:
        """Show an event to whoever watches."""
        self._watch(event)

    def _leave_reset(self, cause: ResetCause, *, download: bool) -> None:
        self._soc.halt()  # before the count: what was asked for until here is of the life that ends
        self._resets += 1
        self._soc.leave_reset(cause, download=download)

    def _flash_erased(self, address: int, size: int) -> None:
        self.tell(events.FlashErased(time.monotonic(), address, size))

    def _flash_programmed(self, address: int, size: int) -> None:
        self.tell(events.FlashWritten(time.monotonic(), address, size))

    def _struck(self, what: str) -> None:
        self.tell(events.FaultStruck(time.monotonic(), what))
