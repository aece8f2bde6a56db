"""asyncio's transport over one end of a simulated connection.

It behaves as asyncio's own over a non-blocking socket: it reads once per turn of the loop; a reader that is paused
notices nothing, not even a reset; and ``close`` and ``abort`` differ in what is still written.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable
from typing import Any

from gateway.device.kernel_queue import UNSENT_BYTES
from harness.simulation.connection_end import ConnectionEnd
from harness.simulation.errors import SimulationStopped
from harness.simulation.processes import current_process

READ_BYTES = 256 * 1024  # of one read into a Protocol: asyncio's max_size (selector_events.py)
_HIGH_WATER = 64 * 1024  # asyncio's default (transports.py)


class SimulatedTransport(asyncio.Transport):
    """A connection in the hands of a process.

    Args:
        end: the socket.
        protocol: hears of everything.
        context: in which it does; says to which process it belongs.
        detached: is called when the connection is lost.

    Attributes:
        end: the socket.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: ConnectionEnd,
        protocol: asyncio.BaseProtocol,
        context: contextvars.Context,
        detached: Callable[[SimulatedTransport], None] | None = None,
    ) -> None:
        super().__init__()
        self.end = end
        self._loop = loop
        self._protocol: asyncio.BaseProtocol | None = protocol
        self._context = context
        self._process = context.get(current_process)
        self._detached = detached
        self._reading = True
        self._read_scheduled = False
        self._eof_read = False
        self._eof_written = False
        self._closing = False
        self._lost = False  # connection_lost was called, or is about to be
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._paused_writing = False
        end.user = self

    def __hash__(self) -> int:
        return self.end.number

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.end.outgoing.name}>"

    def begin(self) -> None:
        """Tell the protocol of its transport, then read."""
        assert self._protocol is not None
        self._context.run(self._protocol.connection_made, self)
        if self._reads:
            self._read_soon()

    # --- asyncio.Transport ----------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return ``peername``, ``sockname``, and what `unsent_bytes` of the gateway asks for; there is no socket."""
        if name == UNSENT_BYTES:
            return self._unsent_bytes
        addresses = {"peername": self.end.peer_address, "sockname": self.end.own_address}
        return addresses.get(name, default)

    def _unsent_bytes(self) -> int:
        return self.end.outgoing.unacknowledged

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
        return 0 if self._lost else self.end.outgoing.beyond_kernel

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send bytes."""
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data or self._lost or not self._is_alive:
            return
        if self.end.error is not None:
            self._lose(self.end.error)
            return
        self.end.outgoing.write(data)
        if not self._paused_writing and self.end.outgoing.beyond_kernel > self._high:
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
            self.end.outgoing.finish()

    def close(self) -> None:
        """Close once everything is in the kernel's hands."""
        if self._closing or not self._is_alive:
            return
        self._closing = True
        if not self.end.outgoing.beyond_kernel:
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
        stream = self.end.incoming
        if self._read_scheduled or not (stream.has_unread or stream.fin_arrived or self.end.error):
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
        if self.end.incoming.has_unread:
            self._guarded(self._receive, "receiving")
            self._read_soon()
        elif self.end.error is not None:
            self._lose(self.end.error)
        elif self.end.incoming.fin_arrived:
            self._eof_read = True
            self._guarded(self._eof, "eof_received")

    def _receive(self) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            buffer = memoryview(protocol.get_buffer(-1))
            if not buffer:
                raise RuntimeError("get_buffer() returned an empty buffer")
            data = self.end.incoming.take(len(buffer))
            buffer[: len(data)] = data
            protocol.buffer_updated(len(data))
        else:
            protocol.data_received(self.end.incoming.take(READ_BYTES))  # type: ignore[union-attr]

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

    # --- the end --------------------------------------------------------------------------

    def _lose(self, error: BaseException | None) -> None:
        if self._lost:
            return
        self.end.outgoing.drop_beyond_kernel()
        self._lost = self._closing = True
        self._loop.call_soon(self._call_connection_lost, error, context=self._context)

    def _call_connection_lost(self, error: BaseException | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(error)  # type: ignore[arg-type]  # asyncio hands on what it caught
        finally:
            self.end.close()
            self._protocol = None
            if self._detached is not None:
                self._detached(self)

    def _call(self, method: str) -> None:
        try:
            getattr(self._protocol, method)()
        except (SystemExit, KeyboardInterrupt, SimulationStopped):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does
            self._loop.call_exception_handler(
                {"message": f"protocol.{method}() failed", "exception": error, "transport": self}
            )

    # --- what the socket tells: `User` --------------------------------------------------------------------------------

    @property
    def is_of_the_test(self) -> bool:
        """Whether its protocol belongs to no process that could be killed."""
        return self._process is None

    def readable(self) -> None:
        """Read, unless that is about to happen."""
        if self._reads and not self._read_scheduled:
            self._context.run(self._read)

    def writable(self) -> None:
        """Resume the writer, or close, where that waited for room."""
        if not (self._paused_writing or self._closing) or self._lost:
            return
        size = self.end.outgoing.beyond_kernel
        if self._paused_writing and size <= self._low:
            self._paused_writing = False
            self._context.run(self._call, "resume_writing")
        if self._closing and not size:
            self._lose(None)

    def broken(self, error: OSError, *, unsent: bool) -> None:
        """End; but a process that neither reads nor writes does not notice."""
        if self._lost:
            return
        if self._reads:
            self._read_soon()
        if unsent and not (self._reads and self.end.incoming.has_unread):
            self._lose(error)

    def died(self) -> None:
        """Tell nobody anything any more."""
        self._lost = self._closing = True
        self._protocol = None
