"""Grounds in other threads, and several that are used as one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

from harness.blocking import LoopThread
from harness.faults.ground import Body, Ground
from harness.faults.tcp_ground import TcpGround
from harness.faults.vocabulary import GATEWAY, KINDS, Fault


class RemoteGround(Ground):
    """A ground whose proxies are in the loop of another thread; its devices are in the running loop.

    Args:
        ground: that one.
        thread: its loop.
    """

    where = TcpGround.where
    possible: ClassVar[frozenset[str]] = TcpGround.possible

    def __init__(self, ground: TcpGround, thread: LoopThread) -> None:
        super().__init__(ground.capabilities)
        self._ground = ground
        self._thread = thread

    async def join(self, name: str, device_id: str, body: Body) -> None:
        """Get to know a device, as `TcpGround.add_device` does.

        Raises:
            Misuse: there is one of this name.
        """
        here = _BodyElsewhere(body, asyncio.get_running_loop())

        async def add() -> None:
            self._ground.add_device(name, here, device_id=device_id)

        await self._there(add())
        self.add_device(name)

    async def leave(self) -> None:
        """Forget all devices that have joined here, and what is in force for them."""

        async def remove() -> None:
            for name in self.devices:
                self._ground.remove_device(name)

        await self._there(remove())
        self._devices.clear()

    async def do(self, fault: Fault) -> None:
        """Do a fault; see `Ground.do`. One on all is on those that have joined here."""
        self.check(fault)
        for name in [fault.on] if fault.on else self.devices:
            await self._there(self._ground.do(fault.of(name)))

    async def _there(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(self._thread.submit(work))


class _BodyElsewhere:
    """A device's body, for those in other threads: it is told in its own loop."""

    def __init__(self, body: Body, loop: asyncio.AbstractEventLoop) -> None:
        self._body = body
        self._loop = loop

    async def power_off(self) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_call(self._body.power_off), self._loop))

    async def power_on(self) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_call(self._body.power_on), self._loop))


async def _call(method: Any) -> None:
    await method()


class JoinedGrounds(Ground):
    """Several grounds as one: a fault is done on those that know its device, one on all is done on all.

    Args:
        first: its devices come first, and it can do what is on no device.
    """

    possible: ClassVar[frozenset[str]] = frozenset(KINDS)

    def __init__(self, first: Ground) -> None:
        super().__init__(first.capabilities)
        self.where = first.where
        self._grounds = [first]

    def join(self, ground: Ground) -> None:
        """Have one more."""
        self._grounds.append(ground)

    @property
    def devices(self) -> list[str]:
        """The names of all devices."""
        return [name for ground in self._grounds for name in ground.devices]

    def check(self, fault: Fault) -> None:
        """Raise what `do` would raise before it does anything."""
        super().check(fault)
        for ground in self._concerned(fault):
            ground.check(fault)

    async def do(self, fault: Fault) -> None:
        """Do a fault; see `Ground.do`."""
        self.check(fault)
        for ground in self._concerned(fault):
            await ground.do(fault)

    def _concerned(self, fault: Fault) -> list[Ground]:
        if fault.of_gateway or fault.on == GATEWAY:
            return self._grounds[:1]
        return [ground for ground in self._grounds if fault.on in ground.devices or not fault.on]
