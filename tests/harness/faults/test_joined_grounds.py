"""Grounds in other threads, and several as one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from harness.blocking import LoopThread
from harness.errors import Misuse
from harness.faults.errors import BadFault, Lacks
from harness.faults.joined_grounds import JoinedGrounds, RemoteGround
from harness.faults.proxy import TcpProxy
from harness.faults.tcp_ground import TcpGround
from harness.faults.vocabulary import Cut, Heal, Latency, Loss, Partition, PowerCut, PowerOn, SlowDisk, WifiOff
from tests.harness.faults.lines import Mouth, line
from tests.harness.faults.test_ground import Paper, paper
from tests.harness.faults.test_tcp_ground import HALL, ROOF, says


class There:
    """A proxy, with a ground over it, in the loop of a thread."""

    def __init__(self, thread: LoopThread) -> None:
        self.thread = thread
        self.proxy, self.ground = thread.run(self._make())

    async def _make(self) -> tuple[TcpProxy, TcpGround]:
        proxy, ground = TcpProxy(), TcpGround(wifi=False)
        await proxy.start()
        ground.adopt(proxy)
        return proxy, ground

    def forward_to(self, port: int) -> None:
        """Lead to a gateway."""
        self.thread.call(lambda: self.proxy.forward_to("127.0.0.1", port))

    async def device(self, device_id: str) -> Mouth:
        """Connect, and say who one is."""
        _, end = await asyncio.get_running_loop().create_connection(Mouth, "127.0.0.1", self.proxy.port)
        end.transport.write(says(device_id))
        return end


@pytest.fixture
def there() -> Iterator[There]:
    """One that is there for a test."""
    with LoopThread() as thread:
        made = There(thread)
        yield made
        thread.run(made.proxy.aclose())


class Body:
    """It notes in which thread it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    async def power_off(self) -> None:
        """Note it."""
        self.told.append(("off", threading.get_ident()))

    async def power_on(self) -> None:
        """Note it."""
        self.told.append(("on", threading.get_ident()))


async def test_ground_in_another_thread(there: There):
    """Faults are done there, bodies are told here, and at the end nothing is in force any more."""
    async with line() as between:
        there.forward_to(between.port)
        ground, body = RemoteGround(there.ground, there.thread), Body()
        await ground.join("hall", HALL, body)
        hall, roof = await there.device(HALL), await there.device(ROOF)
        await (await between.gateway()).hears(1)
        await (await between.gateway()).hears(1)

        await ground.do(Cut())
        assert await hall.ends() == "lost"
        assert roof.said == []
        await ground.do(PowerCut(on="hall"))
        await ground.do(PowerOn(on="hall"))
        assert body.told == [("off", threading.get_ident()), ("on", threading.get_ident())]

        hall = await there.device(HALL)
        at_hall = await between.gateway()
        heard = len(await at_hall.hears(len(says(HALL))))
        await ground.do(Partition(on="hall"))
        hall.transport.write(b"held")
        await ground.do(Latency(0.1))
        assert there.ground.weather.over("hall").any(Latency)
        assert not there.ground.weather.over("roof").any(Latency)
        await ground.leave()
        await ground.leave()
        assert ground.devices == there.ground.devices == []
        assert not there.ground.weather.over("hall").any(Latency)
        assert there.ground._names == {}
        assert (await at_hall.hears(heard + 4))[heard:] == b"held"
        again = RemoteGround(there.ground, there.thread)
        await again.join("hall", HALL, body)
        for end in (hall, roof):
            end.transport.abort()
            await end.ends()


async def test_what_it_refuses(there: There):
    """What it lacks, and whom it does not know, is refused here."""
    ground = RemoteGround(there.ground, there.thread)
    await ground.join("hall", HALL, Body())
    with pytest.raises(Lacks, match="wifi_off"):
        await ground.do(WifiOff())
    with pytest.raises(BadFault, match="roof"):
        await ground.do(Cut(on="roof"))
    with pytest.raises(Misuse, match="a name of its own"):
        await ground.join("hall", ROOF, Body())


async def test_thread_that_has_ended():
    """Nothing can be done there any more."""
    with LoopThread() as thread:
        made = There(thread)
        ground = RemoteGround(made.ground, thread)
        await ground.join("hall", HALL, Body())
        thread.run(made.proxy.aclose())
    with pytest.raises(Misuse, match="a loop that runs"):
        await ground.do(Cut())


def joined() -> tuple[JoinedGrounds, Paper, Paper]:
    """Two as one: the first has the devices a and b, the second c, and lacks Wi-Fi."""
    first, second = paper(), Paper("wifi_off")
    second.add_device("c")
    both = JoinedGrounds(first)
    both.join(second)
    return both, first, second


async def test_joined():
    """A fault is done where its device is; one on all everywhere; one on the gateway on the first."""
    both, first, second = joined()
    await both.do(Cut(on="a"))
    await both.do(Partition(on="c"))
    await both.do(Heal())
    await both.do(SlowDisk(0.5))
    await both.do(PowerCut(on="gateway"))

    assert first.told == [
        ("strike", "cut", ["a"]),
        ("disk", None),
        ("heal", ["a", "b"]),
        ("disk", 0.5),
        ("strike", "power_cut", []),
    ]
    assert second.told == [("begin", "partition", ["c"]), ("disk", None), ("heal", ["c"])]
    assert both.devices == ["a", "b", "c"]
    assert both.where == "paper"


async def test_joined_refuse():
    """What one of those concerned cannot do is refused before any has done it."""
    both, first, second = joined()
    with pytest.raises(Lacks, match="wifi_off"):
        await both.do(WifiOff())
    assert both.can(WifiOff(on="a"))
    assert not both.can(WifiOff(on="c"))
    with pytest.raises(BadFault, match=r"\(a, b, c\), got 'd'"):
        await both.do(Cut(on="d"))
    with pytest.raises(Lacks, match="loss"):
        await JoinedGrounds(paper("loss")).do(Loss(0.1))
    assert (first.told, second.told) == ([], [])
