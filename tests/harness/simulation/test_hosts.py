"""Hosts, and how they die."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from pathlib import Path

import pytest

from harness.errors import Misuse
from harness.simulation.loop import Deadlock, SimulatedLoop, run
from harness.simulation.profiles import ESP32
from tests.harness.simulation.stage import Ear, host, sim, simulated


async def serve(ear: Ear) -> None:
    """Accept one connection, for ever."""
    await sim().create_server(lambda: ear, port=9)
    await asyncio.Event().wait()


async def visited(ear: Ear, **manners: bool) -> Ear:
    """A connection from the test to an ear on the host gw."""
    host("gw").spawn(serve(ear))
    _, near = await sim().create_connection(lambda: Ear(**manners), "gw", 9)
    await asyncio.sleep(0.1)
    return near


def test_kill_runs_no_finally():
    """A killed process does not get to its ``finally`` blocks, then or later, nor to anything else."""
    ran: list[str] = []

    async def work() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(inner())
                while True:
                    await asyncio.sleep(0.1)
                    ran.append("worked")
        finally:
            ran.append("finally of the work")

    async def inner() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(1)
            ran.append("finally of the inner")

    async def main(_: SimulatedLoop) -> list[str]:
        host("gw").spawn(work())
        await asyncio.sleep(0.25)
        host("gw").kill()
        await asyncio.sleep(3600)
        return list(ran)

    assert run(main) == ["worked", "worked"]


def test_kill_without_a_runner():
    """A loop that is closed without what runners do at the end takes down the dead all the same."""
    ran: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            sim().trace.note(0.0, "must not", "be noted")
            ran.append("unwound")

    async def main() -> None:
        host("gw").spawn(work())
        await asyncio.sleep(1)
        host("gw").kill()

    loop = SimulatedLoop()
    loop.run_until_complete(main())
    loop.close()
    loop.close()

    assert ran == ["unwound"]
    assert "must not" not in str(loop.trace.lines)


@simulated
async def test_kill_ends_timers_and_callbacks():
    """What a killed process had scheduled does not happen, and what would wake it does not."""
    gw, happened = host("gw"), list[str]()
    event = asyncio.Event()

    async def work() -> None:
        sim().call_later(1, happened.append, "timer")
        sim().call_soon(sim().call_later, 2, happened.append, "timer of a callback")
        await event.wait()
        happened.append("woken")

    gw.spawn(work())
    await asyncio.sleep(0.5)
    gw.kill()
    event.set()
    await asyncio.sleep(10)

    assert happened == []


@simulated
async def test_kill_from_within():
    """A process that kills its own host does not get past its next step."""
    done: list[str] = []

    async def work() -> None:
        host("gw").kill()
        done.append("last words")
        sim().call_soon(done.append, "too late")
        sim().call_later(1, done.append, "too late")
        await asyncio.sleep(0)
        done.append("too late")

    host("gw").spawn(work())
    await asyncio.sleep(10)

    assert done == ["last words"]


@simulated
async def test_kill_sends_fin():
    """The kernel of a killed process closes its sockets; its peer is told, its protocol is not."""
    far = Ear()
    near = await visited(far)
    host("gw").kill()
    await asyncio.sleep(1)

    assert near.said == ["eof", "lost"]
    assert far.said == []
    assert far.transport.is_closing()


@simulated
async def test_kill_with_unread_sends_reset():
    """Where something was unread, the kernel sends RST instead."""
    far = Ear(paused=True)
    near = await visited(far)
    near.transport.write(b"unread")
    await asyncio.sleep(0.1)
    host("gw").kill()

    assert isinstance(await near.lost, ConnectionResetError)


@simulated
async def test_kill_lets_go_what_the_kernel_has():
    """What the process had written and the kernel had taken arrives, although the process is gone."""
    far = Ear()
    near = await visited(far)
    far.transport.write(b"last words")
    host("gw").kill()
    await asyncio.sleep(1)

    assert (bytes(near.heard), near.said) == (b"last words", ["data", "eof", "lost"])


@simulated
async def test_next_process():
    """After a kill the ports are free, and the next process runs."""
    await visited(Ear())
    host("gw").kill()
    with pytest.raises(ConnectionRefusedError):
        await sim().create_connection(Ear, "gw", 9)
    near = await visited(Ear())

    assert near.said == []


@simulated
async def test_power_off_says_nothing():
    """When the power goes, peers see nothing, and what was just sent does not arrive."""
    far = Ear()
    near = await visited(far)
    far.transport.write(b"last words")
    host("gw").power_off()
    await asyncio.sleep(3600)

    assert near.said == []
    assert far.said == []


@simulated
async def test_power_that_is_back_at_once():
    """What was on its way when the power went is lost, even if the host is up again before it would have arrived."""
    far = Ear()
    near = await visited(far)
    far.transport.write(b"last words")
    host("gw").power_off()
    host("gw").boot()
    await asyncio.sleep(1)

    assert near.said == []


@simulated
async def test_kill_during_the_handshake():
    """A connection that is not complete when the process dies is reset."""
    host("gw").spawn(serve(Ear()))
    await asyncio.sleep(0.1)
    _, near = await sim().create_connection(Ear, "gw", 9)
    host("gw").kill()

    assert isinstance(await near.lost, ConnectionResetError)


@simulated
async def test_connecting_to_a_host_without_power():
    """Nobody answers; Linux tries for 127 s."""
    host("gw").power_off()
    began = sim().time()
    with pytest.raises(TimeoutError):
        await sim().create_connection(Ear, "gw", 9)

    assert sim().time() - began == pytest.approx(127.0)


@simulated
async def test_half_open():
    """After a reboot, the first thing that comes on an old connection is answered with RST."""
    near = await visited(Ear())
    host("gw").power_off()
    await asyncio.sleep(60)
    host("gw").boot()
    await asyncio.sleep(60)
    assert near.said == []
    near.transport.write(b"still there?")

    assert isinstance(await near.lost, ConnectionResetError)


@simulated
async def test_half_open_behind_a_partition():
    """A reset that is lost on its way comes again with the next retransmission."""
    near = await visited(Ear())
    host("gw").power_off()
    host("gw").boot()
    sim().network.partition("gw", "localhost", both=False)
    near.transport.write(b"still there?")
    await asyncio.sleep(10)
    assert near.said == []
    sim().network.heal("gw", "localhost")

    assert isinstance(await near.lost, ConnectionResetError)


@simulated
async def test_written_after_death():
    """What a process writes in the step in which it dies does not leave it."""
    far = Ear()
    near = await visited(far)

    async def die() -> None:
        host("gw").kill()
        far.transport.write(b"too late")
        far.transport.write_eof()
        far.transport.close()
        far.transport.abort()

    host("gw").spawn(die())
    await asyncio.sleep(1)

    assert near.said == ["eof", "lost"]


@simulated
async def test_spawn_needs_power():
    """Nothing runs on a host that is off."""
    gw = host("gw")
    gw.power_off()
    with pytest.raises(Misuse, match=r"gw to have power; boot\(\) it first"):
        gw.spawn(asyncio.sleep(0))
    gw.boot()
    await gw.spawn(asyncio.sleep(0))


@pytest.mark.parametrize("how", ["kill", "power_off"])
def test_the_tests_own_host_cannot_die(how: str):
    """The host on which the test itself runs is not to be killed."""

    async def main(loop: SimulatedLoop) -> None:
        getattr(loop.network.default_host, how)()

    with pytest.raises(Misuse, match="the test itself runs on localhost"):
        run(main)


@simulated
async def test_strangers_do_not_die():
    """A host on which something runs that no kill would end says so, instead of a kill that is none."""
    gw = host("gw")
    network = gw.listening(8000, 8003)
    gw.spawn(asyncio.sleep(100))
    await network.serve("websocket", Ear)
    with pytest.raises(
        Misuse, match=r"on gw to have begun with its spawn\(\), or it would live on: <listener gw:8000>"
    ):
        gw.kill()
    network.close()
    gw.kill()


@simulated
async def test_disk_survives():
    """Kill and loss of power leave the disk; each process has it for itself."""
    gw = host("gw")
    first = gw.disk.path
    (first / "file").write_text("of the first")
    gw.spawn(asyncio.sleep(0))
    gw.kill()
    second = gw.disk.path
    assert (second / "file").read_text() == "of the first"
    (second / "file").write_text("of the second")
    (first / "file").write_text("too late")
    gw.spawn(asyncio.sleep(0))
    gw.power_off()
    gw.boot()

    assert (gw.disk.path / "file").read_text() == "of the second"


def test_no_descriptor_is_left():
    """What a killed process had open is closed."""

    async def work(path: Path) -> None:
        os.open(path / "lock", os.O_CREAT | os.O_RDWR)
        await asyncio.Event().wait()

    async def main(_: SimulatedLoop) -> None:
        for _ in range(10):
            host("gw").spawn(work(host("gw").disk.path))
            await asyncio.sleep(1)
            host("gw").kill()

    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - numbers, not paths
    run(main)

    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_waiting_for_the_dead(caplog: pytest.LogCaptureFixture):
    """Whoever waits for a task of a killed process waits for ever, and the deadlock says so; nobody does later."""

    async def main(_: SimulatedLoop) -> None:
        task = host("gw").spawn(asyncio.sleep(1), "slow")
        await asyncio.sleep(0.5)
        host("gw").kill()
        await task

    with pytest.raises(Deadlock, match=r"which waits for slow[^$]*1 tasks of killed processes, which never end"):
        run(main)
    gc.collect()

    assert caplog.records == []


@simulated
async def test_room_for_connections():
    """An ESP32 has room for sixteen connections, and for another one when one has ended."""
    device, address, ears = host("device", ESP32), "server", list[Ear]()
    host(address).spawn(serve_many())
    await asyncio.sleep(0.1)
    for _ in range(16):
        _, ear = await device.spawn(sim().create_connection(Ear, address, 9))
        ears.append(ear)
    with pytest.raises(OSError, match="Too many open files"):
        await device.spawn(sim().create_connection(Ear, address, 9))
    ears[0].transport.close()
    await asyncio.sleep(1)
    await device.spawn(sim().create_connection(Ear, address, 9))


async def serve_many() -> None:
    """Accept whoever comes."""
    await sim().create_server(Ear, port=9)
    await asyncio.Event().wait()


@simulated
async def test_localhost_is_ones_own():
    """On every host "localhost" is that host."""
    host("gw").spawn(serve_many())
    await asyncio.sleep(0.1)
    await host("gw").spawn(sim().create_connection(Ear, "localhost", 9))
    with pytest.raises(ConnectionRefusedError):
        await sim().create_connection(Ear, "localhost", 9)
