"""The process that serves the boards of a virtual bench: ``python -m harness.bench.virtual_rig esp32s3,esp32c3 ...``.

It writes the bench to its ready file once all boards have power, takes orders on a port of loopback, and lives until
its input ends; so it dies with whoever started it, however that happens.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socketserver
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import msgspec

from harness.bench.bench_file import (
    Bench,
    BoardConfig,
    ConsoleConfig,
    NetworkConfig,
    PowerConfig,
    to_json,
)
from harness.bench.rig_control import LINE_BYTES, ORDER_SECONDS, Answer, Order
from harness.errors import HarnessError, Misuse
from harness.firmware.chips import ChipName
from harness.virtual.access_point import AccessPoint
from harness.virtual.board import VirtualBoard
from harness.virtual.boot import Booting
from harness.virtual.misbehaviour import Misdeed
from harness.virtual.ports.tcp import TcpPort

SSID = "wsdevice-virtual"
FLASH_MIB = 16
"""Of each board: what the largest of the usual partition tables needs."""
CAPS = ("boot_log", "wifi", "test_console", "power", "reset", "boot_button", f"flash:{FLASH_MIB}M")
_MAC = bytes((0x02, 0x57, 0x53, 0x00, 0x00))  # locally administered; the last byte is the board's number

Verb = Callable[..., Any]


class RigBoard:
    """One board of the rig, its port, and what it can be told.

    Args:
        number: from 1.
        chip: what it is.
        access_point: what it hears.
        flash_dir: keeps its flash; None: in memory.
    """

    def __init__(self, number: int, chip: ChipName, access_point: AccessPoint, flash_dir: Path | None) -> None:
        self.id = f"{chip.removeprefix('esp32') or 'esp32'}-virtual-{number}"
        self.chip: ChipName = chip
        self.mac = bytes((*_MAC, number))
        self._access_point = access_point
        self._booting = Booting(access_point)
        self.board = VirtualBoard(
            chip,
            boot=self._booting,
            flash_size=FLASH_MIB << 20,
            mac=self.mac,
            flash_file=flash_dir / f"{self.id}.flash" if flash_dir else None,
        )
        self.port: TcpPort = self.board.rfc2217()
        self.verbs: dict[str, Verb] = {
            "state": self._state,
            "power": self._power,
            "cut": self.board.cut_power_after,
            "reset": self.board.press_reset,
            "boot_button": self.board.press_boot,
            "wifi": self._wifi,
            "misbehave": self._misbehave,
            "vanish": self.port.vanish,
            "come_back": self.port.come_back,
            "rot": self.board.rot,
            "noise": self.board.noise,
            "drop_command": self.board.drop_command,
            "corrupt_command": self.board.corrupt_command,
        }

    def config(self, control: str) -> BoardConfig:
        """Say what a bench file would."""
        return BoardConfig(
            id=self.id,
            chip=self.chip,
            mac=self.mac.hex(":"),
            console=ConsoleConfig(url=self.port.url),
            power=PowerConfig(kind="virtual", off_seconds=0),
            caps=CAPS,
            virtual=True,
            control=control,
        )

    def close(self) -> None:
        """Switch it off, and write its flash to its file."""
        self.board.close()
        self._booting.close()

    def _state(self) -> dict[str, Any]:
        return {**self.board.metadata, "powered": self.board.powered, "wifi": self._access_point.reachable}

    def _power(self, state: str) -> None:
        if state not in {"on", "off"}:
            raise Misuse(f"expected on or off, got {state!r}")
        if state == "on":
            self.board.power_on()
        else:
            self.board.power_off()

    def _wifi(self, *, on: bool) -> None:
        if on:
            self._access_point.switch_on()
        else:
            self._access_point.switch_off()

    def _misbehave(self, what: str, how: dict[str, Any]) -> None:
        if what not in get_args(Misdeed):
            raise Misuse(f"expected one of {', '.join(get_args(Misdeed))}, got {what!r}")
        self._booting.misbehave(cast("Misdeed", what), **how)


def carry_out(line: bytes, boards: dict[str, RigBoard]) -> Answer:
    """Do what an order says, and make its answer."""
    try:
        order = msgspec.json.decode(line, type=Order)
    except msgspec.DecodeError as error:
        return Answer(ok=False, error=f"expected an order: {error}")
    board = boards.get(order.board)
    if board is None:
        return Answer(ok=False, error=f"expected one of {', '.join(boards)}, got {order.board!r}")
    verb = board.verbs.get(order.verb)
    if verb is None:
        return Answer(ok=False, error=f"expected one of {', '.join(board.verbs)}, got {order.verb!r}")
    try:
        return Answer(ok=True, value=verb(**order.arguments))
    except (HarnessError, OSError, TypeError, ValueError) as error:  # TypeError: of other arguments
        return Answer(ok=False, error=str(error))


class _Orders(socketserver.ThreadingTCPServer):
    """Takes orders, each on a connection and in a thread of its own."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, boards: dict[str, RigBoard]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.boards = boards

    @property
    def address(self) -> str:
        """Where it listens: ``127.0.0.1:1234``."""
        return f"127.0.0.1:{self.server_address[1]}"


class _Connection(socketserver.StreamRequestHandler):
    timeout = ORDER_SECONDS
    server: _Orders

    def handle(self) -> None:
        """Answer one order; whoever has gone meanwhile is not told."""
        with contextlib.suppress(OSError):
            line = self.rfile.readline(LINE_BYTES)
            self.wfile.write(msgspec.json.encode(carry_out(line, self.server.boards)) + b"\n")


def serve(chips: Sequence[ChipName], *, source: str, directory: Path, ready_file: Path, flash_dir: Path | None) -> None:
    """Serve boards until the input ends."""
    password = secrets.token_urlsafe(12)
    access_point = AccessPoint(SSID, password)
    if flash_dir:
        flash_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        boards: dict[str, RigBoard] = {}
        for number, chip in enumerate(chips, start=1):
            made = RigBoard(number, chip, access_point, flash_dir)
            stack.callback(made.close)
            boards[made.id] = made
        orders = stack.enter_context(_Orders(boards))
        thread = threading.Thread(target=orders.serve_forever, name="orders", daemon=True)
        thread.start()
        stack.callback(thread.join, ORDER_SECONDS)
        stack.callback(orders.shutdown)
        for one in boards.values():
            one.board.power_on()
        bench = Bench(
            name="virtual",
            lock_dir=str(directory / "locks"),
            state_dir=str(directory / "state"),
            network=NetworkConfig(ssid=SSID, virtual_psk=password),
            boards=tuple(one.config(orders.address) for one in boards.values()),
            source=source,
        )
        _write_whole(ready_file, to_json(bench))
        while os.read(sys.stdin.fileno(), 4096):
            pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process."""
    parser = argparse.ArgumentParser(prog="python -m harness.bench.virtual_rig")
    parser.add_argument("chips")
    parser.add_argument("--source", required=True)
    parser.add_argument("--directory", required=True, type=Path, help="of locks and histories; removed at the end")
    parser.add_argument("--ready-file", required=True, type=Path)
    parser.add_argument("--flash-dir", type=Path)
    parsed = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(SystemExit):  # of SIGTERM
        serve(
            parsed.chips.split(","),
            source=parsed.source,
            directory=parsed.directory,
            ready_file=parsed.ready_file,
            flash_dir=parsed.flash_dir,
        )
    shutil.rmtree(parsed.directory, ignore_errors=True)  # whoever started it may have been killed
    return 0


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole, or not; it has the password of the access point."""
    part = path.with_suffix(".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(data)
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
