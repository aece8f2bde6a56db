"""The gateway that a test talks to: one of its own, seen from inside, or any other by its address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from gateway.app import Gateway
from gateway.config import Config, ServerConfig
from gateway.identity import device_id
from gateway.listening import Network
from gateway.observe.clock import WallClock, wall_clock
from gateway.observe.events import (
    ConnectionClosed,
    ConnectionOpened,
    DeviceOffline,
    DeviceOnline,
    Event,
    GatewayStopped,
    Observer,
)
from gateway.protocol.tokens import mint
from harness.device import LinkView
from harness.errors import Misuse

GatewayCapability: TypeAlias = Literal["config", "events", "restart", "drain", "tokens"]
"""What can be asked of a gateway under test.

``config``: to be started with settings of the test's choice. ``events``: what it knows and does, from inside.
``restart``: to be stopped and started with the state it left. ``drain``: to be told to go down. ``tokens``: to have
its devices given tokens.
"""


class GatewayUnderTest(Protocol):
    """What a test may do with the gateway it talks to.

    Attributes:
        capabilities: what it can be asked for; anything else raises `Misuse`.
        config: its settings; of one seen from outside, what it is said to have.
        url: where devices connect.
        http_url: the root of its HTTP port, without a slash at its end; empty where it is not known.
    """

    capabilities: frozenset[GatewayCapability]
    config: Config

    @property
    def url(self) -> str:
        """Where devices connect."""
        ...

    @property
    def http_url(self) -> str:
        """The root of its HTTP port."""
        ...

    def link(self, device: str) -> LinkView:
        """What it knows of a device, by its id."""
        ...

    def token_for(self, device: str, client: str) -> str:
        """Return a token that it accepts from this device; empty where it asks for none."""
        ...


class ExternalGateway:
    """A gateway that runs elsewhere, as ``--ws-gateway-url`` names it: seen from outside, as devices see it.

    Args:
        url: where devices connect.
        config: the settings it is said to have, which say how long things take; the defaults are the protocol's.
        http_url: the root of its HTTP port, if it has one.
    """

    def __init__(self, url: str, config: Config | None = None, http_url: str = "") -> None:
        self.config = config or Config()
        self.capabilities: frozenset[GatewayCapability] = frozenset({"tokens"} if self.config.auth.key else ())
        self.url = url
        self.http_url = http_url

    def link(self, device: str) -> LinkView:  # noqa: ARG002 - the interface
        """Raise `Misuse`: it does not tell."""
        raise Misuse(f"expected a gateway seen from inside; {self.url} shows itself only to its devices")

    def token_for(self, device: str, client: str) -> str:
        """Mint a token with the key it is said to have; empty without one."""
        return _token(self.config, device, client, wall_clock())


class OwnGateway:
    """A gateway of this package in the test's own loop, on free ports, with its own state.

    It may be stopped and started again: with the same ports and the same state, as after a restart of its machine.

    Args:
        config: its settings; addresses, ports and state directory are replaced.
        state: its state directory.
        listens: ``host``, ``ws_port`` or ``http_port`` of its own; else it has free ports of 127.0.0.1.
        observers: are shown its events, over all restarts.
        network: makes its network, at each start; None: sockets on loopback.
        options: further arguments of `Gateway`.

    Attributes:
        running: the gateway itself while it runs; None before and after.
    """

    capabilities: frozenset[GatewayCapability] = frozenset({"config", "events", "restart", "drain", "tokens"})

    def __init__(
        self,
        config: Config,
        state: Path,
        *,
        listens: Mapping[str, Any] | None = None,
        observers: Iterable[Observer] = (),
        network: Callable[[ServerConfig], Network] | None = None,
        clock: WallClock = wall_clock,
        **options: Any,
    ) -> None:
        own = {"host": ["127.0.0.1"], "ws_port": 0, "http_port": 0, **(listens or {}), "state_dir": str(state)}
        self.config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, **own))
        self.running: Gateway | None = None
        self._observers = tuple(observers)
        self._network = network
        self._clock = clock
        self._options = options
        self._links: dict[str, _Link] = {}

    @property
    def gateway(self) -> Gateway:
        """The gateway itself; `Misuse` while it does not run."""
        if self.running is None:
            raise Misuse("expected a gateway that runs, this one was stopped (or not started yet)")
        return self.running

    @property
    def url(self) -> str:
        """Where devices connect."""
        return self.gateway.websocket_url

    @property
    def http_url(self) -> str:
        """The root of its HTTP port."""
        return self.gateway.http_url

    def link(self, device: str) -> LinkView:
        """What it knows of a device, by its id."""
        link = self._links.get(device_id(device), _Link())
        return LinkView(link.session != "", link.session, link.connections, link.arrivals, link.close_code)

    def token_for(self, device: str, client: str) -> str:
        """Mint a token with its key; empty where it asks for none."""
        return _token(self.config, device, client, self._clock())

    # --- its life -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start it; on the ports it had, if it ran before.

        Raises:
            CannotListen: a port could not be had.
            GatewayError: it cannot start for another reason.
        """
        if self.running is not None:
            raise Misuse("expected a gateway that is stopped, this one runs")
        network = None if self._network is None else self._network(self.config.server)
        gateway = Gateway(
            self.config,
            observers=(self._note, *self._observers),
            network=network,
            clock=self._clock,
            **self._options,
        )
        await gateway.start()
        self.running = gateway
        ports = {"ws_port": gateway.network.port("websocket"), "http_port": gateway.network.port("http")}
        self.config = msgspec.structs.replace(self.config, server=msgspec.structs.replace(self.config.server, **ports))

    async def drain(self) -> None:
        """Let its devices finish, then stop it, as SIGTERM does."""
        await self.gateway.drain()
        self.running = None

    async def stop(self) -> None:
        """Stop it at once; idempotent."""
        gateway, self.running = self.running, None
        if gateway is not None:
            await gateway.stop()

    async def restart(self) -> None:
        """Stop it at once, and start it with the state and the ports it had."""
        await self.stop()
        await self.start()

    # --- what it tells ------------------------------------------------------------------------------------------

    def forget_devices(self) -> None:
        """Take all devices for gone: it has stopped, or died without a word."""
        for link in self._links.values():
            link.session, link.connections = "", 0

    def _note(self, event: Event) -> None:
        if isinstance(event, GatewayStopped):
            self.forget_devices()
        elif event.device:
            self._links.setdefault(event.device, _Link()).note(event)


class _Link:
    """What the events of one device add up to."""

    __slots__ = ("arrivals", "close_code", "connections", "session")

    def __init__(self) -> None:
        self.session = ""
        self.connections = 0
        self.arrivals = 0
        self.close_code: int | None = None

    def note(self, event: Event) -> None:
        """Add one."""
        if isinstance(event, ConnectionOpened):
            self.connections += 1
        elif isinstance(event, ConnectionClosed):
            self.connections -= 1
            self.close_code = event.code
        elif isinstance(event, DeviceOnline):
            self.arrivals += 1
            self.session = event.session
        elif isinstance(event, DeviceOffline):
            self.session = ""


def _token(config: Config, device: str, client: str, now: float) -> str:
    return mint(config.auth.key, client, device_id(device), now) if config.auth.key else ""
