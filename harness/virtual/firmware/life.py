"""What the firmware does by itself, from reset on: network, OTA request, update, and then a connection that it keeps.

Order and lines: ``application.cc`` of the xiaozhi firmware, up to its state ``idle``. There the real one waits for a
wake word; this one connects by itself, and again after each loss, so that a board without anybody to speak to it can be
tested. A click of the BOOT button (IO0) ends the connection, or opens it, as with the real one.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from typing import Any

from gateway.protocol.close_codes import CloseCode
from harness.errors import HarnessError
from harness.virtual.firmware.board_channel import BoardChannel
from harness.virtual.firmware.connection import Connection
from harness.virtual.firmware.heap import Heap
from harness.virtual.firmware.log import Log
from harness.virtual.firmware.nvs import Nvs
from harness.virtual.firmware.options import Options
from harness.virtual.firmware.ota import CheckFailed, Offer, Ota
from harness.virtual.firmware.states import States
from harness.virtual.firmware.surroundings import Surroundings
from harness.virtual.firmware.upgrade import UpgradeFailed, upgrade
from harness.virtual.firmware.wifi import CONNECT_SECONDS, Wifi

CHECKS = 10
"""Requests of the OTA address until the firmware goes on without an answer (``MAX_RETRY``)."""
RECONNECT_SECONDS = (1.0, 30.0)
"""From a lost connection, or a failed attempt, to the next attempt: doubled each time, up to the second; give or take a
quarter, so that a gateway that restarts is not met by all boards at once. The real firmware waits for a wake word."""
_TAG = "Application"


class Restart(Exception):
    """The firmware calls ``esp_restart``."""


class Life:
    """One life of the firmware, in the running loop.

    Args:
        surroundings: who it is.
        options: what it is told to be.
        board: confirms and updates.
        nvs, heap, wifi, connection, states, log: its parts.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        options: Options,
        *,
        board: BoardChannel,
        nvs: Nvs,
        heap: Heap,
        wifi: Wifi,
        connection: Connection,
        states: States,
        log: Log,
    ) -> None:
        self._surroundings = surroundings
        self._options = options
        self._board = board
        self._nvs = nvs
        self._heap = heap
        self._wifi = wifi
        self._connection = connection
        self._states = states
        self._log = log
        self._name = options.board or f"virtual-{surroundings.chip}"
        self._wants_connection = asyncio.Event()
        self._lost = asyncio.Event()
        self._is_pressed = False

    async def introduce(self) -> None:
        """Say who it is, having made a UUID at its first start."""
        if not self._nvs.text("board", "uuid"):
            await self._nvs.put("board", "uuid", str(uuid.uuid4()))
        self._log("I", "Board", f"UUID={self._nvs.text('board', 'uuid')} SKU={self._name}")
        self._states.become("starting")

    async def boot(self) -> bool:
        """Get as far as state idle; false: there is no network to be had, and it waits to be configured.

        Raises:
            Restart: it has updated itself.
            ValueError: a version that the firmware aborts on.
        """
        if not await self._has_network():
            self._log("I", "WifiBoard", "WiFi config mode entered")
            self._states.become("wifi_configuring")
            return False
        self._log("I", _TAG, "Network connected")
        self._states.become("activating")
        offer = await self._checked()
        if offer is None or not (offer.has_mqtt or offer.has_websocket):
            self._log("W", _TAG, "No protocol specified in the OTA config, using MQTT")
        self._log("I", _TAG, "Activation done")
        self._heap.report(self._log)
        self._states.become("idle")
        if offer is not None and offer.has_websocket and not offer.has_mqtt:
            await self.become({})
            if self._options.automatic:
                self._wants_connection.set()
        return True

    async def become(self, options: dict[str, Any]) -> None:
        """Be the device that NVS describes, but for these options of `FakeDevice`, and ``url`` and ``device_id``."""
        defaults = {
            "url": self._nvs.text("websocket", "url"),
            "device_id": self._surroundings.mac,
            "client_id": self._nvs.text("board", "uuid"),
            "token": self._nvs.text("websocket", "token"),
            "framing": self._nvs.number("websocket", "version", 1) or 1,
        }
        merged = {**defaults, **options}
        merged["acks"] = self._options.acks and merged.get("acks", True)  # a build that is bad on purpose stays so
        url, device_id = merged.pop("url"), merged.pop("device_id")
        await self._connection.become(url, device_id, **merged)

    # --- booting ------------------------------------------------------------------------------------------------

    async def _has_network(self) -> bool:
        if not self._nvs.networks:
            return False
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._wifi.connected.wait()
        except TimeoutError:
            self._log("W", "WifiBoard", "WiFi connection timeout, entering config mode")
            return False
        return True

    async def _checked(self) -> Offer | None:
        """Ask the OTA address until it answers; None: it did not."""
        ota = Ota(self._surroundings, self._name, self._nvs, self._heap, self._log)
        delay = self._options.ota_retry_seconds
        for attempt in range(1, CHECKS + 1):
            try:
                offer = await ota.check()
            except CheckFailed:
                if attempt == CHECKS:
                    self._log("E", _TAG, "Too many retries, exit version check")
                    break
                self._log("W", _TAG, f"Check new version failed, retry in {delay} seconds ({attempt}/{CHECKS})")
                await asyncio.sleep(delay)
                delay *= 2
            else:
                if offer.new_version:
                    await self._upgrade(offer)
                await self._confirm()
                return offer
        return None

    async def _upgrade(self, offer: Offer) -> None:
        self._log("I", _TAG, f"Starting firmware upgrade from URL: {offer.url}")
        self._states.become("upgrading")
        try:
            await upgrade(self._board, self._log, offer.url)
        except UpgradeFailed:
            self._log("E", _TAG, "Firmware upgrade failed, restarting audio service and continuing operation...")
            self._states.become("activating")
        else:
            self._log("I", _TAG, "Firmware upgrade successful, rebooting...")
            raise Restart

    async def _confirm(self) -> None:
        """Keep what runs (``Ota::MarkCurrentVersionValid``), unless it is told not to."""
        running = await self._board.ask("ota_state")
        if running["partition"] == "factory":
            self._log("I", "Ota", "Running from factory partition, skipping")
            return
        self._log("I", "Ota", f"Running partition: {running['partition']}")
        if running["state"] == "pending_verify" and self._options.confirms:
            self._log("I", "Ota", "Marking firmware as valid")
            await self._board.ask("ota_confirm")

    # --- the connection -----------------------------------------------------------------------------------------

    async def stay_connected(self) -> None:
        """Connect when wanted, and again whenever the connection is lost; never returns."""
        delay = RECONNECT_SECONDS[0]
        while True:
            await self._wants_connection.wait()
            await self._wifi.connected.wait()
            if await self._converse():
                delay = RECONNECT_SECONDS[0]
            device = self._connection.device
            code = device.close_code if device is not None else None
            if code is not None and not _may_retry(code):
                delay = RECONNECT_SECONDS[1]
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))  # noqa: S311 - no secret hangs on it
            delay = min(delay * 2, RECONNECT_SECONDS[1])

    async def _converse(self) -> bool:
        """Connect, and return when the connection has ended; whether there was one."""
        self._states.become("connecting")
        self._lost.clear()
        try:
            await self._connection.connect()
            await self._connection.hello()
        except HarnessError as error:
            self._log("W", "wsdevice", str(error).splitlines()[0])
            if self._connection.device is not None:
                self._connection.device.cut()
            self._states.become("idle")
            return False
        self._states.become("listening")
        await self._end()
        if self._states.now == "speaking":
            self._states.become("listening")
        self._states.become("idle")
        return True

    async def _end(self) -> None:
        device = self._connection.device
        assert device is not None, "it has just said hello"
        ends = [asyncio.ensure_future(device.closed.wait()), asyncio.ensure_future(self._lost.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    # --- what happens to it -------------------------------------------------------------------------------------

    def network_lost(self) -> None:
        """The network is gone: whatever is connected falls silent."""
        if self._connection.is_open:
            self._log("I", _TAG, "Closing audio channel due to network disconnection")
            self._connection.vanish()
        self._lost.set()

    def boot_button(self, *, pressed: bool) -> None:
        """A click in state idle opens the connection; in a conversation it ends it."""
        was_pressed, self._is_pressed = self._is_pressed, pressed
        if pressed or not was_pressed:
            return
        if self._connection.is_open and self._connection.device is not None:
            self._wants_connection.clear()
            self._connection.device.cut()
        elif self._states.now == "idle":
            self._wants_connection.set()

    def told(self, message: dict[str, Any]) -> None:
        """Follow what the gateway says: it speaks, or has ended."""
        if message.get("type") == "tts" and self._states.now in {"listening", "speaking"}:
            if message.get("state") == "start":
                self._states.become("speaking")
            elif message.get("state") == "stop":
                self._states.become("listening")


def _may_retry(code: int) -> bool:
    try:
        return CloseCode(code).retry
    except ValueError:  # of another gateway
        return True
