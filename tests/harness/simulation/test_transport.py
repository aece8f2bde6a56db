"""One end of a connection: what `test_parity` cannot show, because it needs another clock than the kernel's."""

from __future__ import annotations

import asyncio

import pytest

from gateway.device.kernel_queue import unsent_bytes
from harness.simulation.loop import Escape, SimulatedLoop, run
from harness.simulation.profiles import LINUX
from tests.harness.simulation.stage import Ear, pair, sim, simulated


@simulated
async def test_high_and_low_water():
    """The writer is paused above the high mark, not at it, and resumed at the low one."""
    one, other = await pair(far={"paused": True})
    one.transport.set_write_buffer_limits(high=1000, low=400)
    one.transport.write(bytes(LINUX.receive_buffer))
    await asyncio.sleep(1)
    one.transport.write(bytes(LINUX.send_buffer + 1000))
    assert (one.said, one.transport.get_write_buffer_size()) == ([], 1000)
    one.transport.write(b"!")
    assert one.said == ["pause"]

    other.transport.resume_reading()
    await asyncio.sleep(0.1)
    assert one.said == ["pause", "resume"]
    assert one.transport.get_write_buffer_limits() == (400, 1000)


@simulated
async def test_at_the_low_mark():
    """The writer is resumed as soon as no more than the low mark is left."""
    one, other = await pair(far={"paused": True}, buffered=True)
    received = other.buffer_updated  # type: ignore[attr-defined]

    def receive(nbytes: int) -> None:
        received(nbytes)
        other.transport.pause_reading()

    other.buffer_updated = receive  # type: ignore[attr-defined]
    one.transport.set_write_buffer_limits(high=1001, low=1000)
    one.transport.write(bytes(LINUX.receive_buffer))
    await asyncio.sleep(1)
    one.transport.write(bytes(LINUX.send_buffer + 1000 + 4096))
    other.transport.resume_reading()
    await asyncio.sleep(1)

    assert (len(other.heard), one.transport.get_write_buffer_size()) == (4096, 1000)
    assert one.said == ["pause", "resume"]


@simulated
async def test_default_and_wrong_marks():
    """The marks are asyncio's, and so is what is refused."""
    one, _ = await pair()
    assert one.transport.get_write_buffer_limits() == (16384, 65536)
    one.transport.set_write_buffer_limits(low=10)
    assert one.transport.get_write_buffer_limits() == (10, 40)
    with pytest.raises(ValueError, match="high >= low"):
        one.transport.set_write_buffer_limits(high=1, low=2)


@simulated
async def test_extra_info():
    """Each end knows both addresses; the gateway's look at the kernel's queue is answered."""
    one, other = await pair()
    assert one.transport.get_extra_info("peername") == other.transport.get_extra_info("sockname")
    assert one.transport.get_extra_info("sockname") == other.transport.get_extra_info("peername")
    assert one.transport.get_extra_info("socket") is None
    assert one.transport.get_extra_info("nothing", 1) == 1
    one.transport.write(b"12345")
    assert unsent_bytes(one.transport) == 5
    await asyncio.sleep(1)
    assert unsent_bytes(one.transport) == 0


@simulated
async def test_one_read_a_turn():
    """What has piled up is read once a turn of the loop, so that no connection holds up the others."""
    sim().network.link("localhost", "localhost", fragment="as_written")
    one, other = await pair(far={"paused": True})
    for _ in range(5):
        one.transport.write(b"x")
    await asyncio.sleep(1)
    other.transport.resume_reading()
    lengths = []
    for _ in range(6):
        await asyncio.sleep(0)
        lengths.append(len(other.heard))

    assert lengths == [1, 2, 3, 4, 5, 5]


@simulated
async def test_pausing_takes_effect_at_once():
    """A reader that pauses within a read gets nothing more, nor the end of the stream."""
    sim().network.link("localhost", "localhost", fragment="as_written")
    one, other = await pair()
    received = other.data_received

    def receive(data: bytes) -> None:
        received(data)
        other.transport.pause_reading()

    other.data_received = receive  # type: ignore[method-assign]
    one.transport.write(b"a")
    one.transport.write(b"b")
    one.transport.close()
    await asyncio.sleep(1)

    assert (bytes(other.heard), other.said) == (b"a", ["data"])
    assert not other.transport.is_reading()
    other.transport.resume_reading()
    assert other.transport.is_reading()


@simulated
async def test_closed_in_passing():
    """What is on its way to a socket that closes meanwhile is answered with a reset behind its FIN."""
    one, other = await pair(far={"keeps": True})
    other.transport.write(b"on its way")
    one.transport.close()
    await asyncio.sleep(1)
    assert other.said == ["eof"]
    other.transport.write(b"more")

    assert isinstance(await other.lost, BrokenPipeError)


def test_escape_from_a_protocol():
    """An escape in a protocol's callback comes out of the simulation."""

    class Reaches(Ear):
        def data_received(self, data: bytes) -> None:
            asyncio.get_running_loop().add_reader(0, print)

    async def main(loop: SimulatedLoop) -> None:
        await loop.create_server(Reaches, port=9)
        transport, _ = await loop.create_connection(Ear, "localhost", 9)
        transport.write(b"x")
        await asyncio.sleep(1)

    with pytest.raises(Escape, match="add_reader"):
        run(main)


@simulated
async def test_another_protocol():
    """A transport hands on to another protocol when it is told to."""
    one, other = await pair()
    heir = Ear()
    heir.transport = other.transport
    other.transport.set_protocol(heir)
    one.transport.write(b"for the heir")
    one.transport.close()
    await asyncio.sleep(1)

    assert other.transport.get_extra_info("sockname")
    assert (other.said, heir.said) == ([], ["data", "eof", "lost"])


@simulated
async def test_nothing_is_kept_of_what_has_ended():
    """A host forgets its connections once both ends are closed."""
    one, other = await pair()
    assert len(sim().network.default_host.connections) == 2
    one.transport.close()
    await asyncio.gather(one.lost, other.lost)
    await asyncio.sleep(1)

    assert len(sim().network.default_host.connections) == 0


class Answers(Ear):
    """Answers what it is told, once."""

    def data_received(self, data: bytes) -> None:
        """Answer."""
        if not self.heard:
            self.transport.write(b"!")
        super().data_received(data)


@simulated
async def test_room_that_is_found_while_it_writes():
    """Who writes in ``data_received``, just when an acknowledgement comes too, is resumed from outside of it."""
    made = sim().create_future()

    def accept() -> Answers:
        made.set_result(Answers())
        return made.result()

    await sim().create_server(accept, port=9)
    _, one = await sim().create_connection(Answers, "localhost", 9)
    one.transport.set_write_buffer_limits(high=1000)
    one.transport.write(bytes(LINUX.send_buffer + 5000))
    await asyncio.sleep(1)

    assert one.said == ["pause", "data", "resume"]
    assert len((await made).heard) == LINUX.send_buffer + 5000 + 1
