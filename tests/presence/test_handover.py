"""Tests of the handover: whatever the older peer does, there are two channels for 1.8 s at most.

Real connections and channels, on virtual time, with peers that behave as those in the field do.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import msgspec
import pytest

from gateway.config import Config, HandoverConfig
from gateway.identity import DeviceId
from gateway.observe.events import (
    AudioFrameDropped,
    ConnectionClosed,
    HandoverBegan,
    HandoverEnded,
    MessageRejected,
    PingLimited,
    PongSent,
    RetiredFrameDropped,
)
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.messages import HANDOVER_NOTICE, encode
from tests.raw_peer import BINARY, CLOSE, PING, PONG, TEXT, frame
from tests.simulated import IN_MEMORY, House, Peer, simulated, turns
from tests.virtual_time import timers, virtual_time

NOTICE = {"type": "system", "message": "检测到新连接，当前通道将于约1.5秒后关闭以切换到新通道"}
AA = DeviceId("aa")


def with_window(window: float) -> Config:
    """Settings with another window."""
    return Config(mailbox=IN_MEMORY, handover=HandoverConfig(window=window))


def approximately(seconds: float) -> Any:
    """A time of the virtual clock, whose sums are not exact."""
    return pytest.approx(seconds, abs=1e-6)


async def fill(house: House, peer: Peer) -> None:
    """Have a device that does not read so many messages waiting that its transport takes no more."""
    session = house.gateway.registry.get(AA)
    assert session is not None
    peer.reads = False
    for _ in range(20):
        session.send_json({"type": "custom", "payload": {"text": "x" * 1000}})
    await turns()
    assert peer.get_write_buffer_size() > 16384


async def handed_over(house: House, old: Peer, **behaviour: Any) -> tuple[Peer, float, float]:
    """Have a second connection come a second later; return it, when it took over and when the older one was gone."""
    await asyncio.sleep(1)
    new = await house.device("aa", **behaviour)
    began = asyncio.get_running_loop().time()
    return new, began, await old.gone() - began


# --- the older peer, in all its kinds -----------------------------------------------------------------------------


@virtual_time
async def test_firmware():
    """A peer that never answers Close gets the notice at once, Close 4001 after 1.5 s, and is gone after 1.8 s."""
    async with simulated() as house:
        old = await house.device("aa")
        _, began, lasted = await handed_over(house, old)

        assert old.messages[-1] == NOTICE
        assert old.times()[-1] == began
        assert old.close_code == 4001
        assert old.times(CLOSE) == [approximately(began + 1.5)]
        assert old.aborted
        assert lasted == approximately(1.8)


@virtual_time
async def test_one_that_answers():
    """A peer that answers Close is gone as soon as it has, and not aborted."""
    async with simulated() as house:
        old = await house.device("aa", answers_close=True)
        _, _, lasted = await handed_over(house, old)

        assert lasted == approximately(1.5)
        assert old.close_code == 4001
        assert not old.aborted


@virtual_time
async def test_one_that_answers_and_stays():
    """A peer that answers Close but keeps its socket open is aborted all the same, after 1.8 s."""
    async with simulated() as house:
        old = await house.device("aa", answers_close=True, ends=False)
        _, _, lasted = await handed_over(house, old)

        assert lasted == approximately(1.8)
        assert old.aborted


@virtual_time
async def test_one_with_a_full_buffer():
    """A peer that does not read is gone after 1.8 s, though neither notice nor Close can be written."""
    async with simulated() as house:
        old = await house.device("aa")
        await fill(house, old)
        _, _, lasted = await handed_over(house, old)

        assert lasted == approximately(1.8)
        assert house.records.of(HandoverBegan)[0].told is False


@pytest.mark.parametrize(("seconds", "told"), [(0.29, True), (0.31, False), (1.0, False)])
def test_one_that_reads_again(seconds: float, told: bool):
    """A peer whose buffer was full gets the notice if it reads again within 0.3 s; after that only what was written."""

    @virtual_time
    async def reads_again() -> None:
        async with simulated() as house:
            old = await house.device("aa")
            await fill(house, old)
            session = house.gateway.registry.get(AA)
            assert session is not None
            session.send_json({"type": "custom", "payload": "waits"})
            await house.device("aa")
            assert house.records.of(HandoverBegan) == []
            await asyncio.sleep(seconds)
            old.read_again()
            await old.gone()

            assert (NOTICE in old.messages) is told
            assert old.messages[-1] == (NOTICE if told else {"type": "custom", "payload": {"text": "x" * 1000}})
            assert old.close_code == 4001
            assert [one.told for one in house.records.of(HandoverBegan)] == [told]

    reads_again()


@virtual_time
async def test_one_that_goes_before_it_is_told():
    """A peer that does not read and is gone within 0.3 s was not told; the handover began and ended all the same."""
    async with simulated() as house:
        old = await house.device("aa")
        await fill(house, old)
        await house.device("aa")
        await asyncio.sleep(0.1)
        old.abort()
        await turns()

        ends = [one for one in house.records.all if type(one) in (HandoverBegan, HandoverEnded)]
        assert [type(one) for one in ends] == [HandoverBegan, HandoverEnded]
        assert (ends[0].told, ends[1].seconds) == (False, approximately(0.1))


@virtual_time
async def test_one_that_ends_by_itself():
    """A peer that destroys its old socket, as the firmware does before it opens a new one, ends the handover then."""
    async with simulated() as house:
        old = await house.device("aa")
        await house.device("aa")
        await asyncio.sleep(0.7)
        old.cut()
        await turns()

        assert old.gone_at == approximately(0.7)
        assert old.close_code is None
        assert len(house.gateway._handover) == 0
        assert [one.seconds for one in house.records.of(HandoverEnded)] == [approximately(0.7)]


@virtual_time
async def test_one_that_was_closing_already():
    """A peer that was being closed for another reason as it was replaced is gone in time, with its own code."""
    async with simulated() as house:
        old = await house.device("aa", answers_close=True, ends=False)
        session = house.gateway.registry.get(AA)
        assert session is not None
        session.channel.connection.close(CloseCode.IDLE, "idle")
        await asyncio.sleep(0.5)
        await house.device("aa")

        assert await old.gone() <= 0.5 + 1.8
        assert old.close_code == 4003
        assert NOTICE not in old.messages


@virtual_time
async def test_one_that_is_closed_late_in_the_window():
    """A Close for another reason, late in the window, does not lengthen it: the abort comes after 1.8 s."""
    async with simulated() as house:
        old = await house.device("aa", ends=False)
        await house.device("aa")
        await asyncio.sleep(1.45)
        old.say(b'{"type":"\xff"}')  # 1007, with a second to answer

        assert await old.gone() == approximately(1.8)
        assert old.close_code == 1007


@virtual_time
async def test_one_that_talks_nonsense():
    """However much of it: in the window it is dropped and counted, so that the older peer keeps its time."""
    async with simulated() as house:
        old = await house.device("aa", Protocol_Version="3")
        new = await house.device("aa")
        for _ in range(30):
            old.say("not json")
            old.say({"type": "nobody knows"})
            old.send(frame(BINARY, b"no frame of version 3"))
        await old.gone()

        assert old.gone_at == approximately(1.8)
        assert old.close_code == 4001
        assert len(house.records.of(AudioFrameDropped)) == 30
        assert len(house.records.of(RetiredFrameDropped)) == 60
        assert house.records.of(MessageRejected) == []
        assert (new.gone_at, new.of("error")) == (None, [])


# --- what passes in the window --------------------------------------------------------------------------------------


@virtual_time
async def test_nothing_but_notice_and_close():
    """In the window nothing else is sent to the older peer: no pong, no error, no pong to a control ping."""
    async with simulated() as house:
        old = await house.device("aa")
        new = await house.device("aa")
        session = house.gateway.registry.get(AA)
        assert session is not None
        before = len(old.frames)
        old.say({"type": "ping", "id": 7})
        old.say({"type": "nobody knows"})
        old.say({"type": "hello"})
        old.say("not json")
        old.send(frame(PING, b"x"))
        session.send_json({"type": "custom", "payload": {}})
        session.send_audio(b"opus")
        session.send_error("BUSY", "no room")
        await old.gone()

        assert [found.opcode for _, found in old.frames[before:]] == [CLOSE]
        assert [message["type"] for message in new.messages] == ["hello", "custom", "error"]
        assert house.records.of(PongSent) == house.records.of(PingLimited) == []
        assert len(house.records.of(RetiredFrameDropped)) == 4
        assert [one.code for one in house.records.of(MessageRejected)] == ["BUSY"]
        assert not old.times(PONG)


@virtual_time
async def test_what_waited_before_comes_before():
    """Messages written in the same turn as the handover reach the older peer before its notice, in their order."""
    async with simulated() as house:
        old = await house.device("aa")
        new = house.connect("aa")
        old.say({"type": "ping", "id": 1})
        new.say({"type": "hello"})
        await turns()

        assert [message["type"] for message in old.messages] == ["hello", "pong", "system"]


@virtual_time
async def test_the_newer_one_is_answered_first():
    """What the newer connection hears first is the answer to its hello, with the same session id."""
    async with simulated() as house:
        old = await house.device("aa")
        await asyncio.sleep(1)
        new = await house.device("aa")

        assert new.messages[0]["type"] == "hello"
        assert new.messages[0]["session_id"] == old.messages[0]["session_id"]
        assert new.messages[0]["gateway"]["resumed"] is True


def test_notice_is_the_seeds():
    """The notice is byte for byte that of the seed fork."""
    assert msgspec.json.decode(encode(HANDOVER_NOTICE)) == NOTICE


# --- third connections, windows, the end ----------------------------------------------------------------------------


@virtual_time
async def test_third_connection():
    """A third connection within the window has the oldest aborted at once; the second one gets a window of its own."""
    async with simulated() as house:
        first = await house.device("aa")
        second = await house.device("aa")
        await asyncio.sleep(1)
        third = await house.device("aa")
        await turns()

        assert first.gone_at == 1.0
        assert first.aborted
        assert first.close_code is None
        assert len(house.gateway._handover) == 1

        await second.gone()

        assert second.gone_at == approximately(2.8)
        assert second.messages[-1] == NOTICE
        assert third.gone_at is None
        assert len(house.gateway.registry) == 1


@virtual_time
async def test_a_row_of_connections():
    """However fast connections follow each other, there are never more than two channels beside the one coming."""
    async with simulated() as house:
        peers = []
        for _ in range(6):
            peers.append(await house.device("aa"))
            await turns()
            assert sum(peer.gone_at is None for peer in peers) <= 2
        await peers[-2].gone()
        await turns()

        assert [peer.gone_at for peer in peers] == [0, 0, 0, 0, approximately(1.8), None]
        assert len(house.records.of(HandoverEnded)) == 5


@virtual_time
async def test_the_newer_one_ends_in_the_window():
    """The device is offline when its newer connection ends, though the older one is still there; it may come back."""
    async with simulated() as house:
        old = await house.device("aa")
        new = await house.device("aa")
        await asyncio.sleep(0.5)
        new.cut()
        await turns()

        assert house.gateway.registry.get(AA) is None
        assert old.gone_at is None

        again = await house.device("aa")
        assert again.messages[0]["session_id"] != old.messages[0]["session_id"]
        assert await old.gone() == approximately(1.8)
        assert again.gone_at is None
        assert len(house.gateway.registry) == 1


@virtual_time
async def test_two_devices():
    """Handovers of two devices do not touch each other."""
    async with simulated() as house:
        one = await house.device("aa")
        two = await house.device("bb")
        await house.device("aa")
        await asyncio.sleep(0.5)
        await house.device("bb")

        assert await one.gone() == approximately(1.8)
        assert await two.gone() == approximately(2.3)


@pytest.mark.parametrize("window", [0.0, 0.5])
def test_shorter_window(window: float):
    """A shorter window moves the Close forward; the abort follows 0.3 s behind it."""

    @virtual_time
    async def shorter() -> None:
        async with simulated(with_window(window)) as house:
            old = await house.device("aa")
            await house.device("aa")
            await old.gone()

            assert old.messages[-1] == NOTICE
            assert old.times(CLOSE) == [approximately(window)]
            assert old.gone_at == approximately(window + 0.3)

    shorter()


@pytest.mark.parametrize("window", [0.0, 0.2])
def test_window_shorter_than_the_notice_may_take(window: float):
    """A peer that does not read has no longer for its notice than the window is."""

    @virtual_time
    async def shorter() -> None:
        async with simulated(with_window(window)) as house:
            old = await house.device("aa")
            await fill(house, old)
            await house.device("aa")

            assert await old.gone() == approximately(window + 0.3)
            assert [one.told for one in house.records.of(HandoverBegan)] == [False]

    shorter()


@virtual_time
async def test_records():
    """A handover is told by three records: it began, the connection closed, it ended after so many seconds."""
    async with simulated() as house:
        await house.device("aa")
        await house.device("aa")
        await asyncio.sleep(2)
        session = house.gateway.registry.get(AA)
        assert session is not None
        facts = {"device": "aa", "session": session.id}
        told = [one for one in house.records.all if type(one) in (HandoverBegan, ConnectionClosed, HandoverEnded)]

        assert told[0] == HandoverBegan(told=True, **facts)
        assert (type(told[1]), told[1].code, told[1].aborted) == (ConnectionClosed, 4001, True)
        assert told[2] == HandoverEnded(seconds=approximately(1.8), **facts)


@virtual_time
async def test_nothing_is_left():
    """After a handover neither a task nor an entry is left of it, and no more timers than one connection has."""
    async with simulated() as house:
        await house.device("bb")
        await asyncio.sleep(1)
        tasks, connections = len(asyncio.all_tasks()), len(house.gateway._board.connections)
        waiting = len(timers())
        await house.device("aa")
        await house.device("aa")
        await asyncio.sleep(3)

        assert len(asyncio.all_tasks()) == tasks
        assert len(house.gateway._board.connections) == connections + 1
        assert len(house.gateway._handover) == 0
        assert len(timers()) <= waiting + 1


@virtual_time
async def test_stop_in_the_window():
    """A stop ends the handovers that run: the older peer is not waited for longer than the newer."""
    async with simulated() as house:
        old = await house.device("aa")
        new = await house.device("aa")
        began = asyncio.get_running_loop().time()
        await house.gateway.stop()

        assert asyncio.get_running_loop().time() - began <= 1.1
        assert old.gone_at is not None
        assert new.gone_at is not None
        assert len(house.records.of(HandoverEnded)) == 1
        assert len(house.gateway._handover) == 0


@virtual_time
async def test_close_aborts():
    """Closing the handovers aborts the peers that are on their way out, at once, and tells that they have ended."""
    async with simulated() as house:
        old = await house.device("aa")
        await house.device("aa")
        await house.gateway._handover.close(1.0)
        await house.gateway._handover.close(1.0)

        assert old.gone_at == 0
        assert old.aborted
        assert len(house.records.of(HandoverEnded)) == 1
        assert asyncio.get_running_loop().time() == 0


def opcodes(peer: Peer) -> list[int]:
    """What kinds of frames a peer was sent."""
    return [found.opcode for _, found in peer.frames]


KINDS = {
    "firmware": functools.partial(dict),
    "answers": functools.partial(dict, answers_close=True),
    "answers and stays": functools.partial(dict, answers_close=True, ends=False),
    "neither answers nor ends": functools.partial(dict, ends=False),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stuck", [False, True])
def test_every_kind_of_peer(kind: str, stuck: bool):
    """Whatever the older peer is, two channels exist for 1.8 s at most, and text frames stop with the notice."""

    @virtual_time
    async def every_kind() -> None:
        async with simulated() as house:
            old = await house.device("aa", **KINDS[kind]())
            if stuck:
                await fill(house, old)
            _, _, lasted = await handed_over(house, old)

            assert lasted <= 1.8 + 1e-6
            if not stuck:
                assert opcodes(old) == [TEXT, TEXT, CLOSE]

    every_kind()
