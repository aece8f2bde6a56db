"""One end of a simulated connection as the kernel has it: a socket, in whosever hands it is.

It behaves as Linux's: what the send buffer has taken goes out whatever becomes of the process, then FIN; closing it
with unread data sends RST instead; and what comes for a socket that is closed is answered with RST.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol

from harness.simulation.stream import Stream


class User(Protocol):
    """Who has the socket in his process."""

    @property
    def is_of_the_test(self) -> bool:
        """Whether that is no process that could be killed."""
        ...

    def readable(self) -> None:
        """There is something to read, or the end of the stream."""
        ...

    def writable(self) -> None:
        """There may be room in the send buffer."""
        ...

    def broken(self, error: OSError, *, unsent: bool) -> None:
        """The connection is no more; ``unsent``: something waited for room in the send buffer."""
        ...

    def died(self) -> None:
        """The process is no more; the last call."""
        ...


class ConnectionEnd:
    """One end of a connection.

    Args:
        number: of the connection; that of the end which accepts is negative.
        outgoing, incoming: its two directions.
        own_address, peer_address: host and port.
        forgotten: is called when the kernel has nothing more to do with it.
        opened: is called when the handshake is complete, at the end which accepts.

    Attributes:
        user: who has it; None until it is accepted, and once its process has died.
        error: why the connection is no more, as the next call on the socket would be told.
    """

    def __init__(
        self,
        number: int,
        outgoing: Stream,
        incoming: Stream,
        own_address: tuple[str, int],
        peer_address: tuple[str, int],
        forgotten: Callable[[ConnectionEnd], None],
        opened: Callable[[ConnectionEnd], None] | None = None,
    ) -> None:
        self.number = number
        self.outgoing = outgoing
        self.incoming = incoming
        self.own_address = own_address
        self.peer_address = peer_address
        self.user: User | None = None
        self.error: OSError | None = None
        self._tell_forgotten = forgotten
        self._tell_opened = opened
        self._open = True
        self._fin_delivered = False
        self._forgotten = False
        self._is_over = False  # it ended in no orderly way: whatever comes is answered with RST
        outgoing.source = self
        incoming.sink = self

    def __hash__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"<connection {self.outgoing.name}>"

    # --- what its process does, or has done to it -------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the socket: RST if something is unread, else FIN behind what the kernel has; idempotent."""
        if not self._open:
            return
        self._open = False
        if self.incoming.has_unread:
            self.reset()
        else:
            self.outgoing.finish()
            if self.outgoing.ended or self._fin_delivered:
                self._forget()

    def die(self) -> None:
        """The process was killed: the kernel closes the socket for it, or resets one that nobody has accepted."""
        user, self.user = self.user, None
        self.outgoing.drop_beyond_kernel()
        if user is not None:
            user.died()
            self.close()
        elif self._open:
            self.reset()

    def vanish(self) -> None:
        """The host has lost its power: nothing is said, and nothing that is on its way arrives any more."""
        user, self.user = self.user, None
        if user is not None:
            user.died()
        self._open, self._is_over = False, True
        self.outgoing.vanish()
        self._forget()

    def reset(self) -> None:
        """Send RST, and forget the connection."""
        self._open, self._is_over = False, True
        self.outgoing.reset()
        self._forget()

    def cut(self) -> None:
        """A middlebox ends the connection: both ends get FIN, behind what has arrived; idempotent."""
        self.incoming.cut()
        self.outgoing.cut()

    def _forget(self) -> None:
        if not self._forgotten:
            self._forgotten = True
            self.outgoing.end()
            self._tell_forgotten(self)

    # --- what its streams tell it: `Source` and `Sink` ----------------------------------------------------------------

    @property
    def takes_data(self) -> bool:
        """Whether the socket is open, and the kernel knows of its connection."""
        return self._open and self.error is None

    @property
    def takes_end(self) -> bool:
        """Whether the end of the peer's stream is acknowledged, which a socket's close does not change."""
        return not self._is_over and self.error is None

    def opened(self) -> None:
        """The handshake is complete."""
        if self._tell_opened is not None:
            self._tell_opened(self)

    def arrived(self) -> None:
        """There is something to read."""
        if self.user is not None:
            self.user.readable()

    def finished(self) -> None:
        """The peer's kernel knows that no more will come."""
        self._fin_delivered = True
        if not self._open:
            self._forget()

    def moved(self) -> None:
        """There may be room in the send buffer."""
        if self.user is not None:
            self.user.writable()

    def broken(self, number: int) -> None:
        """The connection is no more; the number of the system's error says why."""
        if self._forgotten:
            return
        if number == errno.ECONNRESET and self.incoming.fin_arrived:
            number = errno.EPIPE  # as Linux has it for a socket whose peer had closed (tcp_reset, CLOSE_WAIT)
        unsent = self.outgoing.beyond_kernel > 0
        self.error = OSError(number, os.strerror(number))
        self._forget()
        if self.user is not None:
            self.user.broken(self.error, unsent=unsent)
