"""The one look into the gateway: what its connections are doing, between two callbacks of its loop.

What is read here has no public name, as nobody but its tests has to know it.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from gateway.app import Gateway
from gateway.device.channel import Channel
from gateway.device.connection import Connection
from harness.exploration.chronicle import Chronicle
from harness.invariants.facts import ChannelView, Seen


class Glances:
    """Looks at one life of a gateway whenever it has emitted a record, in the next turn of the loop.

    Not at once: a record is emitted in the middle of a change. And not as the gateway's own callback: a look must not
    die with it.

    Args:
        gateway: of that life.
        life: its number.
        chronicle: takes what is seen.

    Attributes:
        ended: this life is over, and nothing is looked at any more.
    """

    def __init__(self, gateway: Gateway, life: int, chronicle: Chronicle) -> None:
        self.ended = False
        self._gateway = gateway
        self._life = life
        self._chronicle = chronicle
        self._numbers: dict[Connection, int] = {}
        self._count = 0
        self._due = False

    def look_soon(self) -> None:
        """Look once all that is ready now has run."""
        if not self._due and not self.ended:
            self._due = True
            loop = self._chronicle.loop
            loop.call_soon(self._look, context=loop.no_process)

    def _look(self) -> None:
        if not self.ended:
            self._chronicle.add(self.now())
        self._due = False

    def now(self) -> Seen:
        """Look now."""
        board = self._gateway._board
        connections = [] if board is None else list(board.connections)
        self._numbers = {one: self._numbers.get(one) or self._next() for one in connections}
        views: list[ChannelView] = []
        for connection, number in self._numbers.items():
            channel = connection._receiver
            if isinstance(channel, Channel):
                device, state = channel.connect.device, channel.state.value
                views.append(ChannelView(number, device, state, connection.queued))  # type: ignore[arg-type]
        owners = {one.device: self._numbers.get(one.channel.connection, 0) for one in self._gateway.registry}
        return Seen(at=self._chronicle.loop.time(), life=self._life, channels=tuple(views), owners=owners)

    @property
    def connections(self) -> int:
        """How many sockets there are."""
        board = self._gateway._board
        return 0 if board is None else len(board.connections)

    @property
    def counted(self) -> int:
        """How many connections the gateway counts."""
        return self._gateway._admission.connections

    @property
    def unconfirmed(self) -> int:
        """Messages in flight, and in memory."""
        courier = self._gateway._courier
        return courier.unconfirmed + courier.in_memory

    def _next(self) -> int:
        self._count += 1
        return self._count
