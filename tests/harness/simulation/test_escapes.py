"""The ways out of a simulation are refused, with advice."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.config import Config, MailboxConfig
from harness.simulation.escapes import LOOP_METHODS, WAYS_OUT
from harness.simulation.loop import Deadlock, Escape, SimulatedLoop, run
from tests.harness.simulation.stage import sim, simulated


@pytest.mark.parametrize("method", LOOP_METHODS)
def test_methods_of_the_loop(method: str):
    """What a loop can do with the real world, this one does not; the error says what to do."""

    async def main(loop: SimulatedLoop) -> None:
        getattr(loop, method)(None)

    with pytest.raises(Escape, match=f"loop.{method} would leave the simulation: {LOOP_METHODS[method]}"):
        run(main)


WAYS: dict[str, Callable[[], Any]] = {
    "a thread": lambda: threading.Thread(target=print).start(),
    "a socket": socket.socket,
    "a child process": lambda: subprocess.run([sys.executable, "-V"], check=True),
    "a fork": lambda: os.fork(),  # noqa: PLW0108 - looked up when it is called
    "a command of the shell": lambda: os.system("true"),
    "a name's address": lambda: socket.getaddrinfo("localhost", 80),
    "time.sleep in the loop's thread": lambda: time.sleep(0.01),
    "loop.add_signal_handler": lambda: sim().add_signal_handler(signal.SIGTERM, print),
}


@pytest.mark.parametrize("what", WAYS)
def test_ways_out_of_the_library(what: str):
    """Threads, sockets, names, processes and blocking sleeps are refused while a simulation runs."""

    async def main(_: SimulatedLoop) -> None:
        WAYS[what]()

    with pytest.raises(Escape, match=f"^{what} would leave the simulation: "):
        run(main)


def test_nobody_can_keep_it():
    """An escape in a task that nobody waits for, in a callback, or in a thread's work ends the simulation as well."""
    tasks: list[asyncio.Task[None]] = []

    async def in_a_task(loop: SimulatedLoop) -> None:
        tasks.append(asyncio.create_task(reach(loop)))
        await asyncio.wait(tasks)
        await asyncio.sleep(1)

    async def in_a_callback(loop: SimulatedLoop) -> None:
        loop.call_soon(loop.add_reader, 0, print)
        await asyncio.sleep(1)

    async def in_a_thread(loop: SimulatedLoop) -> None:
        future = loop.run_in_executor(None, socket.socket)
        await asyncio.wait((future,))
        await asyncio.sleep(1)

    async def reach(loop: SimulatedLoop) -> None:
        loop.add_reader(0, print)

    for main in (in_a_task, in_a_callback, in_a_thread):
        with pytest.raises(Escape):
            run(main)
    # asked for, or it is told whenever garbage is collected: in the middle of another test, whose ast.parse that broke
    assert isinstance(tasks[0].exception(), Escape)


def test_loop_can_be_run_again():
    """Whoever takes down what is left, as fixtures of a test do, is not stopped by what ended the test."""

    async def reaches(loop: SimulatedLoop) -> None:
        socket.socket()

    async def waits(loop: SimulatedLoop) -> None:
        await loop.create_future()

    async def ends() -> int:
        await asyncio.sleep(1)
        return 7

    for first, error in ((reaches, Escape), (waits, Deadlock)):
        with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, SimulatedLoop)
            with pytest.raises(error):
                runner.run(first(loop))
            assert runner.run(ends()) == 7


def test_open_again_afterwards():
    """Behind a simulation the ways are open, as they were before."""
    before = [getattr(way.owner, way.name) for way in WAYS_OUT]

    async def main(_: SimulatedLoop) -> list[Any]:
        return [getattr(way.owner, way.name) for way in WAYS_OUT]

    during = run(main)

    assert all(one is not other for one, other in zip(before, during, strict=True))
    assert [getattr(way.owner, way.name) for way in WAYS_OUT] == before
    socket.socket().close()


@pytest.mark.parametrize("option", ["sock", "ssl"])
def test_options(option: str):
    """Real sockets and TLS are refused where connections are made and taken."""

    async def connect(loop: SimulatedLoop) -> None:
        await loop.create_connection(asyncio.Protocol, "localhost", 1, **{option: object()})

    async def serve(loop: SimulatedLoop) -> None:
        await loop.create_server(asyncio.Protocol, "localhost", 1, **{option: object()})

    with pytest.raises(Escape, match=rf"create_connection\({option}=\.\.\.\)"):
        run(connect)
    with pytest.raises(Escape, match=rf"create_server\({option}=\.\.\.\)"):
        run(serve)


def test_call_from_a_real_thread():
    """A thread that began before the simulation cannot call into it."""
    found: list[BaseException] = []

    def call(loop: SimulatedLoop) -> None:
        try:
            loop.call_soon_threadsafe(print)
        except Escape as error:
            found.append(error)

    loop = SimulatedLoop()
    loop.run_until_complete(asyncio.sleep(1))
    thread = threading.Thread(target=call, args=(loop,))
    thread.start()
    thread.join()
    loop.close()

    assert str(found[0]) == (
        "a call from another thread would leave the simulation: give blocking work to loop.run_in_executor"
    )


@simulated
async def test_call_from_the_own_thread():
    """In its own thread, ``call_soon_threadsafe`` is ``call_soon``."""
    called: list[int] = []
    sim().call_soon_threadsafe(called.append, 1)
    await asyncio.sleep(0)

    assert called == [1]


def test_gateway_without_a_network():
    """A gateway that would bind real ports says how to give it simulated ones."""

    async def main(_: SimulatedLoop) -> None:
        await Gateway(Config(mailbox=MailboxConfig(path=":memory:"))).start()

    with pytest.raises(Escape, match=r"a Gateway is given network=host\.listening\(\)"):
        run(main)
