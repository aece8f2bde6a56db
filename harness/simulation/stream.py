"""One direction of a TCP connection, from the sender's writes to the receiver's reads.

Bytes are counted as TCP does: ``written >= sent >= arrived >= read``; ``acked`` follows ``arrived`` by the way back.
Simplified: no congestion window, no selective acknowledgements; a loss is a delay; and while a connection is stalled,
only the next retransmission shows that the path is there again.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
from collections import deque
from enum import Enum, auto

from harness.simulation.links import Path
from harness.simulation.profiles import Profile
from harness.simulation.stream_ends import Sink, Source
from harness.simulation.trace import Trace
from harness.simulation.virtual_time import CLOCK_TICK


class Mark(Enum):
    """What travels beside data."""

    OPEN = auto()
    """The last step of the handshake: from now on the listener can accept the connection."""
    FIN = auto()
    RESET = auto()
    PROBE = auto()
    """A retransmission of what the receiver has already, because its acknowledgement was lost."""


class Stream:
    """One direction of a connection.

    Args:
        name: of the connection and the direction, for the trace.
        path, back: the way there, and of the acknowledgements.
        sender, receiver: the TCP of both ends.
        context: in which the machinery runs: that of no process.

    Attributes:
        source, sink: its ends; to be set before anything is sent.
        forgotten: a middlebox has dropped the connection from its table: nothing gets through any more.
        limit: bytes after whose arrival a middlebox ends the connection; None: never.
        fin_wanted: the sender will send no more.
        fin_arrived: nor will anything arrive, behind what is unread.
        ended: the sender's kernel does not know of the connection any more.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        trace: Trace,
        name: str,
        path: Path,
        back: Path,
        sender: Profile,
        receiver: Profile,
        context: contextvars.Context,
    ) -> None:
        self.source: Source
        self.sink: Sink
        self.name = name
        self.forgotten = False
        self.limit: int | None = None
        self.fin_wanted = False
        self.fin_arrived = False
        self.ended = False
        self._loop = loop
        self._trace = trace
        self._path = path
        self._back = back
        self._sender = sender
        self._receiver = receiver
        self._context = context
        # at the sender
        self._unsent = bytearray()
        self._written = self._sent = self._acked = 0
        self._edge = receiver.receive_buffer  # the number of the byte at which the window ends, as the sender knows it
        self._fin_sent = False
        self._stalled = False
        self._swallowed = False  # by a middlebox, which acknowledges what goes nowhere
        self._lost_since: float | None = None  # what was lost has not been made good since then
        self._retransmission = 0.0
        # on the way
        self._flying: deque[tuple[float, bytes | Mark]] = deque()
        self._acks: deque[tuple[float, int, int]] = deque()  # when they arrive, what they acknowledge, the window's end
        self._arrival: asyncio.TimerHandle | None = None
        self._ack: asyncio.TimerHandle | None = None
        # at the receiver
        self._unread: deque[bytes] = deque()
        self._arrived = self._read = 0
        self._told_edge = self._edge
        self._arriving = False

    # --- the sender's side ----------------------------------------------------------------------------------------

    @property
    def unacknowledged(self) -> int:
        """Bytes that were written and that the receiver's kernel has not acknowledged; they stay so after an end."""
        self._take_acks()
        return self._written - self._acked

    @property
    def arrived(self) -> int:
        """Bytes that the receiver's kernel has got."""
        return self._arrived

    @property
    def beyond_kernel(self) -> int:
        """Of the bytes that wait, those that do not fit into the kernel's send buffer."""
        self._take_acks()
        return max(0, len(self._unsent) + self._sent - self._acked - self._sender.send_buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, as soon as the window allows it; the source, who is busy writing, is not told of room."""
        self._unsent += data
        self._written += len(data)
        self._send()

    def finish(self) -> None:
        """Send FIN behind what was written; idempotent."""
        self.fin_wanted = True
        self._send()

    def open(self) -> None:
        """Send the last step of the handshake."""
        self._fly(Mark.OPEN)

    def drop_beyond_kernel(self) -> None:
        """Forget what the kernel has not taken: its process gives the socket up."""
        if beyond := self.beyond_kernel:
            del self._unsent[len(self._unsent) - beyond :]

    def reset(self) -> None:
        """Send RST, behind what is on its way, and forget the rest."""
        if self.ended:
            return
        self.end()
        if self._stalled:  # what is to be sent anew never will be
            self._stalled = False
            self._flying.clear()
        if self._path.passable and not self.forgotten:
            self._trace.note(self._loop.time(), "rst", self.name)
            self._fly(Mark.RESET)

    def swallow(self) -> None:
        """A middlebox acknowledges what is sent, and what is on its way, and passes nothing on; idempotent."""
        if self._swallowed:
            return
        self._trace.note(self._loop.time(), "swallow", self.name)
        self._swallowed, self._stalled = True, False
        if any(item is Mark.FIN for _, item in self._flying):
            self.source.finished()
        self._flying.clear()
        self._acks.clear()
        self.pump()

    def cut(self) -> None:
        """A middlebox ends it: FIN to the receiver, behind what has arrived; what is sent goes nowhere."""
        self.swallow()
        if not self.fin_arrived and self.sink.takes_data:
            self._trace.note(self._loop.time(), "cut", self.name)
            self.fin_arrived = True
            self.sink.arrived()

    def end(self) -> None:
        """Send nothing more, not even what was written."""
        self.ended = True
        self._unsent.clear()

    def vanish(self) -> None:
        """End, and have nothing of it arrive any more: the sender has lost its power."""
        self.end()
        self._flying.clear()

    def pump(self) -> None:
        """Send what the window and the send buffer allow, then tell the source."""
        if not (self.ended or self._stalled):
            self._send()
            self.source.moved()

    def _send(self) -> None:
        if self.ended or self._stalled:
            return
        self._take_acks()
        if self._swallowed:
            self._swallow()
            return
        unsent, path = self._unsent, self._path
        while unsent:
            room = min(self._edge, self._acked + self._sender.send_buffer) - self._sent
            if room <= 0:
                break
            size = path.cut(min(len(unsent), self._sender.segment, room))
            segment = bytes(unsent[:size])
            del unsent[:size]
            self._sent += size
            self._fly(segment)
        if self.fin_wanted and not self._fin_sent and not unsent:
            self._fin_sent = True
            self._fly(Mark.FIN)
        if unsent:
            self._await_ack()

    def _swallow(self) -> None:
        self._unsent.clear()
        self._sent = self._acked = self._written
        if self.fin_wanted and not self._fin_sent:
            self._fin_sent = True
            self.source.finished()

    def _take_acks(self) -> None:
        acks, by = self._acks, self._loop.time() + CLOCK_TICK
        while acks and acks[0][0] <= by:
            _, self._acked, self._edge = acks.popleft()

    def _await_ack(self) -> None:
        """Have a look when the next acknowledgement comes; without anything to send it is not looked at."""
        if self._ack is None and self._acks:
            self._ack = self._loop.call_at(self._acks[0][0], self._ack_came, context=self._context)

    def _ack_came(self) -> None:
        self._ack = None
        self.pump()

    # --- on the way -----------------------------------------------------------------------------------------------

    def _fly(self, item: bytes | Mark) -> None:
        size = 0 if isinstance(item, Mark) else len(item)
        at = self._path.arrival(self._loop.time(), size, self._sender.retransmission)
        if item is Mark.FIN:
            at += self._path.link.slow_close
        self._flying.append((at, item))  # whatever the jitter, what is behind waits for what is before it
        self._await_arrival()

    def _await_arrival(self) -> None:
        if self._arrival is None and self._flying and not self._stalled:
            self._arrival = self._loop.call_at(self._flying[0][0], self._arrive, context=self._context)

    def _arrive(self) -> None:
        self._arrival = None
        if self._swallowed:
            return
        if not self._path.passable or self.forgotten:
            self._stall()
            return
        now, got = self._loop.time(), False
        while self._flying and self._flying[0][0] <= now + CLOCK_TICK:
            got |= self._take(self._flying.popleft()[1], now)
        self._await_arrival()
        if got:
            self._arriving = True
            self.sink.arrived()
            self._arriving = False
            self._acknowledge()

    def _take(self, item: bytes | Mark, now: float) -> bool:
        """Take one thing that arrived; return whether it is to be read or acknowledged."""
        if item is Mark.RESET:
            self._flying.clear()
            self.sink.broken(errno.ECONNRESET)
            return False
        # the end of the stream, and what is there already, is acknowledged behind a close as well
        if not (self.sink.takes_end if item in (Mark.FIN, Mark.PROBE) else self.sink.takes_data):
            self._flying.clear()
            self._refuse()
            return False
        if item is Mark.OPEN:
            self._lost_since = None
            self.sink.opened()
            return False
        if item is Mark.FIN:
            self._trace.note(now, "fin", self.name)
            self.fin_arrived = True
            self.source.finished()
        elif isinstance(item, bytes):
            if self.limit is not None and self._arrived + len(item) >= self.limit:
                self._reach_limit(item, now)
                return False
            self._trace.segment(now, self.name, item)
            self._arrived += len(item)
            self._unread.append(item)
        return True

    def _reach_limit(self, item: bytes, now: float) -> None:
        assert self.limit is not None
        last = item[: max(0, self.limit - self._arrived)]
        if last:
            self._trace.segment(now, self.name, last)
            self._arrived += len(last)
            self._unread.append(last)
        self._flying.clear()
        self.sink.cut()

    def _refuse(self) -> None:
        """Answer with RST what came for a socket that is closed, or for a process that is no more."""
        if not self._back.passable or self.forgotten:
            self._stall()
            return
        self._trace.note(self._loop.time(), "rst", f"{self.name} in answer")
        self._loop.call_later(self._back.delay(), self.source.broken, errno.ECONNRESET, context=self._context)

    def _acknowledge(self) -> None:
        self._told_edge = self._read + self._receiver.receive_buffer
        if self._swallowed:
            return
        if not self._back.passable or self.forgotten:
            self._stall()
            return
        self._lost_since = None
        self._acks.append((self._loop.time() + self._back.link.latency, self._arrived, self._told_edge))
        if self._unsent:
            self._await_ack()

    # --- while nothing gets through -------------------------------------------------------------------------------

    def _stall(self) -> None:
        """Something was lost, or its acknowledgement: only a retransmission can help now."""
        if self.ended:
            self._flying.clear()  # nobody is there any more who would send it anew
            return
        if self._stalled:
            return
        self._stalled = True
        if self._lost_since is None:
            self._lost_since = self._loop.time()
            self._retransmission = self._sender.retransmission
            self._trace.note(self._lost_since, "stall", self.name)
        self._retry_later(self._lost_since + self._sender.user_timeout)

    def _retry_later(self, given_up: float) -> None:
        now = self._loop.time()
        if now + CLOCK_TICK >= given_up:
            self._trace.note(now, "timeout", self.name)
            self.source.broken(errno.ETIMEDOUT)
            return
        self._loop.call_at(min(now + self._retransmission, given_up), self._retry, given_up, context=self._context)
        self._retransmission = min(self._retransmission * 2, self._sender.retransmission_limit)

    def _retry(self, given_up: float) -> None:
        if not self._stalled:
            return
        if self.ended:
            self._flying.clear()
            return
        if not self._path.passable or self.forgotten:
            self._retry_later(given_up)
            return
        now = self._loop.time()
        self._stalled = False
        self._trace.note(now, "again", self.name)
        lost = list(self._flying) or [(now, Mark.PROBE)]
        self._flying.clear()
        for _, item in lost:
            self._fly(item)
        self.pump()

    # --- the receiver's side --------------------------------------------------------------------------------------

    @property
    def has_unread(self) -> bool:
        """Whether bytes are in the receive buffer."""
        return bool(self._unread)

    def take(self, most: int) -> bytes:
        """Read: what has arrived, or a piece of it, depending on the link; at least one byte has to be there."""
        data = self._unread.popleft()
        if self._unread and len(data) < most and self._path.link.fragment == "joined":
            data = self._join(data, most)
        if len(data) > most:
            self._unread.appendleft(data[most:])
            data = data[:most]
        self._read += len(data)
        if not self._arriving:
            self._open_window()
        return data

    def _join(self, first: bytes, most: int) -> bytes:
        pieces, size = [first], len(first)
        while self._unread and size < most:
            pieces.append(self._unread.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    def _open_window(self) -> None:
        """Tell the sender of the room, once it is worth a segment (RFC 1122 4.2.3.3)."""
        grown = self._read + self._receiver.receive_buffer - self._told_edge
        if grown >= min(self._sender.segment, self._receiver.receive_buffer // 2):
            self._acknowledge()
