"""A board whose firmware runs in the test's loop, behind a front, and devices of it."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, HandoverConfig
from harness.bench.front import Front
from harness.board.device import BoardDevice
from harness.board.orders import Orders
from harness.gateways import OwnGateway
from harness.records import FramePassed, Happened
from tests.harness.board.firmware import ALL, MAC, BoardInLoop
from tests.harness.virtual.firmware.stage import Board

_MANY = 1024


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """A process that has more files open than `select.select` can count."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < _MANY + 100:
        pytest.skip(f"needs {_MANY + 100} open files, the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _MANY + 100), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while taken[-1] < _MANY:
        taken.append(os.dup(taken[0]))
    yield
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The address that boards know."""
    with Front("127.0.0.1", tmp_path_factory.mktemp("home")) as front:
        yield front


@pytest.fixture
async def gateway(tmp_path: Path, front: Front) -> AsyncIterator[OwnGateway]:
    """The gateway of the test, with a short handover, where the front leads."""
    gateway = OwnGateway(Config(handover=HandoverConfig(window=0.1)), tmp_path / "state")
    await gateway.start()
    network = gateway.gateway.network
    front.lead_to(("127.0.0.1", network.port("websocket")), ("127.0.0.1", network.port("http")))
    yield gateway
    front.lead_home()
    await gateway.stop()


@pytest.fixture
async def board(front: Front, gateway: OwnGateway) -> AsyncIterator[BoardInLoop]:
    """A board with power; gone before the gateway, which would wait for it."""
    channel = await Board.open()
    board = BoardInLoop(channel, front)
    await board.start()
    yield board
    await board.stop()
    await channel.aclose()


class Made:
    """Makes devices of the board, and keeps what they tell."""

    def __init__(self, board: BoardInLoop, front: Front, view: Callable[[str], Any]) -> None:
        self.told: list[FramePassed | Happened] = []
        self.devices: list[BoardDevice] = []
        self.orders: Orders
        self._board = board
        self._front = front
        self._view = view

    def __call__(self, verbs: frozenset[str] = ALL, **options: Any) -> BoardDevice:
        """Make one."""
        self.orders = Orders(self._board)
        given = {"view": self._view, "client_id": "a-client", "attend": self._front.attend, "watch": self.told.append}
        device = BoardDevice(
            name="board",
            body="virtual",
            device_id=MAC,
            url="ws://gateway/",
            way=self._front.url,
            orders=self.orders,
            verbs=verbs,
            handle=self._board,
            **{**given, **options},
        )
        self.devices.append(device)
        return device

    @property
    def happened(self) -> list[str]:
        """What happened, in words."""
        return [record.what for record in self.told if isinstance(record, Happened)]


@pytest.fixture
async def made(board: BoardInLoop, front: Front, gateway: OwnGateway) -> AsyncIterator[Made]:
    """Makes devices of the board."""
    made = Made(board, front, gateway.link)
    yield made
    for device in made.devices:
        await device.aclose()


@pytest.fixture
async def device(made: Made) -> BoardDevice:
    """A device that is online."""
    device = made()
    await device.go_online()
    return device
