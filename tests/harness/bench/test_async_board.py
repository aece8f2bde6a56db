"""Virtual boards, held, in the loop of a test: what the harness does to them, and what they make of it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config import Config, HandoverConfig, ServerConfig
from harness.bench.async_board import AsyncBoard, AsyncConsole
from harness.bench.held_board import CALLS, HeldBoard
from harness.bench.holding import Holding, builds_for
from harness.bench.virtual_bench import VirtualRig
from harness.blocking import BlockingGateway, LoopThread
from harness.board import device as device_module
from harness.board.device import BoardDevice
from harness.board.errors import BoardCrashed
from harness.board.judging import starts
from harness.fakes.device import client_id_of
from harness.gateways import OwnGateway

SOON = 10.0
PANIC = "wsdevice 999999 panic {}"


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holding]:
    """A rig, whose boards the tests of this module share."""
    directory = tmp_path_factory.mktemp("boards")
    with VirtualRig("virtual:2") as rig:
        builds = builds_for(rig.bench, [], directory)
        with Holding(rig.bench, directory, builds, online=SOON) as holding:
            yield holding


@pytest.fixture
def held(holding: Holding) -> HeldBoard:
    """Its first board, online, and in order."""
    held = holding.board("esp32s3", test="one")
    held.have(None, ordered=True)
    return held


@pytest.fixture
def board(held: HeldBoard, holding: Holding) -> AsyncBoard:
    """The same, to be awaited."""
    return AsyncBoard(held, holding.front)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, holding: Holding) -> Iterator[BlockingGateway]:
    """A gateway for all tests, where the front leads, but while there is none yet."""
    front = holding.board("esp32s3") and holding.front
    server = ServerConfig(public_websocket_url=front.url)  # for boards that connect by themselves
    # in any order of the tests, a board that lost its power is back while its older connection counts
    config = Config(server=server, handover=HandoverConfig(window=0.1, replacements=1000))
    with LoopThread() as thread:
        gateway = thread.call(lambda: OwnGateway(config, tmp_path_factory.mktemp("gateway")))
        thread.run(gateway.start())
        network = gateway.gateway.network
        front.lead_to(("127.0.0.1", network.port("websocket")), ("127.0.0.1", network.port("http")))
        yield BlockingGateway(gateway, thread)
        front.lead_home()
        thread.run(gateway.stop())


def device_of(board: AsyncBoard, gateway: BlockingGateway, **options: Any) -> BoardDevice:
    """Make a device of the board."""
    given = {"client_id": client_id_of(board.mac), "watch": lambda _: None, "view": gateway.link}
    return board.device("board", url=gateway.url, way=board._front.url, **{**given, **options})


@pytest.fixture
async def device(board: AsyncBoard, gateway: BlockingGateway) -> AsyncIterator[BoardDevice]:
    """A device of it that is online."""
    device = device_of(board, gateway)
    await device.go_online()
    yield device
    await device.aclose()


def boots(held: HeldBoard, since: int) -> int:
    """Count the starts of its chip, from a line on."""
    return len(starts(held.board.console.lines(since)))


async def test_a_device(device: BoardDevice, board: AsyncBoard):
    """It is what the bench says, and does what it is told."""
    await device.send({"type": "ping"})
    await device.expect("pong")

    assert (device.device_id, device.body) == (board.mac, "virtual")
    assert (board.id, board.chip, board.body) == ("s3-virtual-1", "esp32s3", "virtual")
    assert board.build is not None
    assert board.capabilities == {"power", "reset"}
    assert {"send", "cut", "vanish", "power"} <= device.capabilities
    assert device.link.present
    assert board.held.ordered


async def test_power_and_reset(device: BoardDevice, board: AsyncBoard):
    """Without power it is silent, and the gateway is not told; it starts once when it has power again, or is reset."""
    since, arrivals = board.console.position, device.link.arrivals
    await device.power_off()
    assert device.link.present
    await device.power_on()
    await board.power.on()
    await device.go_online()

    assert boots(board.held, since) == 1
    assert board.power.kind == "virtual"
    assert device.is_online
    assert device.link.arrivals == arrivals + 1

    since = board.console.position
    await device.reset()
    assert boots(board.held, since) == 1
    assert device.link.arrivals == arrivals + 2


async def test_a_board_that_is_off_at_the_end_of_a_test(
    board: AsyncBoard, gateway: BlockingGateway, monkeypatch: pytest.MonkeyPatch
):
    """Its device ends soon, and well; for the next test it has power again."""
    monkeypatch.setattr(device_module, "_CUT_WAIT", 0.2)
    device = device_of(board, gateway)
    await device.go_online()
    await board.power.off()
    began = time.monotonic()
    await device.aclose()
    assert time.monotonic() - began < SOON

    await board.have()
    assert board.held.board.bring_up.stage == "online"
    assert not board.held.unsettled


async def test_firmware_without_orders(board: AsyncBoard, gateway: BlockingGateway):
    """It is woken by clicks of BOOT, and finds the gateway of the test, wherever it was before."""
    await board.have(fresh="reset")
    board.held.verbs = frozenset()
    device = device_of(board, gateway)
    await device.go_online()

    assert device.is_online
    assert device.link.present
    assert device.capabilities == {"power", "reset"}
    await device.aclose()
    board.distrust()


async def test_the_console(board: AsyncBoard):
    """What it said, what it is told, and what it answers."""
    await board.console.expect("Got IP", since=0)
    since = board.console.position
    await board.console.write_line("wsdevice 999998 state {}")
    answer = await board.console.expect("999998 ok")

    assert answer.number >= since
    assert answer.text in [line.text for line in board.console.lines(since)]
    assert board.console.tail(1)


async def test_a_crash_is_told(device: BoardDevice, board: AsyncBoard):
    """To whoever wants to know, with the dump, and to whoever waits for a line; for the next test it is reset."""
    told: asyncio.Queue[BoardCrashed] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    forget = board.held.on_crash(lambda error: loop.call_soon_threadsafe(told.put_nowait, error))
    await board.console.write_line(PANIC)
    with pytest.raises(BoardCrashed):
        await board.console.expect("no such line", SOON)
    async with asyncio.timeout(SOON):
        error = await told.get()
    forget()
    device.spoil(error)

    assert "abort() at 0x4200" in str(error)
    assert board.held.unsettled
    assert board.held.crashes[-1].kind == "abort"


async def test_a_crash_that_is_wanted(board: AsyncBoard, device: BoardDevice):
    """Nobody is told; what the firmware was told before is forgotten, and its device is told it anew."""
    told: list[BoardCrashed] = []
    forget = board.held.on_crash(told.append)
    async with board.may_crash():
        await board.console.write_line(PANIC)
        await board.console.expect("Rebooting...")
        await board.console.expect("test console 1:")
    device.framing = 2
    await device.go_online()
    device.framing = 1
    await device.go_online()
    forget()

    assert told == []
    assert board.held.unsettled
    assert device.is_online


async def test_another_board(holding: Holding, held: HeldBoard):
    """It is taken, brought up, and given back before the end."""
    another = await asyncio.to_thread(holding.board, "esp32c3", besides=[held])
    assert holding.front.online(another.mac)
    assert another.config.chip == "esp32c3"
    holding.give_back(another)

    assert holding.held == [held]


async def test_who_is_cancelled():
    """What was begun goes on to its end in its thread; the loop does not wait for it."""
    begun, end, ended = threading.Event(), threading.Event(), threading.Event()

    def expect(*_: object, **__: object) -> None:
        begun.set()
        end.wait(SOON)
        ended.set()

    threads = ThreadPoolExecutor(1)
    console = AsyncConsole(SimpleNamespace(console=SimpleNamespace(expect=expect), threads=threads))  # type: ignore[arg-type]
    task = asyncio.create_task(console.expect("x"))
    assert await asyncio.to_thread(begun.wait, SOON)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set()
    end.set()

    assert await asyncio.to_thread(ended.wait, SOON)
    threads.shutdown()


async def test_the_end_of_a_crash_is_awaited():
    """It may take seconds, in which the loop goes on with what else there is."""
    said, ends = threading.Event(), threading.Event()

    def await_crash(_: float) -> None:
        said.set()
        ends.wait(SOON)

    threads = ThreadPoolExecutor(1)
    held = SimpleNamespace(
        crashes_allowed=contextlib.nullcontext, await_crash=await_crash, threads=threads, console=None
    )
    board = AsyncBoard(held, None)  # type: ignore[arg-type]

    async def a_test() -> None:
        async with board.may_crash():
            pass

    task = asyncio.create_task(a_test())
    assert await asyncio.to_thread(said.wait, SOON)
    assert not task.done()
    ends.set()
    await task
    threads.shutdown()


async def test_orders_are_not_held_up(device: BoardDevice, board: AsyncBoard):
    """By whoever waits for lines, be they as many as can at once: an order is written in a thread of its own."""
    since = board.console.position  # or a thread that begins late would look behind the line that others have found
    waiting = [asyncio.create_task(board.console.expect("enough", SOON, since=since)) for _ in range(CALLS)]
    await asyncio.sleep(0)
    began = time.monotonic()
    await device.send({"type": "ping"})
    await device.expect("pong")
    assert time.monotonic() - began < SOON / 2

    board.held.board.console._take(b"enough\n")
    await asyncio.gather(*waiting)
