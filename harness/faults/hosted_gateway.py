"""A gateway on a machine of the simulated network: it can be killed, lose its power, and start again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.config import Config
from harness.faults.errors import Died
from harness.faults.simulated_ground import SimulatedMachine
from harness.gateways import OwnGateway
from harness.simulation.hosts import Host

T = TypeVar("T")

_STATE = "state"


class HostedGateway(OwnGateway, SimulatedMachine):
    """A gateway of this package whose process runs on a host, with its state on that host's disk.

    Args:
        config: its settings; its state directory is replaced, and its addresses have no meaning.
        host: where it runs; nothing else may be begun there by the test itself.
        options: as of `OwnGateway`; ``listens`` may give ``ws_port`` and ``http_port``.

    Attributes:
        host: as given.
    """

    def __init__(self, config: Config, host: Host, **options: Any) -> None:
        super().__init__(
            config,
            Path(host.disk.path) / _STATE,
            network=lambda server: host.listening(server.ws_port, server.http_port),
            **options,
        )
        self.host = host
        self._death = asyncio.get_running_loop().create_future()

    @property
    def is_running(self) -> bool:
        """Whether it runs, and has not been killed."""
        return self.running is not None

    async def start(self) -> None:
        """Start it, on a machine that has power; on the ports it had, with the state that was on the disk.

        Raises:
            Died: it was killed meanwhile.
            CannotListen, GatewayError: as of `OwnGateway.start`.
        """
        self.host.boot()
        # after a death the disk is another directory, of which the dead one knows nothing
        state = str(self.host.disk.path / _STATE)
        self.config = msgspec.structs.replace(
            self.config, server=msgspec.structs.replace(self.config.server, state_dir=state)
        )
        await self._in_its_process(super().start())

    async def drain(self) -> None:
        """Let its devices finish, then stop it, as SIGTERM does."""
        await self._in_its_process(super().drain())

    async def stop(self) -> None:
        """Stop it at once; idempotent."""
        if self.is_running:
            await self._in_its_process(super().stop())

    async def kill(self) -> None:
        """Kill its process: no code of it runs any more, and the kernel closes its sockets."""
        self.host.kill()
        self._died()

    async def power_cut(self) -> None:
        """Cut the power of its machine: nobody is told anything."""
        self.host.power_off()
        self._died()

    def _died(self) -> None:
        self.running = None
        self.forget_devices()
        death, self._death = self._death, asyncio.get_running_loop().create_future()
        death.set_result(None)

    async def _in_its_process(self, work: Coroutine[Any, Any, T]) -> T:
        """Have work done on its host; a task of a process that was killed never ends."""
        task, death = self.host.spawn(work), self._death
        try:
            await asyncio.wait((task, death), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            raise Died("expected a gateway that lives to the end of its start, or stop; it was killed")
        return await task
