"""The same small world on both grounds: devices and a gateway that are bare ends of connections."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from harness.faults.ground import Ground
from harness.faults.simulated_ground import SimulatedGround, SimulatedMachine
from harness.faults.tcp_ground import TcpGround
from harness.simulation.hosts import Host
from harness.simulation.loop import SimulatedLoop, run
from tests.harness.faults.lines import REQUEST, Mouth

T = TypeVar("T")


class Gateway(SimulatedMachine):
    """Listens, and notes who comes; it can die on both grounds.

    On TCP its sockets are closed, as the kernel does for a process that is killed.
    """

    def __init__(self, host: Host | None) -> None:
        self.manners: dict[str, Any] = {}
        self.ends: list[Mouth] = []
        self.port = 0
        self.starts = 0
        self._came: asyncio.Queue[Mouth] = asyncio.Queue()
        self._server: asyncio.AbstractServer | None = None
        if host is not None:
            self.host = host

    @property
    def simulated(self) -> bool:
        """Whether it has a host."""
        return hasattr(self, "host")

    @property
    def is_running(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def start(self) -> None:
        """Listen."""
        self.starts += 1
        if self.simulated:
            self.host.boot()
            self._server = await self.host.spawn(self._listen())
        else:
            self._server = await self._listen()

    async def _listen(self) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, None if self.simulated else "127.0.0.1", self.port or 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def kill(self) -> None:
        """Die."""
        self._server, server = None, self._server
        if self.simulated:
            self.host.kill()
        elif server is not None:
            server.close()
            self.abort()

    async def power_cut(self) -> None:
        """Lose power."""
        self._server = None
        self.host.power_off()

    def abort(self) -> None:
        """Close what is open."""
        for end in self.ends:
            if not end.lost.done():
                end.transport.abort()

    def _accept(self) -> Mouth:
        end = Mouth(**self.manners)
        self.ends.append(end)
        self._came.put_nowait(end)
        return end

    async def next(self) -> Mouth:
        """Wait for the next one who comes."""
        async with asyncio.timeout(30):
            return await self._came.get()


class Body:
    """A device's body: it hears nothing while it has no power."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.ends: list[Mouth] = []

    async def power_off(self) -> None:
        """Fall silent."""
        self.told.append("off")
        for end in self.ends:
            if not end.transport.is_closing():
                end.transport.pause_reading()

    async def power_on(self) -> None:
        """Have power."""
        self.told.append("on")


class World:
    """A ground, a gateway, and devices ``a`` and ``b``.

    Attributes:
        ground, gateway, bodies: what it has.
    """

    def __init__(self, ground: SimulatedGround | TcpGround, gateway: Gateway) -> None:
        self.ground: Ground = ground
        self.gateway = gateway
        self.bodies = {name: Body() for name in ("a", "b")}
        self._dial = ground.dial
        for name, body in self.bodies.items():
            ground.add_device(name, body)

    @property
    def now(self) -> float:
        """Loop time."""
        return asyncio.get_running_loop().time()

    def since(self, began: float) -> float:
        """Seconds since then."""
        return self.now - began

    async def dial(self, name: str = "a", **manners: Any) -> Mouth:
        """Connect a device."""
        made: list[Mouth] = []

        def make() -> Mouth:
            made.append(Mouth(**manners))
            return made[-1]

        address = self.gateway.host.address if self.gateway.simulated else "127.0.0.1"
        await self._dial(name)(make, address, self.gateway.port, False)
        self.bodies[name].ends.append(made[0])
        return made[0]

    async def pair_fails(self, name: str = "a") -> None:
        """See that a device cannot connect within a second."""
        with pytest.raises((TimeoutError, OSError)):
            await asyncio.wait_for(self.dial(name), 1.0)

    @property
    def simulated(self) -> SimulatedGround:
        """The ground, where it is that one."""
        assert isinstance(self.ground, SimulatedGround)
        return self.ground

    async def pair(self, name: str = "a", *, said: bytes = REQUEST, **manners: Any) -> tuple[Mouth, Mouth]:
        """Connect a device that says something; its end and the gateway's."""
        device = await self.dial(name, **manners)
        device.transport.write(said)
        gateway = await self.gateway.next()
        if not gateway.paused:
            await gateway.hears(len(said))
        return device, gateway


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    if isinstance(loop, SimulatedLoop):
        simulated = SimulatedGround(loop)
        gateway = Gateway(loop.network.host("gw"))
        simulated.add_gateway(gateway)
        await gateway.start()
        yield World(simulated, gateway)
        return
    gateway = Gateway(None)
    tcp = TcpGround(gateway=gateway)
    await gateway.start()
    world = World(tcp, gateway)
    try:
        yield world
    finally:
        await tcp.aclose()
        await gateway.kill()
        ends = [*gateway.ends, *(end for body in world.bodies.values() for end in body.ends)]
        for end in ends:
            if not end.lost.done():
                end.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def seen_in(case: Callable[[World], Awaitable[Any]]) -> Any:
    """Run a case in a world of its own, and return what it returns."""
    async with _world() as world:
        return copy.deepcopy(await case(world))  # before its end is told to all


def in_simulation(case: Callable[[World], Awaitable[Any]]) -> Any:
    """The same in a simulation."""
    return run(lambda _: seen_in(case))


def at_once(
    seen: Callable[[T], Coroutine[Any, Any, Any]], cases: Mapping[str, T], most: int = 12
) -> Callable[[str], Any]:
    """Run all cases in one loop, and return who tells what one of them has seen, or raises what it has raised."""

    async def main() -> dict[str, Any]:
        room = asyncio.Semaphore(most)

        async def one(case: T) -> Any:
            async with room:
                return await seen(case)

        found = await asyncio.gather(*map(one, cases.values()), return_exceptions=True)
        return dict(zip(cases, found, strict=True))

    results = asyncio.run(main())

    def result(name: str) -> Any:
        if isinstance(results[name], BaseException):
            raise results[name]
        return results[name]

    return result
