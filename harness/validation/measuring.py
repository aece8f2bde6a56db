"""Measures one board that is online: each group of measurements, as often as wanted, with a gateway of its own.

What cannot be measured says why. What it finds besides, crashes, losses, a supply that does not obey, is raised or left
in the `Observation`.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from websockets.frames import Opcode

from gateway.config import Config
from gateway.errors import BadMessage
from gateway.protocol.decoding import decode_object
from harness.bench.front import Front
from harness.bench.held_board import HeldBoard
from harness.bench.rig_control import RigControl
from harness.blocking import LoopThread
from harness.board.orders import NoAnswer, OrderFailed, Orders
from harness.board.power import PowerFailed
from harness.fakes.device import FakeDevice
from harness.firmware.fitness import sizes
from harness.gateways import OwnGateway
from harness.records import WireFrame
from harness.report.record import Scenario
from harness.validation.heap_samples import HeapSamples
from harness.validation.observing import Observation
from harness.validation.spread import quantile
from harness.validation.updating import Updating

BACK = 90.0
"""Seconds for a board to be back: firmware gives up on a Wi-Fi after 60, and says so."""
STARTS = 5.0
"""Seconds from power to the ROM's first line: milliseconds, and what a hub takes to switch."""
WIFI_AWAY = 1.0
"""Seconds without an access point: enough for beacons to be missed, too little for a scan that waits for minutes."""
PING_EVERY = 0.05
PINGING = 2.0
"""Seconds of WebSocket pings: forty of them."""
FRAME = 0.06
"""Seconds of one audio frame, of the firmware."""
FRAMES = 25
_PACKET = base64.b64encode(b"\x58" + bytes(79)).decode()  # of Opus at 11 kbit/s: 80 bytes each 60 ms
SETTLES = 1.0
"""Seconds for the last frames to pass."""
RESETS_AT_MOST = 1000
"""Within a minute, before the gateway refuses a board."""
IDLE = 2.0
"""Seconds of looking on."""
HEAP_EVERY = 0.25
HEAP_AT_LEAST = 3.0
"""Seconds of heap samples: with a resolution of bytes, a leak of 1 KiB/s is 3 KiB by then."""
SOAK_EVERY = 5.0
_LETTERS = ("validation-1", "validation-2", "validation-3")
_SENDER = "02:57:53:ff:ff:01"  # locally administered; no board of a virtual rig has it
_ORDER = 2.0  # seconds for the firmware to answer an order that costs it nothing

Values = Sequence[float]
Report = Callable[[str, Values, str, str], None]
"""Is told what was measured: its name, the values, why there are none, and a remark."""


class Measuring:
    """The measurements of one board; ``with`` gives it a gateway, and ends that. Calls block.

    Args:
        held: the board, online.
        front: where it finds gateways.
        state: directory for the gateway's state.
        report: is told what was measured.

    Attributes:
        observation: of the board, from now on.
    """

    def __init__(self, held: HeldBoard, front: Front, state: Path, report: Report) -> None:
        self.held = held
        self._front = front
        self._report = report
        self._state = state
        self._thread = LoopThread()
        self._gateway = OwnGateway(_config(front), state)
        self._orders: Orders | None = None
        self._heap = HeapSamples()
        self._asked_resets = 0
        self.observation: Observation

    def __enter__(self) -> Self:
        """Start the gateway, and lead the board to it from its next connection on."""
        self._thread.__enter__()
        self._thread.run(self._gateway.start())
        self._lead()
        self.observation = Observation(self.held, self._front, self._thread)
        self._orders = self._thread.call(lambda: Orders(self.held.console))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Lead the board home, and stop the gateway."""
        self.observation.__exit__(kind, error, traceback)
        self._front.lead_home()
        with suppress(TimeoutError):
            if self._orders is not None:
                self._thread.run(self._orders.aclose())
            self._thread.run(self._gateway.stop())
        self._thread.__exit__(kind, error, traceback)

    # --- the groups ---------------------------------------------------------------------------------------------

    def sizes(self, _: int) -> None:
        """Report the sizes of the build, and how long it took to write it."""
        build = self.held.build
        otadata = build.table.otadata if build is not None else None
        for part in sizes(build) if build is not None else ():
            if part.label and not (otadata and part.label == otadata.label):  # always the same two sectors
                self._report(f"image_bytes.{part.label}", [part.used], "", "")
                self._report(f"free_bytes.{part.label}", [part.free], "", "")
        flashed = self.held.board.flashed
        if flashed is not None and flashed.bytes_written:
            self._report("flash_seconds", [flashed.seconds], "", str(flashed))
        else:
            self._report("flash_seconds", [], "nothing had to be written", "")

    def boot(self, repeats: int) -> None:
        """Reset it, and report how it gets to the gateway."""
        to_ip: list[float] = []
        to_gateway: list[float] = []
        to_answer: list[float] = []
        for _ in range(repeats):
            began = time.monotonic()
            self._asked_resets += 1
            self.held.reset()
            greeted = self.observation.await_greeted(began, BACK, "it to come to the gateway after a reset")
            first = self.observation.starts(self.held.board.reset_at)
            started = first[0].at if first else began
            address = self.observation.address_at(self.held.board.reset_at)
            if address is not None:
                to_ip.append(address - started)
                to_gateway.append(greeted.answered - address)
            to_answer.append(1000 * (greeted.answered - greeted.said))
        untold = "its console does not tell that it has an address"
        self._report("boot_to_ip", to_ip, untold, "")
        self._report("ip_to_gateway", to_gateway, untold, "")
        self._report("hello_to_answer", to_answer, "", "")

    def power(self, repeats: int) -> None:
        """Cut its power, and report how long it takes to be back.

        Raises:
            PowerFailed: it would not be cut.
        """
        if self.held.power.kind == "none":
            self._report("reconnect_power", [], "it has no supply that can be switched", "")
            return
        back: list[float] = []
        for _ in range(repeats):
            self._asked_resets += 1
            self.held.power_off()
            began = time.monotonic()
            self._await_start(self.held.board.power_on())
            back.append(self.observation.await_greeted(began, BACK, "it to be back with its power").answered - began)
            self.held.board.bring_up.stage = "booted"  # it was seen to; asked to be up, it would be reset once more
            self.held.up("online")
        self._report("reconnect_power", back, "", "")

    def gateway(self, repeats: int) -> None:
        """Restart the gateway, and report how long it takes to be back."""
        back: list[float] = []
        for _ in range(repeats):
            self._restart(_config(self._front))
            began = time.monotonic()
            greeted = self.observation.await_greeted(began, BACK, "it to be back after a restart of the gateway")
            back.append(greeted.answered - began)
        self._report("reconnect_gateway", back, "", "")

    def wifi(self, repeats: int) -> None:
        """Take its Wi-Fi away, and report how long it takes to be back."""
        if not self.held.config.control:
            self._report("reconnect_wifi", [], "the rig cannot switch the access point", "")
            return
        back: list[float] = []
        for _ in range(repeats):
            self.observation.network_is_away(WIFI_AWAY + BACK)
            RigControl(self.held.config).misbehave("lose_wifi", seconds=WIFI_AWAY)
            began = time.monotonic() + WIFI_AWAY
            try:
                greeted = self.observation.await_greeted(began - WIFI_AWAY, BACK, "it to be back after a loss of Wi-Fi")
            finally:
                self.observation.network_is_back()
            back.append(max(0.0, greeted.answered - began))
        self._report("reconnect_wifi", back, "", "")

    def heap(self, _: int) -> None:
        """Sample its heap for a while, and report it."""
        self._sample(HEAP_AT_LEAST)

    def _sample(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        every = HEAP_EVERY if seconds <= 60 else SOAK_EVERY
        while time.monotonic() < ends and not self.observation.crashes:
            self._sample_heap()
            time.sleep(min(every, max(0.0, ends - time.monotonic())))
        self._heap.hear(self.held.console.lines(self.observation.began))
        self._report("minimum_free_heap", self._heap.minimum(), self._heap.why_none, "")
        self._report("heap_slope", self._heap.slopes(), self._heap.why_none, "")

    def soak(self, seconds: float) -> None:
        """Leave it connected, for so long, and look on; ends early when it crashes."""
        began = time.monotonic()
        self._sample(seconds)
        self._report("lost_connections", [len(self.observation.ends(began))], "", f"in {seconds:g} s")

    def updates(self, tell: Callable[[Scenario], None]) -> str:
        """Run the scenarios of updates; return why there are none, empty where there are. See `Updating`."""
        assert self.held.build is not None, "it was flashed"
        images = self._state / "images"
        images.mkdir(exist_ok=True)
        self._restart(_config(self._front, images=images))
        return Updating(self.held, self.observation, images, tell).run(self.held.build)

    def resets(self) -> None:
        """Report the starts of the chip that nobody asked for, since it was first looked at."""
        starts = self.observation.starts()
        unasked = max(0, len(starts) - self._asked_resets)
        causes = ", ".join(dict.fromkeys(start.cause for start in starts if start.kind != "power_on"))
        self._report("unasked_resets", [unasked], "", f"reset by {causes or 'power-on'}" if unasked else "")

    def _await_start(self, since: int) -> None:
        """Wait for the chip to start, which it does when it was without power.

        Raises:
            PowerFailed: it does not: what switches its supply only says so.
        """
        deadline = time.monotonic() + STARTS
        while not self.observation.starts(since):
            if time.monotonic() > deadline:
                why = f"when it was given power again it did not start within {STARTS:g} s: it never was without"
                raise PowerFailed(self.held.id, "switch it off", why)
            time.sleep(0.02)

    # --- parts --------------------------------------------------------------------------------------------------

    def pings(self, _: int) -> None:
        """Have the gateway ping it, and report the round trips; it may lose its connection by that."""
        config = _config(self._front, pings=self.held.mac)
        self._restart(config)
        began = time.monotonic()
        self.observation.await_greeted(began, BACK, "it to be back for the gateway's pings")
        since = time.monotonic()
        time.sleep(PINGING)
        trips = self._paired(since)
        self._restart(_config(self._front))
        back = time.monotonic()
        self.observation.await_greeted(back, BACK, "it to be back after the gateway's pings")
        why = "" if trips else "it answers no WebSocket ping"
        self._report("round_trip_p50", [quantile(trips, 0.5)] if trips else [], why, f"{len(trips)} pings")
        self._report("round_trip_p99", [quantile(trips, 0.99)] if trips else [], why, f"{len(trips)} pings")

    def _paired(self, since: float) -> list[float]:
        """Milliseconds from each ping to its pong; the gateway's pings are alike, so pongs are taken in their order."""
        waiting: dict[int, deque[float]] = {}
        trips = []
        for record in self.observation.records(since):
            if not isinstance(record, WireFrame):
                continue
            if record.opcode is Opcode.PING and not record.sent:
                waiting.setdefault(record.connection, deque()).append(record.at)
            elif record.opcode is Opcode.PONG and record.sent and waiting.get(record.connection):
                trips.append(1000 * (record.at - waiting[record.connection].popleft()))
        return trips

    def letters(self, _: int) -> None:
        """Have another device send it messages, and report how many it acknowledges."""
        began = time.monotonic()
        self._thread.run(self._send_letters())
        said = self.observation.frames(began, sent=True, opcodes=frozenset({Opcode.TEXT}))
        known = {letter for frame in said for letter in _acknowledged(frame.payload)}
        self._report("acknowledged", [100 * len(known.intersection(_LETTERS)) / len(_LETTERS)], "", "")

    async def _send_letters(self) -> None:
        """Have another device send messages to the board, and wait until what is to come has come."""
        async with FakeDevice(self._gateway.url, _SENDER, name="sender") as sender:
            for letter in _LETTERS:
                await sender.send({"type": "peer", "to": self.held.mac, "payload": {"text": "hello"}, "id": letter})
            await asyncio.sleep(SETTLES)

    def audio(self, repeats: int) -> None:
        """Have it send audio, and report what is lost and late."""
        if "audio" not in self.held.verbs:
            why = "its firmware takes no order to send audio"
            self._report("audio_lost", [], why, "")
            self._report("audio_late", [], why, "")
            return
        lost: list[float] = []
        late: list[float] = []
        for _ in range(repeats):
            began = time.monotonic()
            planned = self._thread.run(self._send_audio())
            passed = self.observation.frames(began, sent=True, opcodes=frozenset({Opcode.BINARY}))
            lost.append(max(0, FRAMES - len(passed)))
            behind = [frame.at - at for frame, at in zip(passed, planned, strict=False)]
            late.append(100 * sum(one - min(behind) > FRAME for one in behind) / FRAMES if behind else 100.0)
        self._report("audio_lost", lost, "", f"of {FRAMES}")
        self._report("audio_late", late, "", f"of {FRAMES} frames")

    async def _send_audio(self) -> list[float]:
        """Order a frame each 60 ms; return when each was ordered."""
        assert self._orders is not None, "it was entered"
        loop = asyncio.get_running_loop()
        begins = loop.time()
        planned = []
        for number in range(FRAMES):
            await asyncio.sleep(max(0.0, begins + number * FRAME - loop.time()))
            planned.append(loop.time())
            self._orders.post("audio", packet=_PACKET, timestamp_ms=int(1000 * number * FRAME))
        await asyncio.sleep(SETTLES)
        return planned

    def idle(self, _: int) -> None:
        """Look on while nobody wants anything of it, and report what it says and loses."""
        began = time.monotonic()
        time.sleep(IDLE)
        said = self.observation.frames(began, sent=True, opcodes=frozenset({Opcode.TEXT, Opcode.BINARY}))
        self._report("idle_messages", [len(said) / IDLE], "", "")
        self._report("lost_connections", [len(self.observation.ends(began))], "", f"in {IDLE:g} s")

    def _sample_heap(self) -> None:
        """Ask for its heap, if its firmware tells; else its console has to do."""
        if "heap" not in self.held.verbs:
            return
        assert self._orders is not None, "it was entered"
        try:
            answer: Mapping[str, Any] = self._thread.run(self._orders.call("heap", _ORDER))
        except (NoAnswer, OrderFailed):
            return  # one sample less; whether it is still there is seen elsewhere
        self._heap.add(time.monotonic(), int(answer["free"]), int(answer["minimum"]))

    # --- its gateway --------------------------------------------------------------------------------------------

    def _restart(self, config: Config) -> None:
        self._thread.run(self._gateway.stop())
        server = self._gateway.config.server  # with the ports it had
        self._gateway.config = msgspec.structs.replace(config, server=server)
        self._thread.run(self._gateway.start())
        self._lead()

    def _lead(self) -> None:
        network = self._gateway.gateway.network
        self._front.lead_to(("127.0.0.1", network.port("websocket")), ("127.0.0.1", network.port("http")))


def _config(front: Front, *, pings: str = "", images: Path | None = None) -> Config:
    config = Config()
    beats = msgspec.structs.replace(
        config.heartbeat, control_ping_devices=[pings] if pings else [], control_ping_interval=PING_EVERY
    )
    server = msgspec.structs.replace(config.server, public_websocket_url=front.url)
    ota = msgspec.structs.replace(config.ota, image_dir=str(images or ""))
    # cut off again and again within seconds, a board would be taken for one that flaps, and refused
    handover = msgspec.structs.replace(config.handover, replacements=RESETS_AT_MOST)
    return msgspec.structs.replace(config, server=server, heartbeat=beats, ota=ota, handover=handover)


def _acknowledged(payload: bytes) -> set[str]:
    """Return the messages that a frame acknowledges (docs/peer-messages.md)."""
    try:
        message = decode_object(payload)
    except BadMessage:
        return set()
    if message.get("type") != "peer" or message.get("event") != "ack":
        return set()
    ids = message.get("ids")
    return {str(one) for one in [message.get("id"), *(ids if isinstance(ids, list) else [])] if one is not None}
