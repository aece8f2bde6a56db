"""Joins the parts of the firmware, and runs them until one of them ends this life."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from harness.device import Message
from harness.fakes.storm import storm
from harness.virtual.firmware.board_channel import BoardChannel
from harness.virtual.firmware.connection import Connection, is_handover
from harness.virtual.firmware.heap import LOWEST, REPORT_TICKS, TICK_SECONDS, Heap
from harness.virtual.firmware.life import Life, Restart
from harness.virtual.firmware.log import Log
from harness.virtual.firmware.nvs import Nvs
from harness.virtual.firmware.options import Options
from harness.virtual.firmware.states import States
from harness.virtual.firmware.surroundings import Surroundings
from harness.virtual.firmware.test_console import Arguments, TestConsole
from harness.virtual.firmware.wifi import Wifi

RESTARTS = 70
"""Exit status that stands for ``esp_restart``."""
_REBOOT_SECONDS = 0.2  # the firmware waits a second, for people to read its display
_STORM_SECONDS = 3600.0  # a storm ends with its connection, or when it is told to
_TAG = "Application"


class _Ends(Exception):
    """This life is over; the first argument is the exit status."""


class Application:
    """The firmware, in the running loop.

    Args:
        surroundings: who it is.
        options: what it is told to be.
        board: the channel to it.
        typed: what comes in on the UART.
        log: what goes out.
    """

    def __init__(
        self, surroundings: Surroundings, options: Options, board: BoardChannel, typed: asyncio.StreamReader, log: Log
    ) -> None:
        self._options = options
        self._board = board
        self._typed = typed
        self._log = log
        self._per_second = options.ping_storm
        self._panic_on_handover = options.panic_on_handover
        self._acks = True
        self._heap = Heap(options.heap, options.heap_leak)
        nvs = Nvs(surroundings.nvs, board)
        self._connection = Connection(log, has_network=self._has_network, crashes=self._crash, said=self._said)
        self._wifi = Wifi(board, nvs, log, scan_seconds=options.wifi_scan_seconds, lost=self._network_lost)
        self._states = States(log)
        self._life = Life(
            surroundings,
            options,
            board=board,
            nvs=nvs,
            heap=self._heap,
            wifi=self._wifi,
            connection=self._connection,
            states=self._states,
            log=log,
        )
        self._console = TestConsole(self._connection, nvs, self._heap, board, log, self._configure)
        self._automatic: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._storming: asyncio.Task[Any] | None = None

    async def run(self) -> int:
        """Live; return the exit status."""
        self._board.on_event = self._event
        statuses = [0]
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._spawn(self._live())
                self._spawn(self._report_heap())
                self._spawn(self._watch_board())
                for what, seconds, how in self._timed():
                    self._spawn(self._later(what, seconds, how))
        except* _Ends as ends:
            statuses = [error.args[0] for error in ends.exceptions]
        finally:
            await self._console.aclose()
            await self._connection.aclose()
        return int(statuses[0])

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        assert self._group is not None, "it runs"
        return self._group.create_task(work)

    # --- its life -----------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        await asyncio.sleep(self._options.boot_delay_seconds)
        await self._life.introduce()
        self._spawn(self._wifi.run())
        try:
            is_idle = await self._life.boot()
        except Restart:
            raise _Ends(RESTARTS) from None
        except ValueError:  # std::stoi throws where a version has no number, and nobody catches it
            await self._panic("abort")
            return
        if not is_idle:
            return
        self._automatic = self._spawn(self._life.stay_connected())
        self._spawn(self._console.serve(self._typed))
        self._console.announce()

    async def _report_heap(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            ticks += 1
            if self._heap.free < LOWEST:
                await self._panic("abort")
            if ticks % REPORT_TICKS == 0:
                self._heap.report(self._log)

    async def _watch_board(self) -> None:
        await self._board.closed.wait()
        raise _Ends(1)  # whoever ran the board is gone, and nobody kills this process

    async def _configure(self, options: Arguments) -> None:
        if self._automatic is not None:
            self._automatic.cancel()
            await asyncio.wait([self._automatic])
            self._automatic = None
        if not self._acks:
            options["acks"] = False
        await self._life.become(options)
        if self._states.now in {"connecting", "listening", "speaking"}:
            self._states.become("idle")

    # --- what happens to it -------------------------------------------------------------------------------------

    def _event(self, event: dict[str, Any]) -> None:
        kind = event.get("event")
        if kind == "wifi":
            self._wifi.happened(event)
        elif kind == "boot_button":
            self._life.boot_button(pressed=bool(event["pressed"]))
        elif kind == "misbehave":
            self._misbehave(event)

    def _has_network(self) -> bool:
        return self._wifi.connected.is_set()

    def _network_lost(self) -> None:
        self._life.network_lost()

    def _said(self, message: Message) -> None:
        self._life.told(message)
        kind = message.get("type")
        if kind == "hello" and self._per_second:
            self._storm()
        elif kind == "system" and message.get("command") == "reboot":
            self._log("I", _TAG, "Rebooting...")
            self._spawn(self._restart())
        elif self._panic_on_handover and is_handover(message):
            self._spawn(self._panic(self._panic_on_handover))

    def _crash(self) -> None:
        self._spawn(self._panic("LoadProhibited"))

    async def _restart(self) -> None:
        await asyncio.sleep(_REBOOT_SECONDS)
        raise _Ends(RESTARTS)

    # --- misdeeds -----------------------------------------------------------------------------------------------

    async def _panic(self, kind: str) -> None:
        await self._board.ask("misbehave", what="panic", how={"kind": kind})

    def _timed(self) -> list[tuple[str, float, dict[str, Any]]]:
        options = self._options
        after: tuple[tuple[str, float | None, dict[str, Any]], ...] = (
            ("panic", options.panic_after_seconds, {"kind": options.panic_kind}),
            ("brown_out", options.brown_out_after_seconds, {}),
            ("task_watchdog", options.watchdog_after_seconds, {}),
            ("hang", options.hang_after_seconds, {}),
        )
        return [(what, seconds, how) for what, seconds, how in after if seconds is not None]

    async def _later(self, what: str, seconds: float, how: dict[str, Any]) -> None:
        await asyncio.sleep(self._options.boot_delay_seconds + seconds)
        await self._board.ask("misbehave", what=what, how=how)

    def _misbehave(self, event: dict[str, Any]) -> None:
        what = event.get("what")
        if what == "heap_leak":
            self._heap.leak(int(event["bytes_per_second"]))
        elif what == "ping_storm":
            self._per_second = float(event["per_second"])
            self._storm()
        elif what == "acknowledge":
            self._acks = bool(event["peer_messages"])
        elif what == "panic_on_handover":
            self._panic_on_handover = str(event.get("kind", "abort"))

    def _storm(self) -> None:
        if self._storming is not None:
            self._storming.cancel()
        device = self._connection.device
        if device is not None and self._per_second:
            message = {"type": "ping"}
            self._storming = self._spawn(storm(device, message, per_second=self._per_second, seconds=_STORM_SECONDS))
