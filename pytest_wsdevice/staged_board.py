"""The board of one test: which gateway it finds, what it says, what becomes of the test when it crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.bench.async_board import AsyncBoard
from harness.bench.front import Front
from harness.bench.held_board import HeldBoard
from harness.board.console_lines import Line
from harness.board.errors import BoardCrashed
from harness.fakes.device import client_id_of
from harness.gateways import GatewayUnderTest
from harness.records import ConsoleSaid
from harness.timeline import Timeline

if TYPE_CHECKING:
    from harness.board.device import BoardDevice

_OPTIONS = frozenset(
    {"client_id", "token", "framing", "features", "acks", "reads_bytes_per_second", "headers", "watch", "view"}
)


class StagedBoard:
    """A held board on the stage of one test, in the running loop; `aclose` takes it off.

    Args:
        held: the board, which is online.
        front: through which it finds gateways.
        timeline: of the test; is told every line of the console.
        crashed: is called in the loop when the board crashes unasked.

    Attributes:
        board: for the test.
        front: as given.
        crash: that happened unasked, the first; set when the console's thread sees it, the loop running or not.
    """

    def __init__(
        self, held: HeldBoard, front: Front, timeline: Timeline, crashed: Callable[[BoardCrashed], None]
    ) -> None:
        self.board = AsyncBoard(held, front)
        self.front = front
        self._timeline = timeline
        self._tell = crashed
        self._loop = asyncio.get_running_loop()
        self._given = False
        self.crash: BoardCrashed | None = None
        self._detach = [held.console.watch(self._said), held.on_crash(self._crashed)]

    @property
    def sections(self) -> Mapping[str, Mapping[str, Any]]:
        """Settings of its gateway: the OTA answer names the front's address, not the gateway's own."""
        return {"server": {"public_websocket_url": self.front.url}}

    async def lead_to(self, gateway: GatewayUnderTest) -> None:
        """Have it find this gateway from now on."""
        websocket, http = _address(gateway.url), _address(gateway.http_url or gateway.url)
        await self._loop.run_in_executor(None, self.front.lead_to, websocket, http)

    def fits(self, options: Mapping[str, Any]) -> bool:
        """Whether it can be the device that a test asks for: it has not been given yet, and can have these options."""
        return not self._given and _OPTIONS.issuperset(options)

    def device(self, name: str, gateway: GatewayUnderTest, **options: Any) -> BoardDevice:
        """Give the board as a device."""
        self._given = True
        options.setdefault("client_id", client_id_of(self.board.mac))
        options.setdefault("token", gateway.token_for(self.board.mac, options["client_id"]))
        front, path = urlsplit(self.front.url), urlsplit(gateway.url).path
        return self.board.device(name, url=gateway.url, way=f"{front.scheme}://{front.netloc}{path}", **options)

    async def aclose(self) -> None:
        """Have it find the front's own gateway again; idempotent."""
        for detach in self._detach:
            detach()
        await self._loop.run_in_executor(None, self.front.lead_home)

    # --- from the console's thread ------------------------------------------------------------------------------

    def _said(self, line: Line) -> None:
        self._call(self._timeline.record, ConsoleSaid(line.at, self.board.id, line.text))

    def _crashed(self, error: BoardCrashed) -> None:
        self.crash = self.crash or error
        self._call(self._tell, error)

    def _call(self, function: Callable[[Any], None], value: Any) -> None:
        with suppress(RuntimeError):  # the loop was closed without a word: the test itself has crashed
            self._loop.call_soon_threadsafe(function, value)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    default = 443 if parts.scheme in {"wss", "https"} else 80
    return parts.hostname or "127.0.0.1", parts.port or default
