"""One connection through the proxy: its two sides, and how it ends."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from gateway.identity import device_id, printable
from harness.faults.end import End
from harness.faults.passing import DIRECTIONS, Closed, Direction, Identified, Opened, Passed, Watch
from harness.faults.way import Mark, Way

Dial: TypeAlias = Callable[[Callable[[], asyncio.Protocol]], Coroutine[Any, Any, Any]]
"""Connects to the gateway with a protocol that it makes."""

DIAL_SECONDS = 10.0
"""To reach the gateway; then the device is reset."""
LINGER_SECONDS = 1.0
"""For both sides to close what was cut: a side that does not read does not notice, and must not keep it for ever."""
HEAD_BYTES = 16 * 1024
"""In which a request says whose it is: twice the longest line that the gateway takes."""
_DEVICE = re.compile(rb"\r\n(?:device-id|device_id|x-device-id):[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)


class Proxied:
    """A connection of a device, and the one to the gateway that belongs to it.

    The gateway is dialled when the first bytes for it get through, so that a connection which a fault keeps away never
    reaches it. All calls come from the loop.

    Args:
        number: from 1.
        device: whose it is, where that is known beforehand.
        dial: connects to the gateway.
        known: is called when it has come, and again when it is known whose it is.
        watch: is shown what happens.
        chance: for jitter and slices.
        gone: is called when both sides are gone.

    Attributes:
        device: whose it is: its ``Device-Id``, once it has said so in its request; empty before.
        to_gateway, to_device: its two directions.
        silent: nothing passes any more, and neither side is told.
        is_swallowed: what is sent on it, one way at least, goes nowhere.
        lost_power: it is silent because its device has no power; set by whoever took it.
        closed: set when both sides are gone.
    """

    def __init__(
        self,
        number: int,
        device: str,
        dial: Dial,
        known: Callable[[Proxied], None],
        watch: Watch,
        chance: random.Random,
        gone: Callable[[Proxied], None],
    ) -> None:
        self.number = number
        self.device = device
        self.silent = self.is_swallowed = self.lost_power = False
        self.closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._dial = dial
        self._tell_known = known
        self._watch = watch
        self._tell_gone = gone
        self.to_gateway = Way("to_gateway", self, chance)
        self.to_device = Way("to_device", self, chance)
        self.device_end = End(self, self.to_device)
        self._gateway_end: End | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._head: bytes | None = None if device else b""  # of the request, until it has said whose it is
        self._hears = dict.fromkeys(DIRECTIONS, True)  # whether what is sent that way is heard
        self._finished = 0  # ways that have handed on their end
        self._why = ""
        self._is_over = False

    def __repr__(self) -> str:
        return f"<connection {self.number} of {self.device or 'a device not known yet'}>"

    def way(self, direction: Direction) -> Way:
        """Return one of its directions."""
        return self.to_gateway if direction == "to_gateway" else self.to_device

    # --- what can be done to it -----------------------------------------------------------------------------------

    def cut(self, why: str = "cut by a fault") -> None:
        """End it: FIN to both sides, behind what has got through. What they send from now on is dropped."""
        self._end(why)
        self.silent = False
        self.to_gateway.drop()
        self.to_device.drop()
        for end in self._ends():
            end.finish()
        self._loop.call_later(LINGER_SECONDS, self.abort)

    def reset(self, why: str = "reset by a fault") -> None:
        """End it: RST to both sides; what has not got through is lost."""
        self._end(why)
        for end in self._ends():
            end.reset()

    def hold(self, direction: Direction, held: bool) -> None:
        """Let nothing pass one way, nor acknowledgements of what goes the other way; or let all pass again."""
        way = self.way(direction)
        if held:
            way.hold()
        else:
            way.release()
        self._hears[direction] = not held and not self.silent
        for end in self._ends():
            end.hear(self._hears[self._from(end).direction])

    def silence(self) -> None:
        """Let nothing pass any more, neither acknowledgements nor the end of it."""
        self.silent = True
        for direction in DIRECTIONS:
            self.way(direction).silence()
            self.hold(direction, True)

    def swallow(self, direction: Direction) -> None:
        """Acknowledge what is sent one way, and let it go nowhere; nothing, where neither side is heard any more."""
        if not self.silent:
            self.is_swallowed = True
            self.way(direction).drop()

    def refuse(self) -> None:
        """Answer whatever still comes from the gateway with RST, as a device does that has been reset meanwhile."""
        self.device_end.abort()
        if self._gateway_end is None:
            self.abort()
        else:
            self._gateway_end.refuse()

    def abort(self, why: str = "") -> None:
        """Close both sockets, whatever they still hold; idempotent."""
        self._end(why)
        for end in self._ends():
            end.abort()

    def _end(self, why: str) -> None:
        self._why = self._why or why
        self._is_over = True
        if self._dialling is not None and self._gateway_end is None:
            self._dialling.cancel()

    # --- the gateway is dialled -------------------------------------------------------------------------------------

    def wants_target(self, way: Way) -> None:
        """Dial the gateway, unless that is being done, or there is nothing to tell it."""
        if self._dialling is not None or self._is_over:
            return
        if not way.has_bytes:
            self.abort()  # closed by the device, before it had said anything
            return
        self._dialling = self._loop.create_task(self._dial_gateway(), name=f"{self!r} dials the gateway")

    async def _dial_gateway(self) -> None:
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await self._dial(self._make_gateway_end)
        except OSError as error:
            self.reset(f"the gateway could not be reached: {error}")

    def _make_gateway_end(self) -> End:
        self._gateway_end = End(self, self.to_gateway)
        self._gateway_end.hear(self._hears["to_device"])
        return self._gateway_end

    # --- `Sides`: its sockets tell it -------------------------------------------------------------------------------

    def side_connected(self, end: End) -> None:
        """Have its ways begin and end there."""
        if self._is_over:
            end.abort()
        elif end is self.device_end:
            self.to_gateway.source = end
            self.to_device.target = end
            self._watch(Opened(self._loop.time(), self.number, end.peer))
            self._tell_known(self)
        else:
            self.to_device.source = end
            self.to_gateway.target = end

    def side_sent(self, end: End, data: bytes) -> None:
        """Pass it on."""
        if end is not self.device_end:
            self.to_device.take(data)
            return
        if self._head is not None:
            self._look_for_device(data)
        self.to_gateway.take(data)

    def side_ended(self, end: End) -> None:
        """Pass it on."""
        self._why = self._why or f"closed by {self._called(end)}"
        self._from(end).take(Mark.FIN)

    def side_lost(self, end: End, error: BaseException | None) -> None:
        """Pass it on, if it was not us."""
        if error is not None:
            self._why = self._why or f"reset by {self._called(end)}"
            self._from(end).take(Mark.RESET)
        if all(end.is_lost for end in self._ends()):
            self._all_lost()

    def _all_lost(self) -> None:
        self._end("closed")
        self.to_gateway.drop()
        self.to_device.drop()
        if not self.closed.is_set():
            self.closed.set()
            self._watch(Closed(self._loop.time(), self.number, self._why))
            self._tell_gone(self)

    def _look_for_device(self, data: bytes) -> None:
        assert self._head is not None
        self._head += data[:HEAD_BYTES]
        head, end, _ = self._head.partition(b"\r\n\r\n")
        found = _DEVICE.search(head + end)
        if found is not None:
            self.device = device_id(printable(found[1].decode("latin-1"), 100))
            self._watch(Identified(self._loop.time(), self.number, self.device))
            self._tell_known(self)
        if found is not None or end or len(self._head) >= HEAD_BYTES:
            self._head = None

    # --- `Owner`: its ways tell it ----------------------------------------------------------------------------------

    def passed(self, way: Way, data: bytes) -> None:
        """Show it."""
        self._watch(Passed(self._loop.time(), self.number, way.direction, data))

    def finished(self, way: Way) -> None:  # noqa: ARG002 - the interface; both count the same
        """Close both sockets when both streams have ended."""
        self._finished += 1
        if self._finished == 2:
            for end in self._ends():
                end.close()

    def limit_reached(self, way: Way) -> None:
        """End it."""
        self.cut(f"cut by a fault: {way.bytes_passed} bytes have passed {way.direction}")

    def _from(self, end: End) -> Way:
        return self.to_gateway if end is self.device_end else self.to_device

    def _called(self, end: End) -> str:
        return "the device" if end is self.device_end else "the gateway"

    def _ends(self) -> list[End]:
        return [self.device_end] if self._gateway_end is None else [self.device_end, self._gateway_end]
