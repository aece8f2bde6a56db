"""Two addresses that stay, while gateways come and go behind them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from websockets.frames import Opcode

from gateway.config import Config
from harness.bench import front as module
from harness.bench.front import Front
from harness.errors import CannotConnect, ExpectationFailed, Misuse
from harness.fakes.device import FakeDevice
from harness.faults.proxy import TcpProxy
from harness.gateways import OwnGateway
from harness.http import ask
from harness.records import WireClosed, WireFrame, WireOpened, WireRecord

BOARD = "02:00:00:00:00:01"
OTHER = "02:00:00:00:00:02"


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """A front on loopback."""
    with Front("127.0.0.1", tmp_path / "home") as front:
        yield front


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[OwnGateway]:
    """The gateway of a test, in the test's loop."""
    gateway = OwnGateway(Config(), tmp_path / "state")
    await gateway.start()
    yield gateway
    await gateway.stop()


def lead_to(front: Front, gateway: OwnGateway) -> None:
    """Have the front lead to a gateway."""
    network = gateway.gateway.network
    front.lead_to(("127.0.0.1", network.port("websocket")), ("127.0.0.1", network.port("http")))


class Attentive:
    """Takes what passes, and lets a test wait for it."""

    def __init__(self) -> None:
        self.records: list[WireRecord] = []
        self._news = asyncio.Event()

    def __call__(self, record: WireRecord) -> None:
        """Take a record."""
        self.records.append(record)
        self._news.set()

    async def until(self, kind: type, count: int = 1) -> list[Any]:
        """Return the records of a kind, when there are so many."""
        async with asyncio.timeout(5):
            while len(found := [record for record in self.records if isinstance(record, kind)]) < count:
                self._news.clear()
                await self._news.wait()
        return found


async def test_a_gateway_of_its_own_answers_at_first(front: Front):
    """A board that boots before any test comes online, and OTA names the front's own address."""
    async with FakeDevice(front.url, BOARD):
        assert front.online(BOARD)
        assert not front.online(OTHER)
        answer = await ask(front.ota_url, "POST", body=b"{}", headers={"Device-Id": BOARD, "Client-Id": "c"})

    assert json.loads(answer.body)["websocket"]["url"] == front.url


async def test_a_gateway_of_a_test_takes_its_place_and_gives_it_back(front: Front, gateway: OwnGateway):
    """New connections go where the front leads now; the address does not change."""
    url = front.url
    lead_to(front, gateway)
    async with FakeDevice(url, BOARD) as device:
        assert gateway.link(BOARD).present

        front.lead_home()
        await device.go_online()

        assert not gateway.link(BOARD).present
    assert front.url == url


async def test_what_passes_is_shown_to_who_attends_to_the_device(front: Front):
    """Upgrade, whole messages and control frames both ways, and the end; of this device, and of no other."""
    attentive = Attentive()
    detach = front.attend(BOARD.upper(), attentive)
    async with FakeDevice(front.url, OTHER) as other, FakeDevice(front.url, BOARD) as device:
        await device.send({"type": "ping"})
        await device.expect("pong")
        await other.send({"type": "ping"})
        await other.expect("pong")
        await device.send_ping(b"there?")
        device.cut()
        await attentive.until(WireClosed)
    detach()
    detach()

    (opened,) = await attentive.until(WireOpened)
    frames = await attentive.until(WireFrame, 6)
    assert opened.headers["device-id"] == BOARD
    assert {record.connection for record in attentive.records} == {opened.connection}
    said = [(frame.sent, json.loads(frame.payload)["type"]) for frame in frames if frame.opcode is Opcode.TEXT]
    assert said == [(True, "hello"), (False, "hello"), (True, "ping"), (False, "pong")]
    assert [(frame.sent, frame.payload) for frame in frames if frame.opcode is Opcode.PING] == [(True, b"there?")]


async def test_who_attends_no_more_is_shown_nothing(front: Front):
    """A later test must not get what an earlier one asked for."""
    attentive = Attentive()
    front.attend(BOARD, attentive)()

    async with FakeDevice(front.url, BOARD):
        pass

    assert attentive.records == []


async def test_a_silenced_device_ends_without_a_word(front: Front, gateway: OwnGateway):
    """Its connection is there for the gateway even when its socket is gone; others are not touched."""
    lead_to(front, gateway)
    async with FakeDevice(front.url, BOARD) as device, FakeDevice(front.url, OTHER) as other:
        front.silence(BOARD)
        device.cut()
        await device.expect_close()

        await other.send({"type": "ping"})
        await other.expect("pong")
        assert gateway.link(BOARD).present
        assert gateway.link(BOARD).connections == 1


async def test_settings_of_the_home_gateway(tmp_path: Path):
    """Its own gateway has the settings it is given, and the front's addresses."""
    config = Config()
    config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, paths=["/elsewhere/"]))
    with Front("127.0.0.1", tmp_path, config) as front:
        assert front.url.endswith("/elsewhere/")
        async with FakeDevice(front.url, BOARD):
            assert front.online(BOARD)


async def test_who_is_online(front: Front, gateway: OwnGateway):
    """A device is online once its hello was answered, by whatever gateway, until its connection ends or is silenced."""
    lead_to(front, gateway)
    async with FakeDevice(front.url, BOARD) as device, FakeDevice(front.url, OTHER):
        assert front.online(BOARD.upper())
        await device.connect()
        assert not front.online(BOARD)
        await device.hello()
        assert front.online(BOARD)

        front.silence(OTHER)
        assert not front.online(OTHER)
        attentive = Attentive()
        front.attend(BOARD, attentive)
        await device.go_online()
        device.cut()
        (opened,) = await attentive.until(WireOpened)
        while (await attentive.until(WireClosed))[-1].connection != opened.connection:
            await attentive.until(WireClosed, 2)

        assert not front.online(BOARD)


async def test_where_nobody_lives(front: Front, gateway: OwnGateway):
    """Leading to a gateway that is gone resets whoever comes."""
    lead_to(front, gateway)
    await gateway.stop()

    with pytest.raises((CannotConnect, ExpectationFailed)):
        async with FakeDevice(front.url, BOARD):
            pass


def test_a_front_that_opens_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where one of its addresses cannot be had, the other one is given up, and its thread ends."""
    begun: list[TcpProxy] = []

    async def start(proxy: TcpProxy, host: str, port: int) -> None:
        if begun:
            raise OSError("no more")
        begun.append(proxy)
        await proxy.start(host, port)

    monkeypatch.setattr(module, "_start", start)
    threads = threading.active_count()
    with pytest.raises(OSError, match="no more"), Front("127.0.0.1", tmp_path):
        pass

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", begun[0].port), timeout=5)
    assert threading.active_count() == threads


def test_a_front_that_does_not_close_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What goes wrong with one part is told when all others have ended."""
    front = Front("127.0.0.1", tmp_path).__enter__()
    ports, aclose = front.ports, TcpProxy.aclose

    async def stuck(proxy: TcpProxy) -> None:
        await aclose(proxy)
        raise OSError("stuck")

    monkeypatch.setattr(TcpProxy, "aclose", stuck)
    with pytest.raises(OSError, match="stuck"):
        front.__exit__(None, None, None)

    assert front._home is not None
    assert front._home.running is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports.websocket), timeout=5)


def test_a_front_that_is_not_open(tmp_path: Path):
    """It has no addresses."""
    with pytest.raises(Misuse, match="with Front"):
        _ = Front("127.0.0.1", tmp_path).url
