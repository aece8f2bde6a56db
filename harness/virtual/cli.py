"""``wsdevice virtual-board``: one virtual board on a port of this machine, for any tool that talks to serial ports."""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue

from gateway.exit_codes import ExitCode
from harness.errors import HarnessError
from harness.virtual import events
from harness.virtual.board import NOT_REAL, VirtualBoard
from harness.virtual.boot import Booting
from harness.virtual.events import BoardEvent

WAITING = 1000
"""Events that wait to be printed; what comes while so many wait is not: a board does not wait for a terminal."""

_UNPRINTED = (events.FlashErased, events.FlashWritten)  # hundreds in a second while a host writes


def virtual_board(arguments: argparse.Namespace) -> int:
    """Serve a board until a signal; return the exit code."""
    queue: SimpleQueue[BoardEvent | None] = SimpleQueue()
    began = time.monotonic()

    def watch(event: BoardEvent) -> None:
        if not isinstance(event, _UNPRINTED) and queue.qsize() < WAITING:
            queue.put(event)

    try:
        booting = Booting(arguments.access_point)
        board = VirtualBoard(
            arguments.chip,
            boot=booting,
            flash_size=arguments.flash_size,
            mac=arguments.mac or _mac_of(arguments.flash_file),
            flash_file=arguments.flash_file,
            watch=watch,
        )
        with board:
            port = board.rfc2217(port=arguments.port)
            device = board.pty().path if arguments.pty else None
            _take_signals(queue)  # before it is said that Ctrl-C ends it
            _introduce(board, port.url, device)
            board.power_on(download=arguments.download)
            _tell(board, queue, began)
        booting.close()
    except HarnessError as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.CANNOT_START
    return ExitCode.OK


def _take_signals(queue: SimpleQueue[BoardEvent | None]) -> None:
    """Have a signal end `_tell`; putting into a SimpleQueue is one of the few things that a handler may do."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: queue.put(None))


def _introduce(board: VirtualBoard, url: str, device: str | None) -> None:
    size = f"{board.flash.size >> 20} MB of flash"
    print(f"virtual {board.chip.title}, MAC {board.mac.hex(':')}, {size}; not real are its {', '.join(NOT_REAL)}")
    print(f"  port:   {url}")
    if device is not None:
        print(f"  device: {device} (a pty: bytes and baud rate, but no reset through it)")
    print(f"  try:    {sys.executable} -m esptool --port {url} flash-id")
    if find_spec("esptool") is None:
        print("  esptool is not installed; it comes with: pip install 'wsdevice[hil]'")
    print("Ctrl-C ends it", flush=True)


def _tell(board: VirtualBoard, queue: SimpleQueue[BoardEvent | None], began: float) -> None:
    """Print what happens until a signal comes; the flash is saved each time a host has gone."""
    last, again = "", 0
    while (event := queue.get()) is not None:
        if isinstance(event, events.ClientDisconnected):
            board.save()
        if str(event) == last:
            again += 1  # with nothing flashed the chip is reset more than once in a second, for ever
            continue
        if again:
            print(f"{'':13}the same again: {again:,} times")
        last, again = str(event), 0
        print(f"{event.at - began:9.3f} s  {event}", flush=True)


def _mac_of(flash_file: Path | None) -> bytes | None:
    """Return a MAC that stays with the flash; None: there is nothing to stay with."""
    if flash_file is None:
        return None
    return b"\x02" + hashlib.sha256(str(flash_file.absolute()).encode()).digest()[:5]
