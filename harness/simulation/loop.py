"""The simulated event loop: virtual time, a network in memory, work that takes time, chance from a seed."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from harness.errors import Misuse
from harness.simulation import sqlite_writes
from harness.simulation.entropy import EPOCH, Entropy
from harness.simulation.errors import Deadlock, Escape, LimitPassed, Livelock, SimulationStopped
from harness.simulation.escapes import LOOP_METHODS
from harness.simulation.executor import Job, Pool, is_closed, thread_context, threads_of
from harness.simulation.network import SimulatedNetwork
from harness.simulation.processes import current_process
from harness.simulation.sqlite_writes import Watch
from harness.simulation.trace import Trace
from harness.simulation.unwinding import muted
from harness.simulation.virtual_time import VirtualTimeLoop

__all__ = [
    "EPOCH",
    "Deadlock",
    "Escape",
    "LimitPassed",
    "Livelock",
    "SimulatedLoop",
    "SimulationStopped",
    "loop_factory",
    "run",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EXECUTOR_TIME = (0.0005, 0.003)
"""Seconds that a blocking call takes, at least and at most: a commit of SQLite takes 0.4 ms on the project's machine,
one of a hundred rows 1.1 ms, and a thread has to be woken before and after."""
EXECUTOR_THREADS = 8
"""Of executors that do not say how many they have."""
_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - nothing is bound
_BACKLOG = 100  # asyncio's default


class SimulatedLoop(VirtualTimeLoop):
    """An event loop on which a whole system runs in virtual time, and every time the same from the same seed.

    While it runs, the sources of chance and the clocks of the standard library are its own (`Entropy`); threads,
    sockets and child processes are refused with `Escape`. Between its runs nothing is changed.

    Args:
        seed: everything that is left to chance follows from it.
        keep_trace: keep all lines of the trace, not only the last.
        executor_time: the shortest and the longest time of a call in the executor; (0, 0): done at once, and known one
            turn of the loop later.
        torn_disks: follow what SQLite writes and syncs, so that a death finds it in the middle of a call, and a loss of
            power loses what was not synced.
        limits: ``virtual_limit``, ``wall_limit``, ``turns_limit`` of `VirtualTimeLoop`.

    Attributes:
        seed: as given.
        trace: what happens.
        network: hosts and links.
        sqlite: the watch of SQLite's writes; None without ``torn_disks``.
        executor_time: as given; may be changed, for calls that begin from then on.
    """

    _closed = True  # until it is made: asyncio asks, of one whose arguments were wrong, when it goes

    def __init__(
        self,
        seed: int = 0,
        *,
        keep_trace: bool = False,
        executor_time: tuple[float, float] = EXECUTOR_TIME,
        torn_disks: bool = False,
        **limits: Any,
    ) -> None:
        self.sqlite = _watched() if torn_disks else None
        super().__init__(**limits)
        self.seed = seed
        self.trace = Trace(keep=keep_trace)
        self.executor_time = executor_time
        self._streams: dict[str, random.Random] = {}
        self._own_pools: dict[Executor | None, Pool] = {}
        self.network = SimulatedNetwork(self)
        self._entropy = Entropy(self)

    def stream(self, name: str) -> random.Random:
        """Return the stream of randomness of this name: what is drawn from one does not shift another."""
        if name not in self._streams:
            self._streams[name] = random.Random(f"{self.seed}:{name}")  # noqa: S311 - it is to be foreseen
        return self._streams[name]

    def run_forever(self) -> None:
        """Run until `stop`; what ends a simulation is raised here."""
        with self._entropy:
            super().run_forever()

    def close(self) -> None:
        """Close the loop and the files that are open on its hosts, and remove their disks."""
        if self.has_dead:  # nobody has called what runners call
            self.run_until_complete(self.shutdown_asyncgens())
        self.mute_those_who_wait()
        super().close()
        for host in self.network.hosts():
            host.close_files()
            host.disk.remove()

    async def shutdown_asyncgens(self) -> None:
        """Take down what was killed, then close the asynchronous generators; asyncio's runners call it at the end."""
        self.trace.seal()
        with muted():
            self.unwind_the_dead()
        await super().shutdown_asyncgens()

    # --- work in threads ------------------------------------------------------------------------------------------

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Do blocking work as a thread would, in this one, after some virtual time; see `Pool`.

        Raises:
            RuntimeError: the executor is closed.
        """
        if is_closed(executor):
            raise RuntimeError("cannot schedule new calls: the executor is closed")
        future = self.create_future()
        self._pool(executor).submit(Job(partial(func, *args), future, thread_context()))
        return future

    def _pool(self, executor: Executor | None) -> Pool:
        process = current_process.get()
        pools = self._own_pools if process is None else process.pools
        if executor not in pools:
            threads = threads_of(executor, EXECUTOR_THREADS)
            log = None if process is None else self.network.here().disk.log
            pools[executor] = Pool(self, threads, lambda: self.executor_time, self.stream("executor"), log)
        return pools[executor]

    # --- names and connections --------------------------------------------------------------------------------------

    async def getaddrinfo(self, host: Any, port: Any, **_hints: Any) -> list[Any]:
        """Find a host of the network.

        Raises:
            gaierror: there is none of this name.
        """
        found = self.network.resolve(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (found.address, port or 0))]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:  # noqa: ARG002 - asyncio's signature
        """Find the name of an address."""
        return self.network.resolve(sockaddr[0]).name, str(sockaddr[1])

    async def create_connection(  # the many options of the real one are about real sockets
        self,
        protocol_factory: Callable[[], Any],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        sock: Any = None,
        local_addr: Any = None,
        **_unused: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """Connect to a host of the network.

        Raises:
            OSError: as the real one does.
            Escape: ``sock=``, ``ssl=`` or ``local_addr=`` were given.
        """
        self._check_options("create_connection", sock=sock, ssl=ssl, local_addr=local_addr)
        return await self.network.connect(protocol_factory, host, int(port or 0))

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: int | None = None,
        *,
        sock: Any = None,
        backlog: int = _BACKLOG,
        ssl: Any = None,
        start_serving: bool = True,
        **_unused: Any,
    ) -> Any:
        """Listen on a port of the host of the running code; several addresses of it are one.

        Raises:
            OSError: the port is in use, or it is not the host's address.
            Escape: ``sock=`` or ``ssl=`` were given.
        """
        self._check_options("create_server", sock=sock, ssl=ssl)
        addresses = [host] if isinstance(host, str) else list(host or [_ALL_ADDRESSES])
        server = self.network.listen(protocol_factory, addresses[0], int(port or 0), backlog)
        if start_serving:
            await server.start_serving()
        return server

    def _check_options(self, method: str, **options: Any) -> None:
        for name, value in options.items():
            if value:
                advice = "give host and port, and hosts of loop.network for the ends"
                raise self.escape(f"{method}({name}=...)", advice)


def _watched() -> Watch:
    found = sqlite_writes.watch()
    if found is None:
        raise Misuse("expected a Python whose SQLite can be watched; without torn_disks it need not be")
    return found


def _refused(name: str, advice: str) -> Callable[..., Any]:
    def refuse(loop: SimulatedLoop, *_args: Any, **_kwargs: Any) -> Any:
        raise loop.escape(f"loop.{name}", advice)

    return refuse


for _name, _advice in LOOP_METHODS.items():
    setattr(SimulatedLoop, _name, _refused(_name, _advice))


def loop_factory(seed: int = 0, **settings: Any) -> Callable[[], SimulatedLoop]:
    """Make a loop factory, for `asyncio.Runner` and for ``pytest_asyncio_loop_factories``.

    Each loop it makes is a simulation of its own, from the same seed; ``settings`` are those of `SimulatedLoop`.
    """
    return partial(SimulatedLoop, seed, **settings)


def run(main: Callable[[SimulatedLoop], Coroutine[Any, Any, T]], seed: int = 0, **settings: Any) -> T:
    """Run ``await main(loop)`` in a simulation of its own, and return what it returns.

    Args:
        main: a coroutine function.
        seed: of the simulation.
        **settings: of `SimulatedLoop`.

    Raises:
        SimulationStopped: it cannot go on.
    """
    with asyncio.Runner(loop_factory=loop_factory(seed, **settings)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimulatedLoop)
        return runner.run(main(loop))
