"""Tests of the drain: a whole gateway goes down on virtual time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.config import Config, DrainConfig
from gateway.device.session import Session
from gateway.drain import close_all, let_finish
from gateway.feature import Feature, Handler
from gateway.observe.events import DeviceOffline, DrainBegan, GatewayStopped
from gateway.presence.registry import Registry
from tests.raw_peer import CLOSE
from tests.simulated import IN_MEMORY, House, Peer, now, simulated, turns
from tests.virtual_time import virtual_time

LOOK = 0.1
"""Between two looks at those that are there: so much later than due a close may come."""


class Speaking(Feature):
    """A feature that keeps devices busy, each until a time of its own."""

    def __init__(self, **until: float) -> None:
        self.until = until
        self.asked = 0

    def is_busy(self, session: Session) -> bool:
        """Whether its time has not come."""
        self.asked += 1
        return now() < self.until.get(session.device, 0.0)


def draining(**drain: float) -> Config:
    """Settings of a drain."""
    return Config(mailbox=IN_MEMORY, drain=DrainConfig(**drain))


def closed_at(peer: Peer) -> float:
    """When a device was sent its Close."""
    times = peer.times(CLOSE)
    assert len(times) == 1
    return times[0]


def after(seconds: float) -> Any:
    """Within one look after a time."""
    return pytest.approx(seconds + LOOK / 2, abs=LOOK / 2 + 1e-6)


async def devices(house: House, count: int, **behaviour: Any) -> list[Peer]:
    """Have devices connect."""
    return [await house.device(f"d{number}", **behaviour) for number in range(count)]


# --- idle devices -------------------------------------------------------------------------------------------------


@virtual_time
async def test_spread():
    """Idle devices are closed with 1012, over the whole spread and not in one wave, the last at its end."""
    async with simulated(draining(spread=10, grace=30)) as house:
        await asyncio.sleep(100)
        peers = await devices(house, 100, answers_close=True)
        await house.gateway.drain()

        assert {peer.close_code for peer in peers} == {1012}
        times = sorted(closed_at(peer) - 100 for peer in peers)
        assert times[0] >= 0
        assert times[-1] <= 10 + LOOK
        for part in range(5):  # none of them is empty, but for one time in 10**9
            assert any(2 * part <= time <= 2 * (part + 1) + LOOK for time in times)
        assert not any(peer.aborted for peer in peers)


@virtual_time
async def test_jitter_is_not_the_same_each_time():
    """Two drains close the same devices in another order: their waves must not meet."""
    orders = []
    for _ in range(2):
        async with simulated(draining(spread=10)) as house:
            began = now()
            peers = await devices(house, 20)
            await house.gateway.drain()
            orders.append([closed_at(peer) - began for peer in peers])

    assert orders[0] != orders[1]


@pytest.mark.parametrize("spread", [0.0, 0.05, 1.0])
def test_short_spread(spread: float):
    """However short the spread, all idle devices are told, and the drain ends with it."""

    @virtual_time
    async def short() -> None:
        async with simulated(draining(spread=spread)) as house:
            peers = await devices(house, 10, answers_close=True)
            await house.gateway.drain()

            assert {peer.close_code for peer in peers} == {1012}
            assert now() <= spread + 2 * LOOK + 1e-6

    short()


@virtual_time
async def test_nobody_there():
    """A gateway without devices is down at once."""
    async with simulated() as house:
        await house.gateway.drain()

        assert now() == 0
        assert house.records.of(DrainBegan) == [DrainBegan(devices=0)]
        assert [one.clean for one in house.records.of(GatewayStopped)] == [True]


@virtual_time
async def test_waits_until_the_last_is_gone():
    """The drain ends when the sockets are gone, which firmware that never answers Close delays by a second."""
    async with simulated(draining(spread=0)) as house:
        peers = await devices(house, 3)
        await let_finish(house.gateway.config.drain, house.gateway.registry, house.gateway._desk)

        assert len(house.gateway.registry) == 0
        assert [peer.gone_at for peer in peers] == [pytest.approx(1.0)] * 3
        assert now() <= 1.0 + LOOK + 1e-6


@virtual_time
async def test_those_that_go_by_themselves():
    """A device that leaves meanwhile is not waited for."""
    async with simulated(draining(spread=60, grace=60)) as house:
        peers = await devices(house, 3)
        drain = asyncio.create_task(house.gateway.drain())
        await asyncio.sleep(0.05)
        for peer in peers:
            peer.cut()
        await drain

        assert now() <= 0.05 + 2 * LOOK


# --- busy devices -------------------------------------------------------------------------------------------------


@virtual_time
async def test_busy_ones_finish():
    """A device that speaks is closed when it has finished, though its time was long before."""
    speaking = Speaking(d0=7.03, d1=12.51)
    async with simulated(draining(spread=1, grace=30), features=[speaking]) as house:
        peers = await devices(house, 3, answers_close=True)
        await house.gateway.drain()

        assert [closed_at(peer) for peer in peers[:2]] == [after(7.03), after(12.51)]
        assert closed_at(peers[2]) <= 1 + LOOK
        assert {peer.close_code for peer in peers} == {1012}
        assert not any(peer.aborted for peer in peers)
        assert now() == after(12.51 + LOOK)


@virtual_time
async def test_grace():
    """A device that goes on for ever is closed with 1012 when the grace is over."""
    async with simulated(draining(spread=1, grace=5), features=[Speaking(d0=1000)]) as house:
        peers = await devices(house, 1, answers_close=True)
        await house.gateway.drain()

        assert closed_at(peers[0]) == after(5)
        assert peers[0].close_code == 1012


@virtual_time
async def test_no_grace():
    """Without grace busy devices leave in the spread like all others."""
    async with simulated(draining(spread=1, grace=0), features=[Speaking(d0=1000)]) as house:
        peers = await devices(house, 1)
        await house.gateway.drain()

        assert closed_at(peers[0]) <= 1 + LOOK


@virtual_time
async def test_spread_longer_than_grace():
    """Where the spread is longer than the grace, the whole spread is used, also for devices that are busy."""
    speaking = Speaking(**{f"d{number}": 1000.0 for number in range(50)})
    async with simulated(draining(spread=20, grace=2), features=[speaking]) as house:
        peers = await devices(house, 50)
        await house.gateway.drain()

        times = sorted(closed_at(peer) for peer in peers)
        assert times[0] >= 2
        assert 10 < times[-1] <= 20 + LOOK


@virtual_time
async def test_one_that_begins_to_speak(monkeypatch: pytest.MonkeyPatch):
    """A device that is idle when the drain begins, and speaks when its time comes, may finish."""

    class Later(Feature):
        def is_busy(self, session: Session) -> bool:
            return 0.5 <= now() < 4

    monkeypatch.setattr("random.uniform", lambda least, most: 1.0)
    async with simulated(draining(spread=10, grace=30), features=[Later()]) as house:
        peers = await devices(house, 1)
        await house.gateway.drain()

        assert closed_at(peers[0]) == after(4)


@virtual_time
async def test_asked_only_when_due():
    """Devices whose time has not come are not asked ten times a second whether they are busy."""
    speaking = Speaking()
    async with simulated(draining(spread=100, grace=100), features=[speaking]) as house:
        await devices(house, 20, answers_close=True)
        await house.gateway.drain()

        assert speaking.asked <= 3 * 20


# --- those that come meanwhile ------------------------------------------------------------------------------------


@virtual_time
async def test_refused_meanwhile():
    """While it drains nobody is let in; whoever asks is told when to come back."""
    async with simulated(draining(spread=5, grace=5)) as house:
        await devices(house, 1)
        drain = asyncio.create_task(house.gateway.drain())
        await turns()
        late = await house.ask("late")

        assert late.status == b"503"
        assert house.gateway.is_draining
        assert house.gateway.not_ready() == ["draining"]
        await drain


@virtual_time
async def test_upgraded_before():
    """A device that was upgraded before the drain, and comes alive in it, is let go like the others."""
    async with simulated(draining(spread=3, grace=3)) as house:
        await devices(house, 1)
        late = house.connect("late")
        drain = asyncio.create_task(house.gateway.drain())
        await turns()
        late.say({"type": "hello"})
        await drain

        assert late.of("hello")
        assert late.close_code == 1012
        assert {one.device for one in house.records.of(DeviceOffline)} == {"d0", "late"}


@virtual_time
async def test_handover_meanwhile():
    """A device whose newer connection was upgraded before is closed there; the older one is let go as ever."""
    async with simulated(draining(spread=4, grace=4), features=[Speaking(d0=3)]) as house:
        old = (await devices(house, 1))[0]
        new = house.connect("d0")
        drain = asyncio.create_task(house.gateway.drain())
        await turns()
        new.say({"type": "hello"})
        await drain

        assert old.close_code == 4001
        assert new.close_code == 1012
        assert closed_at(new) >= 3


# --- who calls ----------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_second_drain_joins():
    """A second call waits for the same end and hurries nobody."""
    async with simulated(draining(spread=0, grace=30), features=[Speaking(d0=9)]) as house:
        peers = await devices(house, 1, answers_close=True)
        await asyncio.gather(house.gateway.drain(), house.gateway.drain())

        assert closed_at(peers[0]) == after(9)
        assert len(house.records.of(DrainBegan)) == 1
        assert len(house.records.of(GatewayStopped)) == 1


@virtual_time
async def test_stop_cuts_it_short():
    """A stop in a drain closes everybody at once; the drain ends with it."""
    async with simulated(draining(spread=60, grace=60), features=[Speaking(d0=50)]) as house:
        peers = await devices(house, 2)
        drain = asyncio.create_task(house.gateway.drain())
        await asyncio.sleep(0.5)
        began = now()
        await house.gateway.stop()
        await drain

        assert now() - began <= 1 + LOOK
        assert peers[0].close_code == 1001
        assert len(house.records.of(GatewayStopped)) == 1


@virtual_time
async def test_goes_on_without_its_caller():
    """A drain goes on when whoever asked for it is cancelled, and the gateway stops at its end."""
    async with simulated(draining(spread=0, grace=30), features=[Speaking(d0=9)]) as house:
        peers = await devices(house, 1)
        drain = asyncio.create_task(house.gateway.drain())
        await asyncio.sleep(1)
        drain.cancel()
        async with asyncio.timeout(60):
            await house.gateway.wait_stopped()

        assert closed_at(peers[0]) == after(9)
        assert peers[0].close_code == 1012


class Down(msgspec.Struct, tag="down"):
    """An application's message: go down."""


@virtual_time
async def test_asked_for_by_a_device():
    """A device may ask for the drain in which it is closed itself: its handler is cancelled, the drain is not."""
    gateways: list[Any] = []

    async def go_down(session: Session, message: Down) -> None:
        await gateways[0].drain()

    config = draining(spread=0, grace=30)
    async with simulated(config, features=[Speaking(d0=9)], handlers=[Handler(Down, go_down)]) as house:
        gateways.append(house.gateway)
        peers = await devices(house, 2)
        peers[1].say({"type": "down"})
        async with asyncio.timeout(60):
            await house.gateway.wait_stopped()

        assert closed_at(peers[1]) <= LOOK
        assert closed_at(peers[0]) == after(9)
        assert peers[0].close_code == 1012


@virtual_time
async def test_cancelled(monkeypatch: pytest.MonkeyPatch):
    """Letting devices finish, when cancelled, leaves those that are there as they are."""
    times = iter([0.0, 50.0])
    monkeypatch.setattr("random.uniform", lambda least, most: next(times))
    async with simulated() as house:
        first, second = await devices(house, 2)
        letting = asyncio.create_task(let_finish(DrainConfig(), house.gateway.registry, house.gateway._desk))
        await asyncio.sleep(1)
        letting.cancel()
        await asyncio.sleep(60)

        assert first.close_code == 1012
        assert second.close_code is None


@virtual_time
async def test_drain_before_start_and_after_stop():
    """A drain of a gateway that does not run is its stop."""
    async with simulated() as house:
        await house.gateway.stop()
        await house.gateway.drain()

        assert house.records.of(DrainBegan) == []


# --- closing all --------------------------------------------------------------------------------------------------


@virtual_time
async def test_close_all():
    """Whatever the peers are like, all are gone within the close timeout of one."""
    async with simulated() as house:
        answering = await house.device("aa", answers_close=True)
        firmware = await house.device("bb")
        stuck = await house.device("cc")
        stuck.reads = False
        house.gateway.registry.get("cc").send_json({"type": "custom", "payload": "x" * 8000})  # type: ignore[union-attr,arg-type]
        coming = house.connect("dd")
        silent = Peer()
        silent.meet(house.network.factories["websocket"]())
        await turns()

        assert await close_all(house.gateway._board.connections, 2.0)
        assert answering.gone_at == silent.gone_at == 0
        assert firmware.gone_at == stuck.gone_at == coming.gone_at == pytest.approx(1.0)
        assert answering.close_code == firmware.close_code == coming.close_code == 1001
        assert not answering.aborted


@virtual_time
async def test_close_all_and_those_that_come_meanwhile():
    """A socket that was accepted in the very moment is closed with the others."""
    async with simulated() as house:
        await house.device("aa")
        closing = asyncio.create_task(close_all(house.gateway._board.connections, 2.0))
        await asyncio.sleep(0.5)
        late = Peer()
        late.meet(house.network.factories["websocket"]())

        assert await closing
        assert late.gone_at == pytest.approx(1.0)


@virtual_time
async def test_close_all_in_time():
    """What is not gone in time is aborted, and told of."""

    class Stubborn:
        """A connection that does not close."""

        is_open = True
        gone = asyncio.Event()
        aborted = 0

        def close(self, code: int, reason: str) -> None:
            """Do nothing."""

        def abort(self, reason: str) -> None:
            self.aborted += 1
            self.gone.set()

        async def wait_closed(self) -> None:
            await self.gone.wait()

    stubborn: Any = Stubborn()

    assert not await close_all([stubborn], 2.0)
    assert now() == pytest.approx(2.0)
    assert stubborn.aborted == 1


@virtual_time
async def test_nothing_to_close():
    """Without connections there is nothing to wait for."""
    assert await close_all({}, 2.0)
    assert now() == 0


@virtual_time
async def test_an_empty_registry():
    """Without devices there is nobody to let finish."""
    desk: Any = SimpleNamespace()
    await let_finish(DrainConfig(), Registry(), desk)

    assert now() == 0
