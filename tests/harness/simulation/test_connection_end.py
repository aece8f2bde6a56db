"""One end of a connection as the kernel has it."""

from __future__ import annotations

import asyncio
import errno

from harness.simulation.connection_end import ConnectionEnd
from tests.harness.simulation.stage import Ear, pair, sim, simulated


def end_of(ear: Ear) -> ConnectionEnd:
    """The socket below a transport."""
    end: ConnectionEnd = ear.transport.end  # type: ignore[attr-defined]
    return end


def known() -> int:
    """How many sockets the kernel of the test's host knows of."""
    return len(sim().network.default_host.connections)


@simulated
async def test_forgotten_when_both_have_closed():
    """A kernel keeps a closed socket until its FIN has arrived."""
    one, other = await pair()
    end_of(one).close()
    end_of(one).close()
    assert known() == 2
    await asyncio.sleep(1)
    assert other.said == ["eof", "lost"]
    assert known() == 0


@simulated
async def test_forgotten_when_one_half_after_the_other_has_closed():
    """A FIN that has arrived before the socket is closed counts as well."""
    one, other = await pair(far={"keeps": True})
    one.transport.write_eof()
    await asyncio.sleep(1)
    other.transport.close()
    await asyncio.sleep(1)
    assert one.said == ["eof", "lost"]
    assert known() == 0


@simulated
async def test_kept_while_the_fin_cannot_arrive():
    """While the link is down the kernel keeps trying, though the process is done with the socket."""
    one, _ = await pair()
    sim().network.partition("localhost", "localhost")
    one.transport.close()
    await asyncio.sleep(60)
    assert one.lost.done()
    assert known() == 2
    sim().network.heal("localhost", "localhost")
    await asyncio.sleep(120)
    assert known() == 0


@simulated
async def test_broken_once():
    """What breaks a connection first is what its user is told."""
    one, _ = await pair()
    end_of(one).broken(errno.ETIMEDOUT)
    end_of(one).broken(errno.ECONNRESET)

    assert isinstance(await one.lost, TimeoutError)
    assert isinstance(end_of(one).error, TimeoutError)


@simulated
async def test_nothing_comes_in_once_it_is_broken():
    """A connection that was given up is no more, even where its process has not noticed: data is answered with RST."""
    one, other = await pair(near={"paused": True})
    end_of(one).broken(errno.ETIMEDOUT)
    other.transport.write(b"hello")

    assert isinstance(await other.lost, ConnectionResetError)
    assert one.said == []
    one.transport.resume_reading()
    assert isinstance(await one.lost, TimeoutError)
    assert one.said == ["lost TimeoutError"]


@simulated
async def test_reset_behind_fin_is_a_broken_pipe():
    """Linux tells a reset by another number where the peer had closed its side."""
    one, other = await pair(far={"keeps": True})
    one.transport.write_eof()
    await asyncio.sleep(1)
    end_of(other).broken(errno.ECONNRESET)
    other.transport.write(b"x")

    assert isinstance(await other.lost, BrokenPipeError)
