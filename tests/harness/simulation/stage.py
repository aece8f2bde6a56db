"""Running a test in a simulation, and two ends of a connection that note what they are told."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from harness.simulation.hosts import Host
from harness.simulation.loop import SimulatedLoop, run
from harness.simulation.profiles import Profile


def simulated(test: Callable[..., Coroutine[Any, Any, None]] | None = None, **settings: Any) -> Callable[..., Any]:
    """Run a coroutine test in a simulation of its own; fixtures of it must be plain functions."""
    if test is None:
        return functools.partial(simulated, **settings)
    assert inspect.iscoroutinefunction(test)

    @functools.wraps(test)
    def sync(*args: Any, **kwargs: Any) -> None:
        run(lambda _: test(*args, **kwargs), **settings)

    return sync


def sim() -> SimulatedLoop:
    """The running simulation."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop


def host(name: str, profile: Profile | None = None) -> Host:
    """A host of the running simulation."""
    return sim().network.host(name, profile)


class Ear(asyncio.Protocol):
    """One end of a connection: notes what it is told; data that follows data is one.

    Attributes:
        said: what it was told, in order, with errors by their class.
        heard: the bytes.
        keeps: what it answers to the end of the stream.
        raises: raised for data.
    """

    transport: asyncio.Transport

    def __init__(self, *, keeps: bool = False, raises: Exception | None = None, paused: bool = False) -> None:
        self.said: list[str] = []
        self.heard = bytearray()
        self.keeps = keeps
        self.raises = raises
        self.paused = paused
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.paused:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Note bytes."""
        self.heard += data
        if self.said[-1:] != ["data"]:
            self.said.append("data")
        if self.raises is not None:
            raise self.raises

    def eof_received(self) -> bool:
        """Note the end of the stream."""
        self.said.append("eof")
        return self.keeps

    def pause_writing(self) -> None:
        """Note it."""
        self.said.append("pause")

    def resume_writing(self) -> None:
        """Note it."""
        self.said.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self.said.append(f"lost {type(exc).__name__}" if exc else "lost")
        self.lost.set_result(exc)


class BufferedEar(Ear, asyncio.BufferedProtocol):  # type: ignore[misc]
    """The same, fed through a buffer of its own."""

    data_received = None  # type: ignore[assignment]

    def __init__(self, **manners: Any) -> None:
        super().__init__(**manners)
        self._buffer = bytearray(4096)

    def get_buffer(self, sizehint: int) -> bytearray:
        """The buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Note what is in it."""
        Ear.data_received(self, bytes(self._buffer[:nbytes]))


async def pair(
    *, near: dict[str, Any] | None = None, far: dict[str, Any] | None = None, buffered: bool = False
) -> tuple[Ear, Ear]:
    """Two ends of a connection over the running loop's network, real or simulated: who connected, who accepted."""
    loop = asyncio.get_running_loop()
    made = loop.create_future()
    ear = BufferedEar if buffered else Ear

    def accept() -> Ear:
        made.set_result(ear(**(far or {})))
        return made.result()

    server = await loop.create_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, one = await loop.create_connection(lambda: ear(**(near or {})), "127.0.0.1", port)
    other = await made
    server.close()
    await a_moment()
    return one, other


async def cut_off(*ears: Ear) -> None:
    """End what a test has left open, as real sockets want to be closed."""
    for ear in ears:
        if not ear.lost.done():
            ear.transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def a_moment() -> None:
    """Long enough for everything that is on its way, real or simulated."""
    await asyncio.sleep(0.02)
