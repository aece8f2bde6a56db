"""One end of a simulated connection: asyncio's transport, and the socket below it.

The transport behaves as asyncio's own over a non-blocking socket: it reads once per turn of the loop, a reader that is
paused notices nothing, not even a reset, and ``close`` and ``abort`` differ in what is still written. The socket
behaves as Linux's: what its send buffer has taken goes out whatever becomes of the process, then FIN; and closing it
with unread data sends RST instead.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import os
from collections.abc import Callable, Iterable
from typing import Any

from gateway.device.kernel_queue import UNSENT_BYTES
from harness.simulation.errors import SimulationStopped
from harness.simulation.processes import Process, current_process
from harness.simulation.stream import Stream

READ_BYTES = 256 * 1024  # of one read into a Protocol: asyncio's max_size (selector_events.py)
_HIGH_WATER = 64 * 1024  # asyncio's default (transports.py)


class SimulatedTransport(asyncio.Transport):
    """One end of a connection.

    Args:
        number: of the connection.
        outgoing, incoming: its two directions.
        own_address, peer_address: host and port.
        closed: is called when the kernel forgets the socket.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        number: int,
        outgoing: Stream,
        incoming: Stream,
        own_address: tuple[str, int],
        peer_address: tuple[str, int],
        closed: Callable[[SimulatedTransport], None],
    ) -> None:
        super().__init__()
        self.number = number
        self.outgoing = outgoing
        self.incoming = incoming
        self._loop = loop
        self._addresses = {"sockname": own_address, "peername": peer_address}
        self._closed = closed
        self._accept: Callable[[SimulatedTransport], None] | None = None
        self._detached: Callable[[], None] | None = None
        # the process's side
        self._protocol: asyncio.BaseProtocol | None = None
        self._context = contextvars.Context()
        self._process: Process | None = None
        self._reading = False
        self._read_scheduled = False
        self._eof_read = False
        self._eof_written = False
        self._closing = False
        self._lost = False  # connection_lost was called, or is about to be
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._paused_writing = False
        # the kernel's side
        self._socket_open = True
        self._error: OSError | None = None
        self._fin_delivered = False
        self._forgotten = False
        outgoing.source = self
        incoming.sink = self

    def __hash__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.outgoing.name}>"

    def attach(
        self,
        protocol: asyncio.BaseProtocol,
        context: contextvars.Context,
        detached: Callable[[], None] | None = None,
    ) -> None:
        """Give the socket to a process: its protocol hears of everything from now on, in this context."""
        self._context = context
        self._process = context.get(current_process)
        self._detached = detached
        self._protocol = protocol
        self._reading = True
        context.run(protocol.connection_made, self)
        if self._reads:
            self._read_soon()

    def on_open(self, accept: Callable[[SimulatedTransport], None]) -> None:
        """Call this when the handshake is complete: a listener that accepts."""
        self._accept = accept

    # --- asyncio.Transport ----------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peername``, ``sockname``, and what `unsent_bytes` of the gateway asks for; there is no socket."""
        if name == UNSENT_BYTES:
            return self._unsent_bytes
        return self._addresses.get(name, default)

    def _unsent_bytes(self) -> int:
        return self.outgoing.unacknowledged

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection is lost."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol hear of everything from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        assert self._protocol is not None
        return self._protocol

    def is_reading(self) -> bool:
        """Whether data is received."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Read no more: the window closes once the receive buffer is full."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read again; what has piled up comes in the next turns of the loop."""
        if not self._closing and not self._reading:
            self._reading = True
            self._read_soon()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks of `pause_writing` and `resume_writing`."""
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"expected high >= low >= 0, found {high} and {low}")
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the marks."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Count the bytes that the kernel's send buffer has not taken."""
        return 0 if self._lost else self.outgoing.beyond_kernel

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes."""
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost or not self._is_alive:
            return
        if self._error is not None:
            self._lose(self._error)
            return
        self.outgoing.write(data)
        if not self._paused_writing and self.outgoing.beyond_kernel > self._high:
            self._paused_writing = True
            self._call("pause_writing")

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send them as one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """TCP can."""
        return True

    def write_eof(self) -> None:
        """Close this side, behind what was written; go on reading."""
        if not self._closing and not self._eof_written and self._is_alive:
            self._eof_written = True
            self.outgoing.finish()

    def close(self) -> None:
        """Close once everything is in the kernel's hands."""
        if self._closing or not self._is_alive:
            return
        self._closing = True
        if not self.outgoing.beyond_kernel:
            self._lose(None)

    def abort(self) -> None:
        """Close now; what the kernel has not taken is dropped."""
        if self._is_alive:
            self._lose(None)

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def _is_alive(self) -> bool:
        return self._process is None or self._process.alive

    @property
    def _reads(self) -> bool:
        return self._reading and not self._closing and not self._eof_read and self._protocol is not None

    def _read_soon(self) -> None:
        stream = self.incoming
        if self._read_scheduled or not (stream.has_unread or stream.fin_arrived or self._error):
            return
        self._read_scheduled = True
        self._loop.call_soon(self._read_scheduled_now, context=self._context)

    def _read_scheduled_now(self) -> None:
        self._read_scheduled = False
        self._read()

    def _read(self) -> None:
        """Read once, as one turn of a selector loop does for a socket that is readable."""
        if not self._reads or not self._is_alive:
            return
        if self.incoming.has_unread:
            self._guarded(self._receive, "receiving")
            self._read_soon()
        elif self._error is not None:
            self._lose(self._error)
        elif self.incoming.fin_arrived:
            self._eof_read = True
            self._guarded(self._eof, "eof_received")

    def _receive(self) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            buffer = memoryview(protocol.get_buffer(-1))
            if not buffer:
                raise RuntimeError("get_buffer() returned an empty buffer")
            data = self.incoming.take(len(buffer))
            buffer[: len(data)] = data
            protocol.buffer_updated(len(data))
        else:
            protocol.data_received(self.incoming.take(READ_BYTES))  # type: ignore[union-attr]

    def _eof(self) -> None:
        if not self._protocol.eof_received():  # type: ignore[union-attr]
            self.close()

    def _guarded(self, call: Callable[[], None], what: str) -> None:
        """Have an exception of the protocol end its connection, and nothing else."""
        try:
            call()
        except (SystemExit, KeyboardInterrupt, SimulationStopped):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does: the loop must survive any protocol
            self._loop.call_exception_handler(
                {
                    "message": f"Fatal error: protocol {what} failed.",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
            self._lose(error)

    # --- the end, as the process sees it --------------------------------------------------------------------------

    def _lose(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self.outgoing.drop_beyond_kernel()
        self._lost = self._closing = True
        self._loop.call_soon(self._call_connection_lost, error, context=self._context)

    def _call_connection_lost(self, error: BaseException | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(error)  # type: ignore[arg-type]  # asyncio hands on what it caught
        finally:
            self.close_socket()
            self._protocol = None
            if self._detached is not None:
                self._detached()

    def _call(self, method: str) -> None:
        try:
            getattr(self._protocol, method)()
        except (SystemExit, KeyboardInterrupt, SimulationStopped):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does
            self._loop.call_exception_handler(
                {"message": f"protocol.{method}() failed", "exception": error, "transport": self}
            )

    # --- the kernel's side ----------------------------------------------------------------------------------------

    def close_socket(self) -> None:
        """Let go of the socket: RST if something is unread, else FIN behind what the kernel has; idempotent."""
        if not self._socket_open:
            return
        self._socket_open = False
        if self._error is not None:
            self._forget()
        elif self.incoming.has_unread:
            self.reset()
        else:
            self.outgoing.finish()
            if self.outgoing.ended or self._fin_delivered:
                self._forget()

    def die(self) -> None:
        """The process was killed: nobody will hear of anything, and the kernel closes the socket for it."""
        self.outgoing.drop_beyond_kernel()
        accepted = self._protocol is not None or not self._socket_open
        self._lost = self._closing = True
        self._protocol = None
        if accepted:
            self.close_socket()
        else:
            self.reset()  # as the kernel does for whoever still waits to be accepted

    def vanish(self) -> None:
        """The host has lost its power: nothing is said, and nothing that is on its way arrives any more."""
        self._lost = self._closing = True
        self._socket_open = False
        self._protocol = None
        self.outgoing.vanish()
        self._forget()

    def reset(self) -> None:
        """Send RST, and forget the connection."""
        self._socket_open = False
        self.outgoing.reset()
        self._forget()

    def _forget(self) -> None:
        if not self._forgotten:
            self._forgotten = True
            self.outgoing.end()
            self._closed(self)

    # Source and Sink of the streams

    @property
    def takes_data(self) -> bool:
        """Whether the socket is open."""
        return self._socket_open

    def opened(self) -> None:
        """The handshake is complete."""
        if self._accept is not None:
            self._accept(self)

    def arrived(self) -> None:
        """There is something to read."""
        if self._reads and not self._read_scheduled:
            self._context.run(self._read)

    def finished(self) -> None:
        """The peer's kernel knows that no more will come."""
        self._fin_delivered = True
        if not self._socket_open:
            self._forget()

    def moved(self) -> None:
        """There may be room in the send buffer."""
        if not (self._paused_writing or self._closing) or self._lost or self._protocol is None:
            return
        size = self.outgoing.beyond_kernel
        if self._paused_writing and size <= self._low:
            self._paused_writing = False
            self._context.run(self._call, "resume_writing")
        if self._closing and not size:
            self._lose(None)

    def broken(self, number: int) -> None:
        """The connection is no more; a process that neither reads nor writes does not notice."""
        if self._forgotten:
            return
        if number == errno.ECONNRESET and self.incoming.fin_arrived:
            number = errno.EPIPE  # as Linux has it for a socket whose peer had closed (tcp_reset, CLOSE_WAIT)
        writes = self.outgoing.beyond_kernel > 0
        error = self._error = OSError(number, os.strerror(number))
        self._forget()
        if self._lost or self._protocol is None:
            return
        if self._reads:
            self._read_soon()
        if writes and not (self._reads and self.incoming.has_unread):
            self._lose(error)
