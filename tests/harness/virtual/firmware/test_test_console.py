"""Orders on the UART and their answers, against a real gateway."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.observe.events import DeviceOffline
from harness.virtual.firmware.connection import Connection
from harness.virtual.firmware.heap import Heap
from harness.virtual.firmware.nvs import Nvs
from harness.virtual.firmware.test_console import AT_ONCE, TestConsole
from tests.harness.fakes.conftest import Watched
from tests.harness.virtual.firmware.stage import MAC, Board, Uart


class Desk:
    """A test console, and somebody who types."""

    def __init__(self, board: Board, uart: Uart) -> None:
        self.uart = uart
        self.connection = Connection(uart.log, has_network=lambda: True, crashes=lambda: None, said=lambda _: None)
        self.nvs = Nvs({}, board.channel)
        self.heap = Heap(100_000)
        self.console = TestConsole(self.connection, self.nvs, self.heap, board.channel, uart.log, self._configure)
        self._count = 0

    async def _configure(self, options: dict[str, Any]) -> None:
        url = options.pop("url")
        await self.connection.become(url, MAC, **options)

    async def order(self, verb: str, /, **arguments: Any) -> Any:
        """Give an order and return its answer."""
        self._count += 1
        self.console.take(f"wsdevice {self._count} {verb} {json.dumps(arguments)}\n".encode())
        await self.uart.until(f"wsdevice: {self._count} ")
        line = next(line for line in self.uart.text.splitlines() if f"wsdevice: {self._count} " in line)
        level, outcome = line[0], line.split(f"wsdevice: {self._count} ", 1)[1]
        kind, _, rest = outcome.partition(" ")
        assert (level, kind) in {("I", "ok"), ("E", "failed")}
        if kind == "ok":
            return json.loads(rest)
        error, _, facts = rest.partition(" ")
        return error, json.loads(facts)


@pytest.fixture
async def desk(board: Board, uart: Uart, gateway: Watched) -> AsyncIterator[Desk]:
    """A test console, and somebody who types; gone before the gateway is, which would wait for it."""
    desk = Desk(board, uart)
    yield desk
    await desk.console.aclose()
    await desk.connection.aclose()


@pytest.fixture
async def online(desk: Desk, gateway: Watched) -> Desk:
    """A test console whose device is online."""
    await desk.order("configure", url=gateway.websocket_url)
    await desk.order("connect", timeout=5)
    await desk.order("hello", timeout=5, fields={})
    return desk


def coded(data: bytes) -> str:
    """Bytes, as orders have them."""
    return base64.b64encode(data).decode()


async def test_announcement(desk: Desk):
    """It says that it is there, and what it takes."""
    desk.console.announce()

    assert desk.uart.lines[0].startswith(
        "wsdevice: test console 1: configure connect hello send bytes audio storm frame "
    )


async def test_conversation(online: Desk):
    """A device is made, connects, says hello, sends, and tells its state."""
    state = await online.order("state")
    assert (state["connected"], state["free_heap"], state["minimum_free_heap"]) == (True, 100_000, 100_000)
    assert f"WS: Session ID: {state['session_id']}" in online.uart.text

    device = online.connection.device
    assert device is not None
    assert await online.order("send", message={"type": "ping"}) == {}
    await device.expect("pong")


async def test_hello_answer(desk: Desk, gateway: Watched):
    """The gateway's answer to hello is the answer to the order."""
    await desk.order("configure", url=gateway.websocket_url)
    await desk.order("connect")
    answer = await desk.order("hello", fields={"version": 3})

    assert (answer["type"], answer["transport"]) == ("hello", "websocket")


async def test_frames(online: Desk, gateway: Watched):
    """Any frame, audio, and bytes that are none can be sent."""
    assert await online.order("audio", packet=coded(b"\1\2"), timestamp_ms=5) == {}
    assert await online.order("frame", opcode=1, payload=coded(b'{"type":"ping"}'), fin=True) == {}
    device = online.connection.device
    assert device is not None
    await device.expect("pong")
    assert await online.order("bytes", payload=coded(b"\xff" * 20)) == {}
    await gateway.saw(DeviceOffline)


@pytest.mark.parametrize("order", ["cut", "close"])
async def test_ends(online: Desk, gateway: Watched, order: str):
    """The connection can be cut, or closed politely."""
    assert await online.order(order) == {}
    await gateway.saw(DeviceOffline)
    await online.uart.until("Websocket disconnected")

    assert (await online.order("state"))["connected"] is False


async def test_vanish(online: Desk):
    """It can fall silent, once."""
    assert await online.order("vanish") == {}
    error, facts = await online.order("send", message={"type": "ping"})

    assert error == "NotConnected"
    assert "vanished" in facts["why"]
    assert (await online.order("vanish"))[0] == "Misuse"


async def test_provision(online: Desk, board: Board):
    """Settings are written into NVS, and in force for the next connection."""
    assert await online.order("provision", url="ws://other/", token="t", framing=3) == {}
    device = online.connection.device

    assert device is not None
    assert (device.url, device.token, device.framing) == ("ws://other/", "t", 3)
    assert [(r["key"], r["value"]) for r in board.of("nvs_set")] == [
        ("url", "ws://other/"),
        ("token", "t"),
        ("version", 3),
    ]


async def test_heap(desk: Desk):
    """The heap is told, and leaked."""
    assert await desk.order("heap") == {"free": 100_000, "minimum": 100_000}
    await desk.order("heap_leak", bytes_per_second=10**9)

    assert (await desk.order("heap"))["free"] < 100_000


async def test_misdeeds(desk: Desk, board: Board):
    """Misdeeds are the board's to do."""
    await desk.order("panic", kind="StoreProhibited")
    await desk.order("misbehave", what="lose_wifi", seconds=1)

    assert board.of("misbehave") == [
        {"do": "misbehave", "what": "panic", "how": {"kind": "StoreProhibited"}},
        {"do": "misbehave", "what": "lose_wifi", "how": {"seconds": 1}},
    ]


async def test_refused_upgrade(desk: Desk, gateway: Watched):
    """A refused upgrade is told with its facts."""
    await desk.order("configure", url=gateway.websocket_url + "nowhere/")
    error, facts = await desk.order("connect")

    assert error == "UpgradeRefused"
    assert facts["status"] == 404
    assert set(facts) == {"text", "status", "reason", "headers"}


async def test_no_connection(desk: Desk):
    """So is a connection that does not come about."""
    await desk.order("configure", url="ws://127.0.0.1:1/")
    error, facts = await desk.order("connect", timeout=1)

    assert (error, facts["why"]) == ("CannotConnect", "Connection refused")


async def test_answer_in_time(desk: Desk, gateway: Watched):
    """An expectation that fails has its name, too, and stays on one line."""
    await desk.order("configure", url=gateway.websocket_url)
    await desk.order("connect")
    device = desk.connection.device
    assert device is not None
    device.vanish()
    error, _ = await desk.order("hello", timeout=0.01)

    assert error == "NotConnected"


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("fly", {}),
        ("connect", {}),
        ("send", {"message": {"type": "ping"}}),
        ("state", {"x": 1}),
        ("heap_leak", {}),
    ],
)
async def test_bad_orders(desk: Desk, verb: str, arguments: dict[str, Any]):
    """What there is not, or not yet, is misuse."""
    error, facts = await desk.order(verb, **arguments)

    assert error == "Misuse"
    assert facts["text"]


@pytest.mark.parametrize("rest", ["{", "[]", '"x"'])
async def test_bad_arguments(desk: Desk, rest: str):
    """Arguments that are no JSON object are misuse."""
    desk.console.take(f"wsdevice 9 state {rest}\n".encode())

    assert "wsdevice: 9 failed Misuse" in await desk.uart.until("9 failed")


async def test_bad_base64(online: Desk):
    """So are bytes that are no base64, and opcodes that there are not."""
    assert (await online.order("bytes", payload="?"))[0] == "Misuse"
    assert (await online.order("frame", opcode=99))[0] == "Misuse"


async def test_other_lines(desk: Desk):
    """What else is typed is for nobody; an order without arguments is one."""
    reader = asyncio.StreamReader(limit=100)
    serving = asyncio.create_task(desk.console.serve(reader))
    reader.feed_data(b"hello\n\xff\xfe\nwsdevice x state {}\n" + b"x" * 300 + b"\nwsdevice 5 state\n")
    await desk.uart.until("wsdevice: 5 ok")
    reader.feed_eof()
    await asyncio.wait_for(serving, 5)

    assert len(desk.uart.lines) == 1


async def test_too_many_at_once(desk: Desk, board: Board):
    """More than any test needs at once are refused."""
    board.answers["misbehave"] = None
    for number in range(AT_ONCE + 1):
        desk.console.take(f"wsdevice {number} panic {{}}\n".encode())

    assert f"wsdevice: {AT_ONCE} failed Misuse" in desk.uart.text
