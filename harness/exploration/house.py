"""The gateway's machine in the model: lives of the gateway, one after the other, on one disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from gateway.app import Gateway
from gateway.config import Config, ServerConfig
from gateway.errors import GatewayError
from gateway.observe.clock import wall_clock
from gateway.observe.events import Event, Observer, TaskFailed
from gateway.peer.mailbox_file import reading
from harness.exploration.chronicle import Chronicle
from harness.exploration.glance import Glances
from harness.exploration.noted_mailbox import NotedMailbox
from harness.faults.errors import Died
from harness.faults.simulated_ground import SimulatedMachine
from harness.invariants.facts import Crashed, Letter, LifeBegan, LifeEnded, Reported
from harness.simulation.hosts import Host

WS_PORT, HTTP_PORT = 8000, 8003


class House(SimulatedMachine):
    """A host with a gateway, which is killed and started again.

    Args:
        host: where it runs.
        config: of all lives; the state directory is replaced.
        chronicle: takes what happens.
        watch: is shown the gateway's records, too.
        moment: is told of the mailbox's calls.

    Attributes:
        host: as given.
        lives: how many there were, this one included.
    """

    def __init__(
        self, host: Host, config: Config, chronicle: Chronicle, watch: Observer, moment: Callable[[Iterable[str]], None]
    ) -> None:
        self.host = host
        self.lives = 0
        self._config = config
        self._chronicle = chronicle
        self._watch = watch
        self._moment = moment
        self._gateway: Gateway | None = None
        self._glances: Glances | None = None
        self._ready: asyncio.Future[Gateway] | None = None

    @property
    def url(self) -> str:
        """Where devices connect."""
        return f"ws://{self.host.name}:{WS_PORT}{self._config.server.paths[0]}"

    @property
    def is_running(self) -> bool:
        """Whether it takes devices."""
        return self._gateway is not None

    @property
    def glances(self) -> Glances:
        """The look into the gateway that runs."""
        assert self._glances is not None
        return self._glances

    # --- lives --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start a gateway with what the last one left; returns when devices can connect. Nothing, while one does.

        Raises:
            Died: it was killed meanwhile.
            GatewayError: it does not start.
        """
        if self._gateway is not None or self._ready is not None:
            return
        self.host.boot()
        self._ready = self.host.loop.create_future()
        self.lives += 1
        self.host.spawn(self._serve(self.lives, self._ready), f"gateway, life {self.lives}")
        try:
            await self._ready
        finally:
            self._ready = None

    async def kill(self) -> None:
        """End its process as SIGKILL does; nothing, while none runs."""
        if self._gateway is not None or self._ready is not None:
            self.host.kill()
            self._died()

    async def power_cut(self) -> None:
        """Cut its power; nothing, while it has none."""
        if self.host.powered:
            self.host.power_off()
            self._died()

    async def stop(self) -> float:
        """Stop the gateway in an orderly way; return the seconds that took."""
        gateway, self._gateway = self._gateway, None
        began = self._now()
        if gateway is not None:
            await gateway.stop()
            self._ended(orderly=True)
        return self._now() - began

    def letters(self) -> tuple[Letter, ...]:
        """Return what the mailbox holds."""
        # read here and now: not a thing of the model, and it takes no virtual time
        with reading(str(self.host.disk.path / "mailbox.db")) as connection:
            rows = connection.execute("SELECT recipient, sender, id, kind, state FROM letters WHERE state <> 'settled'")
            return tuple(Letter(to, sender, id_, kind, state != "waiting") for to, sender, id_, kind, state in rows)

    async def _serve(self, life: int, ready: asyncio.Future[Gateway]) -> None:
        server = ServerConfig(state_dir=str(self.host.disk.path))
        config = msgspec.structs.replace(self._config, server=server)
        observers = [lambda event: self._note(life, event), self._watch]
        mailbox = NotedMailbox(
            config.mailbox_path,
            life,
            self._chronicle,
            self._moment,
            per_device=config.mailbox.per_device,
            per_sender=config.mailbox.per_sender,
            total=config.mailbox.total,
            dedupe=config.peer.dedupe,
            wall_clock=wall_clock,
            executor=None,
        )
        network = self.host.listening(WS_PORT, HTTP_PORT)
        gateway = Gateway(config, network=network, observers=observers, mailbox=mailbox)
        self._glances = Glances(gateway, life, self._chronicle)
        self._chronicle.reported = self._glances.look_soon
        self._chronicle.add(LifeBegan(at=self._now(), life=life))
        try:
            await gateway.start()
        except GatewayError as error:
            self._chronicle.add(Crashed(at=self._now(), who="gateway", why=f"does not start: {error}"))
            ready.set_exception(error)
            return
        self._gateway = gateway
        ready.set_result(gateway)
        await gateway.wait_stopped()

    def _note(self, life: int, event: Event) -> None:
        self._chronicle.add(Reported(at=self._now(), life=life, event=event))
        if isinstance(event, TaskFailed):
            self._chronicle.add(Crashed(at=self._now(), who="gateway", why=f"task {event.task}: {event.error}"))

    def _died(self) -> None:
        self._gateway = None
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(Died("expected a gateway that lives to the end of its start; it was killed"))
        self._ended(orderly=False)

    def _ended(self, *, orderly: bool) -> None:
        if self._glances is not None:
            self._glances.ended = True
        self._chronicle.reported = None
        self._chronicle.add(LifeEnded(at=self._now(), life=self.lives, orderly=orderly))

    def _now(self) -> float:
        return self.host.loop.time()
