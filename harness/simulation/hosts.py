"""Machines on the simulated network: what runs on them, what they listen on, and how they die."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import errno
import os
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import Misuse
from harness.simulation.connection_end import ConnectionEnd
from harness.simulation.disk import Disk
from harness.simulation.processes import Process, current_process
from harness.simulation.profiles import Profile
from harness.simulation.servers import GATEWAY_BACKLOG, HostNetwork, Listener, cannot_listen, gateway_profile

if TYPE_CHECKING:
    from harness.simulation.loop import SimulatedLoop

T = TypeVar("T")

_FIRST_PORT = 40_000  # of those that a host chooses itself


class Host:
    """One machine; made by `SimulatedNetwork.host`.

    What is begun with `spawn`, and everything that begins, belongs to a process of the host: its connections come from
    here, and it dies with `kill` or `power_off`.

    Attributes:
        name: under which others find it.
        address: its IPv4 address.
        profile: its TCP.
        powered: whether it is on.
        online: whether it has a network at all; where it has none, connecting fails at once.
        disk: what it keeps over a loss of power.
        clock_offset: seconds by which its wall clock is wrong.
        listeners: its listening sockets, by port.
        connections: its open ones.
    """

    def __init__(self, loop: SimulatedLoop, name: str, address: str, profile: Profile) -> None:
        self.loop = loop
        self.name = name
        self.address = address
        self.profile = profile
        self.powered = True
        self.online = True
        self.disk = Disk(name, loop.sqlite, loop.stream(f"disk of {name}"))
        self.clock_offset = 0.0
        self.listeners: dict[int, Listener] = {}
        self.connections: dict[ConnectionEnd, None] = {}
        self._process: Process | None = None
        self._processes = 0
        self._port = _FIRST_PORT
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def __repr__(self) -> str:
        return f"<host {self.name} {self.address}{'' if self.powered else ' off'}>"

    # --- what runs here -------------------------------------------------------------------------------------------

    def spawn(self, coro: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine in the host's process; the host holds the task.

        A task of a process that was killed never ends: whoever awaits it waits for ever.

        Raises:
            Misuse: the host has no power; the coroutine has been closed and will not run.
        """
        if not self.powered:
            coro.close()
            raise Misuse(f"expected {self.name} to have power; boot() it first")
        context = contextvars.copy_context()
        context.run(current_process.set, self._current())
        task = self.loop.create_task(coro, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        self.loop.note_failure(task)

    def _current(self) -> Process:
        if self._process is None:
            self._processes += 1
            self._process = Process(self.name, self._processes)
        return self._process

    # --- listening ------------------------------------------------------------------------------------------------

    def listening(self, ws_port: int = 0, http_port: int = 0) -> HostNetwork:
        """Bind the two ports of a gateway; 0: one that is free.

        Raises:
            CannotListen: a port is in use; nothing is bound then.
        """
        profile = dataclasses.replace(self.profile, **gateway_profile(self.profile))
        for port, what in ((ws_port, "ws_port"), (http_port, "http_port")):
            if port in self.listeners or (port and what == "http_port" and port == ws_port):
                raise cannot_listen(self, port, what)
        websocket, http = (self._listener(port, profile, GATEWAY_BACKLOG) for port in (ws_port, http_port))
        return HostNetwork(self, websocket, http)

    def bind(self, port: int, backlog: int) -> Listener:
        """Listen on a port; 0: one that is free.

        Raises:
            OSError: the port is in use (EADDRINUSE).
        """
        if port in self.listeners:
            raise OSError(errno.EADDRINUSE, f"error while attempting to bind on address {(self.address, port)}")
        return self._listener(port, self.profile, backlog)

    def _listener(self, port: int, profile: Profile, backlog: int) -> Listener:
        port = port or self.free_port()
        listener = self.listeners[port] = Listener(self, port, profile, backlog)
        return listener

    def free_port(self) -> int:
        """Return a port that was not used before."""
        self._port += 1
        while self._port in self.listeners:
            self._port += 1
        return self._port

    def forget(self, end: ConnectionEnd) -> None:
        """Drop a connection that has ended."""
        self.connections.pop(end, None)

    def check_room(self) -> None:
        """Raise the ``OSError`` of a host that has no room for another connection."""
        most = self.profile.connections
        if most is not None and len(self.connections) >= most:
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

    # --- dying ----------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """End everything that runs here as SIGKILL does: no ``finally`` block runs; the kernel closes the sockets.

        Peers see FIN, or RST where something was unread. Ports are free at once, and `spawn` begins a new process.
        """
        self._check_can_die("kill")
        self.loop.trace.note(self.loop.time(), "kill", self.name)
        self._end_process()
        for listener in tuple(self.listeners.values()):
            listener.close()
        for end in tuple(self.connections):
            end.die()

    def power_off(self) -> None:
        """Cut the power: peers see nothing at all. What was on the disk stays."""
        self._check_can_die("power_off")
        self.loop.trace.note(self.loop.time(), "power off", self.name)
        self.powered = False
        self._end_process(power_cut=True)
        self.listeners.clear()
        for end in tuple(self.connections):
            end.vanish()

    def boot(self) -> None:
        """Give power back; to be followed by `spawn`. Old connections are answered with RST from now on."""
        if not self.powered:
            self.loop.trace.note(self.loop.time(), "boot", self.name)
        self.powered = True

    def close_files(self) -> None:
        """Close what its process has left open when the simulation ends, which is no death: the disk goes as well."""
        if self._process is not None:
            self._process.files.close()

    def _check_can_die(self, how: str) -> None:
        if self is self.loop.network.default_host:
            raise Misuse(f"expected {how}() of a host that was made for it: the test itself runs on {self.name}")
        strangers = [str(listener) for listener in self.listeners.values() if listener.is_of_the_test]
        strangers += [str(end) for end in self.connections if end.user is not None and end.user.is_of_the_test]
        if strangers:
            what = ", ".join(strangers)
            raise Misuse(
                f"expected all that runs on {self.name} to have begun with its spawn(), or it would live on: {what}"
            )

    def _end_process(self, *, power_cut: bool = False) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self.loop.bury(process)
        self._tasks.clear()
        self.disk.leave_to_the_next(power_cut=power_cut)
        process.files.close()
