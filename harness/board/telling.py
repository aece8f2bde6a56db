"""The sending side of a board's device: what it is told to do goes to its firmware as orders."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from websockets.frames import Opcode

from gateway.protocol.messages import encode
from harness.board.order_failures import meant
from harness.board.orders import OrderFailed, Orders
from harness.device import Capability
from harness.errors import Misuse
from harness.receiving import EXPECT, Receiving


class Telling(Receiving):
    """A device that is told what to send, in the order of the calls.

    Args:
        name: what reports call it.
        framing: of its binary frames.
        way: where it connects to.
        orders: to its firmware.
        verbs: the orders its firmware takes.
        capabilities: what it can be asked for.

    Attributes:
        capabilities: as above.
    """

    def __init__(
        self,
        name: str,
        framing: int,
        *,
        way: str,
        orders: Orders,
        verbs: frozenset[str],
        capabilities: frozenset[Capability],
    ) -> None:
        super().__init__(name, framing)
        self.capabilities = capabilities
        self._way = way
        self._orders = orders
        self._verbs = verbs

    # --- for those who test -------------------------------------------------------------------------------------

    async def send(self, message: Mapping[str, Any] | msgspec.Struct) -> None:
        """Have it send a JSON message; in the order of the calls. Raises `NotConnected` when it is not connected."""
        self._need("send")
        await self._order("send", message=msgspec.Raw(encode(message)))

    async def send_text(self, raw: str | bytes) -> None:
        """Have it send a text message as it is, well-formed or not."""
        await self._frame(Opcode.TEXT, raw.encode() if isinstance(raw, str) else raw)

    async def send_ping(self, payload: bytes = b"") -> None:
        """Have it send a control ping."""
        await self._frame(Opcode.PING, payload)

    async def send_bytes(self, data: bytes) -> None:
        """Have it put bytes on the wire as they are, frames or not."""
        self._need("frames")
        self._note(f"puts {len(data)} raw bytes on the wire", fault=True)
        await self._order("bytes", payload=base64.b64encode(data).decode())

    async def send_audio(self, packet: bytes, timestamp_ms: int = 0) -> None:
        """Have it send one Opus packet, framed in its version."""
        self._need("audio")
        await self._order("audio", packet=base64.b64encode(packet).decode(), timestamp_ms=timestamp_ms)

    async def storm(self, message: Mapping[str, Any] | bytes, per_second: float, seconds: float) -> int:
        """Have it send a message again and again by itself, and return how often; see `harness.fakes.storm`.

        Told one by one over a serial line, no device would storm.
        """
        how = {"per_second": per_second, "seconds": seconds}
        if isinstance(message, bytes):
            sent = await self._order("storm", seconds, ping=base64.b64encode(message).decode(), **how)
        else:
            sent = await self._order("storm", seconds, message=msgspec.to_builtins(message), **how)
        return int(sent["sent"])

    # --- for those who derive from it ---------------------------------------------------------------------------

    def _need(self, capability: Capability) -> None:
        if capability not in self.capabilities:
            has = ", ".join(sorted(self.capabilities)) or "nothing"
            raise Misuse(
                f"expected a board that can be asked for {capability!r}, {self.name} can be asked for {has}; say "
                f'@pytest.mark.ws_needs("{capability}")'
            )

    async def _order(self, verb: str, seconds: float = EXPECT, /, **arguments: Any) -> Any:
        if verb not in self._verbs:
            raise Misuse(
                f"expected firmware that takes the order {verb!r} on its test console, that of {self.name} takes "
                f"{', '.join(sorted(self._verbs)) or 'none'}"
            )
        self._raise_if_spoilt()
        try:
            return await self._orders.call(verb, seconds, **arguments)
        except OrderFailed as failed:
            state, unread = self._state(), self._inbox.unread
            raise meant(failed, self.name, url=self._way, state=state, unread=unread) from failed

    async def _frame(self, opcode: Opcode, payload: bytes) -> None:
        self._need("frames")
        await self._order("frame", opcode=int(opcode), payload=base64.b64encode(payload).decode())

    def _note(self, what: str, *, fault: bool = False, at: float | None = None) -> None:
        """Tell what happens to it; now, unless ``at`` says when."""
        raise NotImplementedError
