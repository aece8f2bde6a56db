"""One direction of a connection: windows, bandwidth, losses, partitions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.simulation.hosts import Host
from harness.simulation.profiles import ESP32, LINUX, Profile
from tests.harness.simulation.stage import BufferedEar, Ear, host, sim, simulated

DATA = bytes(number * 7 % 251 for number in range(20 * 1024))


async def joined(
    profile: Profile = ESP32,
    *,
    data: bytes = b"",
    near: dict[str, Any] | None = None,
    far: dict[str, Any] | None = None,
    **qualities: Any,
) -> tuple[Ear, Ear, Host, Host]:
    """A device with this TCP that has connected to a server over a link of these qualities, and sends data at once."""
    device, server = host("device", profile), host("server")
    sim().network.link(device, server, **qualities)
    made = sim().create_future()

    def accept() -> Ear:
        ear = Ear(**(far or {}))
        made.set_result(ear)
        return ear

    await server.spawn(sim().create_server(accept, port=9))
    _, ear = await device.spawn(sim().create_connection(lambda: Ear(**(near or {})), "server", 9))
    ear.transport.write(data)
    return ear, await made, device, server


async def sent(near: Ear, far: Ear, data: bytes = DATA) -> float:
    """Send, and close behind it; how long it took until all was there."""
    began = sim().time()
    near.transport.write(data)
    near.transport.write_eof()
    await far.lost
    assert bytes(far.heard) == (data or DATA)
    return sim().time() - began


@simulated
async def test_bandwidth():
    """20 KiB at 2 KiB/s take 10 s; the window of lwIP, which is a moment's worth, does not hold them up."""
    began = sim().time()
    near, far, *_ = await joined(bandwidth=2048, latency=0.002, data=DATA)
    await sent(near, far, b"")

    assert sim().time() - began == pytest.approx(10.007, abs=0.001)


@simulated
async def test_window():
    """Over a round trip of 200 ms lwIP's 5744 bytes are sent four times: 0.7 s behind the 0.2 s to connect."""
    began = sim().time()
    near, far, *_ = await joined(latency=0.1, data=DATA)
    await sent(near, far, b"")

    assert sim().time() - began == pytest.approx(0.9, abs=0.001)


@simulated
async def test_linux_sends_it_at_once():
    """The buffers of Linux take the same in one go."""
    near, far, *_ = await joined(LINUX, latency=0.1)

    assert await sent(near, far) == pytest.approx(0.1, abs=0.001)


@simulated
async def test_slow_reader_closes_the_window():
    """Past the reader's buffer nothing is sent; the rest waits in the kernel, then in the transport."""
    near, far, *_ = await joined(LINUX, far={"paused": True})
    near.transport.write(bytes(300_000))
    await asyncio.sleep(10)

    arrived, kernel = LINUX.receive_buffer, LINUX.send_buffer
    assert near.transport.end.outgoing.unacknowledged == 300_000 - arrived
    assert near.transport.get_write_buffer_size() == 300_000 - arrived - kernel
    assert sim().timers() == []

    far.transport.resume_reading()
    await asyncio.sleep(0.1)
    assert len(far.heard) == 300_000
    assert near.transport.end.outgoing.unacknowledged == 0


class Sips(BufferedEar):
    """Reads ten bytes every ten milliseconds."""

    def __init__(self, **manners: Any) -> None:
        super().__init__(**manners)
        self._buffer = bytearray(10)

    def buffer_updated(self, nbytes: int) -> None:
        """Note them, and wait."""
        super().buffer_updated(nbytes)
        self.transport.pause_reading()
        sim().call_later(0.01, self.transport.resume_reading)


@simulated(keep_trace=True)
async def test_window_is_not_opened_in_sips():
    """A reader that reads a little at a time lets the sender know once there is room for a segment (RFC 1122)."""
    ears: list[Sips] = []

    def accept() -> Sips:
        ears.append(Sips())
        return ears[-1]

    sim().network.host("server", ESP32).spawn(sim().create_server(accept, port=9))
    transport, _ = await sim().create_connection(Ear, "server", 9)
    transport.write(bytes(ESP32.receive_buffer + 3000))
    await asyncio.sleep(20)

    assert len(ears[0].heard) == ESP32.receive_buffer + 3000
    assert sum(" data " in line for line in sim().trace.lines) <= 12  # not 300


@simulated
async def test_acknowledged_once_the_way_back_is_over():
    """Bytes count as unacknowledged until the acknowledgement is there, read or not."""
    near, *_ = await joined(latency=0.1, far={"paused": True})
    near.transport.write(b"12345")
    await asyncio.sleep(0.19)
    assert near.transport.end.outgoing.unacknowledged == 5
    await asyncio.sleep(0.02)
    assert near.transport.end.outgoing.unacknowledged == 0


@pytest.mark.parametrize("fragment", ["joined", "as_written", "random", "byte"])
@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_whole_and_in_order(fragment: str, loss: float):
    """However the link cuts, loses and delays, the bytes are those that were sent."""

    @simulated(seed=4)
    async def scenario() -> None:
        near, far, *_ = await joined(fragment=fragment, loss=loss, jitter=0.05)
        await sent(near, far, DATA[:3000])

    scenario()


class Reads(Ear):
    """Notes each read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Note a read."""
        self.reads.append(data)


@pytest.mark.parametrize(
    ("fragment", "reads"),
    [("joined", [b"abcde"]), ("as_written", [b"ab", b"cde"]), ("byte", [b"a", b"b", b"c", b"d", b"e"])],
)
def test_fragments(fragment: str, reads: list[bytes]):
    """The reader gets what has arrived at once, or write by write, or byte by byte."""

    @simulated
    async def scenario() -> None:
        sim().network.link("localhost", "localhost", fragment=fragment)
        ears: list[Reads] = []

        def accept() -> Reads:
            ears.append(Reads())
            return ears[-1]

        await sim().create_server(accept, port=9)
        transport, _ = await sim().create_connection(Ear, "localhost", 9)
        transport.write(b"ab")
        transport.write(b"cde")
        await asyncio.sleep(1)
        assert ears[0].reads == reads

    scenario()


@simulated
async def test_partition_holds_the_bytes():
    """What is sent into a partition arrives with the first retransmission behind its end."""
    near, far, device, server = await joined(latency=0.0)
    sim().network.partition(device, server)
    near.transport.write(b"hello")
    began = sim().time()
    await asyncio.sleep(2.0)
    sim().network.heal(device, server)
    assert not far.heard

    await asyncio.sleep(2.4)
    assert not far.heard  # lwIP tries after 1.5 s, then after 3 s more
    await asyncio.sleep(0.2)
    assert bytes(far.heard) == b"hello"
    assert sim().time() - began == pytest.approx(4.6)


@simulated
async def test_partition_on_the_way():
    """What is on its way when the link is cut is lost, and sent again."""
    near, far, device, server = await joined(LINUX, latency=0.1)
    near.transport.write(b"hello")
    await asyncio.sleep(0.05)
    sim().network.partition(device, server)
    await asyncio.sleep(0.1)
    sim().network.heal(device, server)
    await asyncio.sleep(0.25)

    assert bytes(far.heard) == b"hello"


@simulated
async def test_given_up():
    """A connection whose bytes nobody acknowledges ends with ETIMEDOUT after the profile's time, and not before."""
    near, far, device, server = await joined()
    sim().network.partition(device, server)
    began = sim().time()
    near.transport.write(b"hello")
    error = await near.lost

    assert isinstance(error, TimeoutError)
    assert sim().time() - began == pytest.approx(ESP32.user_timeout, abs=0.01)
    assert near.transport.end.outgoing.unacknowledged == 5  # a loss never looks like a delivery
    assert not far.lost.done()


@simulated
async def test_losses_are_not_added_up():
    """Two short partitions, far apart, are two: what was made good does not count against the second."""
    near, far, device, server = await joined()
    for _ in range(2):
        sim().network.partition(device, server)
        near.transport.write(b"hello")
        await asyncio.sleep(30)
        sim().network.heal(device, server)
        await asyncio.sleep(ESP32.user_timeout)

    assert (bytes(far.heard), near.said) == (b"hellohello", [])


@simulated
async def test_quiet_connection_survives_a_partition():
    """Where nothing is sent, nothing is noticed."""
    near, far, device, server = await joined()
    sim().network.partition(device, server)
    await asyncio.sleep(3600)
    sim().network.heal(device, server)
    near.transport.write(b"still here")
    await asyncio.sleep(1)

    assert bytes(far.heard) == b"still here"


@simulated
async def test_partition_one_way_there():
    """When only the way there is cut, nothing arrives, and the sender gives up."""
    near, far, device, server = await joined()
    sim().network.partition(device, server, both=False)
    near.transport.write(b"hello")
    far.transport.write(b"from the server")
    await asyncio.sleep(1)

    assert not far.heard
    assert bytes(near.heard) == b"from the server"  # its acknowledgement does not arrive, though
    assert far.transport.end.outgoing.unacknowledged == 15
    assert isinstance(await near.lost, TimeoutError)


@simulated
async def test_partition_one_way_back():
    """When only the way back is cut, bytes arrive, and the sender does not know and gives up."""
    near, far, device, server = await joined()
    sim().network.partition(server, device, both=False)
    near.transport.write(b"hello")
    await asyncio.sleep(1)

    assert bytes(far.heard) == b"hello"
    assert near.transport.end.outgoing.unacknowledged == 5
    assert isinstance(await near.lost, TimeoutError)


@simulated
async def test_lost_acknowledgement_is_made_good():
    """After the way back is there again, the sender knows what has arrived, and nothing arrives twice."""
    near, far, device, server = await joined()
    sim().network.partition(server, device, both=False)
    near.transport.write(b"hello")
    await asyncio.sleep(1)
    sim().network.heal(device, server)
    await asyncio.sleep(1)

    assert near.transport.end.outgoing.unacknowledged == 0
    assert bytes(far.heard) == b"hello"


@simulated
async def test_lost_window_update_is_made_good():
    """A reader that reads on while the link is cut is found reading by the next probe."""
    near, far, device, server = await joined(LINUX, far={"paused": True})
    near.transport.write(bytes(300_000))
    await asyncio.sleep(1)
    sim().network.partition(device, server)
    far.transport.resume_reading()
    await asyncio.sleep(1)
    sim().network.heal(device, server)
    await asyncio.sleep(10)

    assert len(far.heard) == 300_000


@simulated
async def test_end_of_stream_survives_a_partition():
    """FIN is sent again as well."""
    near, far, device, server = await joined()
    sim().network.partition(device, server)
    near.transport.close()
    await asyncio.sleep(1)
    assert near.lost.done()
    sim().network.heal(device, server)
    await asyncio.sleep(5)

    assert far.said == ["eof", "lost"]


@simulated
async def test_reset_behind_a_partition():
    """A socket that is closed with something unread says so once the link is there, and waits for no retransmission."""
    near, far, device, server = await joined(near={"paused": True})
    far.transport.write(b"unread")
    await asyncio.sleep(1)
    sim().network.partition(device, server)
    near.transport.write(b"lost")
    await asyncio.sleep(0.1)
    sim().network.heal(device, server)
    near.transport.close()
    await asyncio.sleep(0.1)

    assert far.said == ["lost ConnectionResetError"]


@simulated
async def test_end_for_a_machine_that_was_off():
    """What comes for a connection that its machine has forgotten is answered with RST, the end of the stream too."""
    _, far, device, _ = await joined(far={"keeps": True})
    device.power_off()
    device.boot()
    far.transport.write_eof()
    await asyncio.sleep(1)

    assert far.said == ["lost ConnectionResetError"]


@simulated
async def test_repeat_for_a_socket_that_is_closed():
    """What the kernel had taken before its socket was closed is acknowledged anew, and resets nobody."""
    near, far, device, server = await joined(near={"keeps": True})
    sim().network.partition(server, device, both=False)
    near.transport.write(b"hello")
    await asyncio.sleep(0.1)
    far.transport.close()
    await asyncio.sleep(0.1)
    sim().network.heal(server, device)
    await asyncio.sleep(10)

    assert (bytes(far.heard), near.said, near.transport.end.error) == (b"hello", ["eof"], None)


@simulated
async def test_handshake_and_later_losses():
    """The last step of a handshake that is lost, and made good, does not count against a loss long after it."""
    task = sim().create_task(joined())
    await asyncio.sleep(0.0012)  # a SYN and its answer take a millisecond
    sim().network.partition("device", "server")
    await asyncio.sleep(1)
    sim().network.heal("device", "server")
    near, far, device, server = await task
    await asyncio.sleep(ESP32.user_timeout)

    sim().network.partition(device, server)
    near.transport.write(b"hello")
    await asyncio.sleep(30)
    sim().network.heal(device, server)
    await asyncio.sleep(60)
    assert (bytes(far.heard), near.said) == (b"hello", [])
