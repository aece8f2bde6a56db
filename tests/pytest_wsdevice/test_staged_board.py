"""The board of one test, without a board."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from harness.board.console_lines import Line
from harness.board.errors import BoardCrashed
from harness.fakes.device import client_id_of
from harness.records import ConsoleSaid
from pytest_wsdevice.staged_board import StagedBoard

MAC = "02:00:00:00:00:01"


class Parts:
    """A held board, its front, a timeline, and a gateway.

    Attributes:
        records: of the timeline.
        crashes: that the stage was told.
        led: where the front leads.
        made: the options of devices.
    """

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.crashes: list[BoardCrashed] = []
        self.led: list[Any] = []
        self.made: list[dict[str, Any]] = []
        self.watchers: list[Callable[[Any], None]] = []
        self.front = SimpleNamespace(
            url="ws://192.168.4.1:4001/of/the/front",
            lead_to=lambda *addresses: self.led.append(addresses),
            lead_home=lambda: self.led.append("home"),
        )
        self.gateway = SimpleNamespace(
            url="ws://127.0.0.1:8000/xiaozhi/v1/", http_url="http://127.0.0.1:8002", token_for=lambda *who: str(who)
        )

    def stage(self) -> StagedBoard:
        """Make the board of a test."""
        console = SimpleNamespace(watch=self._watch)
        held = SimpleNamespace(id="b1", mac=MAC, console=console, on_crash=self._watch, threads=None)
        timeline = SimpleNamespace(record=self.records.append)
        staged = StagedBoard(held, self.front, timeline, self.crashes.append)  # type: ignore[arg-type]
        staged.board.device = lambda name, **options: self.made.append({"name": name, **options})  # type: ignore[method-assign, assignment, return-value]
        return staged

    def _watch(self, watcher: Callable[[Any], None]) -> Callable[[], None]:
        self.watchers.append(watcher)
        return lambda: self.watchers.remove(watcher) if watcher in self.watchers else None


async def test_where_it_finds_the_gateway():
    """Through the front, whose address the OTA answer names; at the end it finds the front's own."""
    parts = Parts()
    staged = parts.stage()
    await staged.lead_to(parts.gateway)  # type: ignore[arg-type]
    assert parts.led == [(("127.0.0.1", 8000), ("127.0.0.1", 8002))]
    assert staged.sections == {"server": {"public_websocket_url": parts.front.url}}

    await staged.aclose()
    await staged.aclose()
    assert set(parts.led[1:]) == {"home"}
    assert parts.watchers == []


@pytest.mark.parametrize(
    ("url", "http_url", "addresses"),
    [
        ("ws://gateway/", "", (("gateway", 80), ("gateway", 80))),
        ("wss://gateway/x", "https://other", (("gateway", 443), ("other", 443))),
        ("ws://[::1]:8000/", "http://[::1]:8002/", (("::1", 8000), ("::1", 8002))),
    ],
)
async def test_gateways_elsewhere(url: str, http_url: str, addresses: object):
    """Ports that are not said are those of the scheme; one that has no HTTP address has it where the WebSocket is."""
    parts = Parts()
    staged = parts.stage()
    await staged.lead_to(SimpleNamespace(url=url, http_url=http_url))  # type: ignore[arg-type]

    assert parts.led == [addresses]


async def test_the_device_that_it_is():
    """One, with options that a board can have; it goes by the front, with the path of the gateway."""
    parts = Parts()
    staged = parts.stage()
    assert not staged.fits({"device_id": MAC})
    assert not staged.fits({"dial": None})
    assert staged.fits({"framing": 2, "token": "t"})
    staged.device("board", parts.gateway, framing=2)  # type: ignore[arg-type]

    assert not staged.fits({})
    client = client_id_of(MAC)
    assert parts.made == [
        {
            "name": "board",
            "url": parts.gateway.url,
            "way": "ws://192.168.4.1:4001/xiaozhi/v1/",
            "client_id": client,
            "token": f"('{MAC}', '{client}')",
            "framing": 2,
        }
    ]


async def test_what_it_says_and_that_it_crashed():
    """Lines are in the timeline; the first crash is known at once, in its thread, and told in the loop."""
    parts = Parts()
    staged = parts.stage()
    said, crashed = parts.watchers
    first, second = (BoardCrashed("b1", "abort", text, []) for text in ("first", "second"))

    def print_and_crash() -> None:
        said(Line(1, 2.0, "said", "hello"))
        crashed(first)
        crashed(second)

    thread = threading.Thread(target=print_and_crash)
    thread.start()
    thread.join(5)
    assert staged.crash is first
    assert parts.crashes == []
    await asyncio.sleep(0)

    assert parts.records == [ConsoleSaid(2.0, "b1", "hello")]
    assert parts.crashes == [first, second]


def test_a_loop_that_was_closed_without_a_word():
    """The console outlives it; what is said then is for nobody."""

    async def begin() -> tuple[Parts, StagedBoard]:
        parts = Parts()
        return parts, parts.stage()

    parts, staged = asyncio.run(begin())
    said, crashed = parts.watchers
    said(Line(1, 2.0, "said", "hello"))
    crashed(BoardCrashed("b1", "abort", "", []))

    assert parts.records == []
    assert staged.crash is not None
