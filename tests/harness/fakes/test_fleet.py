"""A fleet: its devices connect, talk, come back; its counts say what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.config import AuthConfig, Config, HandshakeConfig, MailboxConfig, PeerConfig
from gateway.identity import device_id
from gateway.observe.clock import wall_clock
from gateway.observe.events import DeviceOnline, Event, PongSent
from gateway.protocol.tokens import mint
from harness.errors import Misuse
from harness.fakes.fleet import ERRORS, Fleet, Tally
from harness.simulation.loop import SimulatedLoop, run

KEY = "a key of 16 letters"


async def gateway(loop: SimulatedLoop, seen: list[Event], **sections: Any) -> Gateway:
    """Start a gateway on the simulated network."""
    config = Config(mailbox=MailboxConfig(path=":memory:"), **sections)
    network = loop.network.host("localhost").listening()
    house = Gateway(config, network=network, observers=[seen.append])
    await house.start()
    return house


async def until(condition: Callable[[], object]) -> None:
    """Wait, in virtual time, until something is so."""
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("count", [0, 65_537])
def test_size(count: int):
    """A fleet has from 1 to 65,536 devices."""
    with pytest.raises(Misuse, match="from 1 to 65,536"):
        Fleet("ws://127.0.0.1:1/", count)


@pytest.mark.parametrize("wrong", [{"every": 0}, {"connects_per_second": -1}])
def test_rates(wrong: dict[str, float]):
    """Times and rates are above 0."""
    with pytest.raises(Misuse, match="above 0"):
        Fleet("ws://127.0.0.1:1/", 1, **wrong)


def test_ids():
    """Each device has an id of its own, the same in every run."""
    ids = [device.device_id for device in Fleet("ws://127.0.0.1:1/", 300).devices]

    assert (len(set(ids)), ids[0], ids[-1]) == (300, "02:fa:ce:00:00:00", "02:fa:ce:00:01:2b")


def test_pings():
    """Every device goes online and has its pings answered; all are gone at the end."""

    async def main(loop: SimulatedLoop) -> None:
        seen: list[Event] = []
        house = await gateway(loop, seen)
        fleet = Fleet(house.websocket_url, 50, every=2.0)
        async with fleet:
            await until(lambda: fleet.tally.connected == 50)
            assert len({event.device for event in seen if isinstance(event, DeviceOnline)}) == 50
            await asyncio.sleep(10)
        tally = fleet.tally
        pongs = len([event for event in seen if isinstance(event, PongSent)])
        assert tally.latencies.count == pongs
        assert 50 * 4 <= pongs <= 50 * 6
        assert tally.sent == tally.received == 50 + pongs
        assert (tally.arrivals, tally.errors) == (50, {})
        assert tally.connected == 0
        await until(lambda: len(house.registry) == 0)
        await house.stop()

    run(main)


def test_peer_messages():
    """Each device writes to the next one; a receipt is what is measured."""

    async def main(loop: SimulatedLoop) -> None:
        house = await gateway(loop, [])
        fleet = Fleet(house.websocket_url, 5, traffic="peer", every=1.0)
        async with fleet:
            await asyncio.sleep(10)
        assert fleet.tally.latencies.count >= 5 * 8
        assert fleet.tally.errors == {}
        await house.stop()

    run(main)


def test_failed_messages_are_errors():
    """A message that the gateway refuses is no latency but an error, by its code."""

    async def main(loop: SimulatedLoop) -> None:
        house = await gateway(loop, [], peer=PeerConfig(reach="group", payload_bytes=1))
        fleet = Fleet(house.websocket_url, 2, traffic="peer", every=1.0)
        async with fleet:
            await asyncio.sleep(5)
        assert fleet.tally.latencies.count == 0
        assert set(fleet.tally.errors) == {"peer message failed: SCHEMA_INVALID"}
        await house.stop()

    run(main)


def test_they_come_back():
    """A device whose connection has ended connects again; the end is an error, by its code."""

    async def main(loop: SimulatedLoop) -> None:
        house = await gateway(loop, [])
        fleet = Fleet(house.websocket_url, 3, traffic="none")
        async with fleet:
            await until(lambda: fleet.tally.connected == 3)
            await house.purge_mailbox(device_id(fleet.devices[0].device_id))  # closes it with 4010
            await until(lambda: fleet.tally.arrivals == 4)
            assert fleet.tally.connected == 3
        assert fleet.tally.errors == {"closed with 4010": 1}
        await house.stop()

    run(main)


def test_refused():
    """A refused device waits as it is told, and tries again; without a token it is refused for ever."""

    async def main(loop: SimulatedLoop) -> None:
        seen: list[Event] = []
        auth = AuthConfig(enabled=True, key=KEY)
        house = await gateway(loop, seen, auth=auth, handshake=HandshakeConfig(per_address_per_minute=60))
        fleet = Fleet(house.websocket_url, 2)
        async with fleet:
            await asyncio.sleep(30)
        assert (fleet.tally.arrivals, set(fleet.tally.errors)) == (0, {"refused with 401"})
        assert 4 <= fleet.tally.errors.total() <= 20
        fleet = Fleet(
            house.websocket_url, 2, token=lambda device, client: mint(KEY, client, device_id(device), wall_clock())
        )
        async with fleet:
            await until(lambda: fleet.tally.connected == 2)
        await house.stop()

    run(main)


def test_nobody_there():
    """Where nobody listens, every try is an error, and the pauses grow."""

    async def main(loop: SimulatedLoop) -> None:
        fleet = Fleet("ws://127.0.0.1:1/", 1)
        async with fleet:
            await asyncio.sleep(600)
        (kind,) = fleet.tally.errors
        assert kind.startswith("cannot connect: ")
        assert 10 <= fleet.tally.errors.total() <= 30

    run(main)


def test_kinds_of_errors_are_bounded():
    """Errors of ever new kinds are counted together."""
    tally = Tally()
    for number in range(2 * ERRORS):
        tally.count_error(f"kind {number}")

    assert len(tally.errors) == ERRORS + 1
    assert tally.errors["other errors"] == ERRORS
