"""The client: pyserial's own, but for how it waits, what it repeats, and in which order it lets go of the lines.

Options in the URL are pyserial's: ``rfc2217://host:port?ign_set_control&timeout=3``. Servers are asked for the same
things in the same words, so what works with pyserial's client works with this one.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from serial import rfc2217
from serial.rfc2217 import (
    BINARY,
    COM_PORT_OPTION,
    DO,
    DONT,
    ECHO,
    INACTIVE,
    NOTIFY_MODEMSTATE,
    PURGE_DATA,
    PURGE_RECEIVE_BUFFER,
    REQUESTED,
    RFC2217_PARITY_MAP,
    RFC2217_STOPBIT_MAP,
    SERVER_PURGE_DATA,
    SERVER_SET_BAUDRATE,
    SERVER_SET_CONTROL,
    SERVER_SET_DATASIZE,
    SERVER_SET_PARITY,
    SERVER_SET_STOPSIZE,
    SET_BAUDRATE,
    SET_CONTROL,
    SET_CONTROL_USE_HW_FLOW_CONTROL,
    SET_CONTROL_USE_NO_FLOW_CONTROL,
    SET_CONTROL_USE_SW_FLOW_CONTROL,
    SET_DATASIZE,
    SET_PARITY,
    SET_STOPSIZE,
    SGA,
    WILL,
    WONT,
    PortNotOpenError,
    SerialException,
    TelnetOption,
    TelnetSubnegotiation,
)

from harness.telnet import Item, Negotiation, Subnegotiation, TelnetParser, escape

CONNECT = 5.0
"""Seconds for the TCP connection, and for the server to take what is written; as in pyserial."""
FAREWELL = 0.3
"""Seconds for the server to end its side when we have ended ours; pyserial always waits so long before a port can be
opened again. A server that serves one client at a time must have seen the last one go."""
_RECEIVED_AT_ONCE = 1 << 16


class _Answered(TelnetSubnegotiation):  # type: ignore[misc]
    """One setting of the port; who waits for the server's answer is woken when it comes."""

    def wait(self, timeout: float = 3) -> None:
        if not self.connection.await_change(self.is_ready, timeout):
            raise SerialException(
                f"expected the server to confirm {self.name} within {timeout:g} s, it did not; "
                f"{self.connection.ending or 'the connection is still there'}"
            )

    def check_answer(self, suboption: bytes) -> None:
        with self.connection.changed:
            super().check_answer(suboption)
            self.connection.changed.notify_all()


class _Purged(_Answered):
    """The request to drop what is in the server's buffers: what came before its answer is old, what comes after new.

    pyserial empties its own buffer when it gets round to it, and what the board said in between is lost.
    """

    def check_answer(self, suboption: bytes) -> None:
        with self.connection.changed:
            if suboption[:1] == PURGE_RECEIVE_BUFFER:
                self.connection.received.clear()
            super().check_answer(suboption)


class Serial(rfc2217.Serial):  # type: ignore[misc]
    """A port of an RFC 2217 server; the interface is that of ``serial.Serial``.

    Attributes:
        changed: guards the next two, and is notified of whatever the server sent.
        received: what was received and not read yet.
        ending: why nothing can be received any more; empty while it can.
    """

    is_open: bool
    _socket: Any
    _thread: threading.Thread | None
    _write_timeout: float | None
    _modemstate: int | None

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.received = bytearray()
        self.ending = ""
        self._interrupted = False
        self._line_setup: tuple[Any, ...] | None = None
        super().__init__(*arguments, **settings)

    # --- opening and closing ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and set the port up.

        Raises:
            SerialException: nobody listens there, or it does not answer as an RFC 2217 server does.
        """
        if self._port is None:
            raise SerialException("Port must be configured before it can be used.")
        if self.is_open:
            raise SerialException("Port is already open.")
        self.logger = None
        self._ignore_set_control_answer = self._poll_modem_state = False
        self._network_timeout = 3
        address = self.from_url(self.portstr)
        try:
            self._socket = socket.create_connection(address, timeout=CONNECT)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self._socket = None
            raise SerialException(f"Could not open port {self.portstr}: {error}") from error
        self._prepare()
        self.is_open = True
        self._thread = threading.Thread(target=self._receive, name=f"rfc2217 reader {address}", daemon=True)
        self._thread.start()
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        self._write_lock = threading.Lock()
        self.received.clear()
        self.ending = ""
        self._line_setup = None
        self._linestate, self._modemstate = 0, None
        self._modemstate_timeout = rfc2217.Timeout(-1)
        self._remote_suspend_flow = False
        self._telnet_options = [
            TelnetOption(self, "ECHO", ECHO, DO, DONT, WILL, WONT, REQUESTED),
            TelnetOption(self, "we-SGA", SGA, WILL, WONT, DO, DONT, REQUESTED),
            TelnetOption(self, "they-SGA", SGA, DO, DONT, WILL, WONT, REQUESTED),
            TelnetOption(self, "they-BINARY", BINARY, DO, DONT, WILL, WONT, INACTIVE),
            TelnetOption(self, "they-RFC2217", COM_PORT_OPTION, DO, DONT, WILL, WONT, REQUESTED),
            TelnetOption(self, "we-BINARY", BINARY, WILL, WONT, DO, DONT, INACTIVE),
            TelnetOption(self, "we-RFC2217", COM_PORT_OPTION, WILL, WONT, DO, DONT, REQUESTED),
        ]
        self._rfc2217_port_settings = {
            "baudrate": _Answered(self, "baudrate", SET_BAUDRATE, SERVER_SET_BAUDRATE),
            "datasize": _Answered(self, "datasize", SET_DATASIZE, SERVER_SET_DATASIZE),
            "parity": _Answered(self, "parity", SET_PARITY, SERVER_SET_PARITY),
            "stopsize": _Answered(self, "stopsize", SET_STOPSIZE, SERVER_SET_STOPSIZE),
        }
        self._rfc2217_options = {
            "purge": _Purged(self, "purge", PURGE_DATA, SERVER_PURGE_DATA),
            "control": _Answered(self, "control", SET_CONTROL, SERVER_SET_CONTROL),
            **self._rfc2217_port_settings,
        }

    def _set_up(self) -> None:
        for option in self._telnet_options:
            if option.state is REQUESTED:
                self.telnet_send_option(option.send_yes, option.option)
        ours = [option for option in self._telnet_options if option.name in {"we-BINARY", "we-RFC2217"}]
        # pyserial's condition: each of the two is agreed on, or is one we do not insist on and nobody asked for
        if not self.await_change(
            lambda: all(option.active == (option.state != INACTIVE) for option in ours), self._network_timeout
        ):
            raise SerialException(
                f"Remote does not seem to support RFC2217 or BINARY mode {ours!r}; "
                f"{self.ending or f'it did not answer in {self._network_timeout:g} s'}"
            )
        self._reconfigure_port()
        self._let_go_of_lines()
        self.reset_input_buffer()
        self.reset_output_buffer()

    def _let_go_of_lines(self) -> None:
        # A port that was just opened may have both lines on. In the reset circuit of the boards, RTS on with DTR off
        # is EN low: RTS has to go first, or opening the port resets the board. The other way round IO0 is low for a
        # round trip, which only a chip that leaves reset at that moment would take for something.
        # Servers that need ign_set_control (esp_rfc2217_server) play a reset of their own when they see RTS go, and
        # have both lines off when nobody is connected.
        lines = [
            (self._rts_state, self._update_rts_state, self._rtscts),
            (self._dtr_state, self._update_dtr_state, self._dsrdtr),
        ]
        if self._rts_state:  # as esptool opens its ports: both are turned on, and for the same reason DTR goes first
            lines.reverse()
        for active, update, settled in lines:
            if not settled and (active or not self._ignore_set_control_answer):
                update()

    def close(self) -> None:
        """End the connection; the server has seen it end, or `FAREWELL` is over. Idempotent."""
        self.is_open = False
        thread, self._thread = self._thread, None
        if self._socket is not None:
            with _already_gone():
                self._socket.shutdown(socket.SHUT_WR)
            if thread is not None and thread is not threading.current_thread():
                thread.join(FAREWELL)
            with _already_gone():
                self._socket.shutdown(socket.SHUT_RDWR)
            if thread is not None and thread is not threading.current_thread():
                thread.join(CONNECT)
            self._socket.close()
            self._socket = None

    # --- the setup of the port ----------------------------------------------------------------------------------

    @property
    def timeout(self) -> float | None:
        """Seconds for `read`; None: no limit."""
        timeout: float | None = self._timeout
        return timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._timeout = seconds  # a matter of ours: the server need not know

    def _reconfigure_port(self) -> None:
        if self._socket is None:
            raise SerialException("Can only operate on open ports")
        if self._write_timeout is not None:
            raise NotImplementedError("write_timeout is currently not supported")
        if not 0 < self._baudrate < 2**32:
            raise ValueError(f"invalid baudrate: {self._baudrate!r}")
        if self._rtscts and self._xonxoff:
            raise ValueError("xonxoff and rtscts together are not supported")
        setup = (self._baudrate, self._bytesize, self._parity, self._stopbits, self._rtscts, self._xonxoff)
        if setup == self._line_setup:
            return
        self._line_setup = None
        settings = self._rfc2217_port_settings
        settings["baudrate"].set(self._baudrate.to_bytes(4, "big"))
        settings["datasize"].set(bytes((self._bytesize,)))
        settings["parity"].set(bytes((RFC2217_PARITY_MAP[self._parity],)))
        settings["stopsize"].set(bytes((RFC2217_STOPBIT_MAP[self._stopbits],)))
        for setting in settings.values():
            setting.wait(self._network_timeout)
        self.rfc2217_set_control(self._flow_control())
        self._line_setup = setup

    def _flow_control(self) -> bytes:
        if self._rtscts:
            return bytes(SET_CONTROL_USE_HW_FLOW_CONTROL)
        return bytes(SET_CONTROL_USE_SW_FLOW_CONTROL if self._xonxoff else SET_CONTROL_USE_NO_FLOW_CONTROL)

    def rfc2217_set_control(self, value: bytes) -> None:
        """Change a line or the flow control; waits for the answer, unless the URL says there is none to be had."""
        control = self._rfc2217_options["control"]
        control.set(value)
        if not self._ignore_set_control_answer:
            control.wait(self._network_timeout)

    def get_modem_state(self) -> int:
        """Return the server's lines as it told them last; with ``poll_modem`` in the URL it is asked."""
        if self._poll_modem_state and self._modemstate_timeout.expired():
            self.rfc2217_send_subnegotiation(NOTIFY_MODEMSTATE)
            self.await_change(lambda: not self._modemstate_timeout.expired(), self._network_timeout)
        if self._modemstate is None:
            raise SerialException("remote sends no NOTIFY_MODEMSTATE")
        return int(self._modemstate)

    # --- data ---------------------------------------------------------------------------------------------------

    @property
    def in_waiting(self) -> int:
        """How many bytes can be read at once."""
        if not self.is_open:
            raise PortNotOpenError
        return len(self.received)

    def read(self, size: int = 1) -> bytes:
        """Return ``size`` bytes, or what there is after `timeout` seconds.

        Raises:
            SerialException: the connection has ended, and all that came on it was read.
        """
        return self._take(size, size, self._timeout)

    def read_some(self, timeout: float) -> bytes:
        """Return what there is, waiting for the first byte at most so many seconds; raises as `read` does."""
        with self.changed:
            self.changed.wait_for(lambda: self.received or self.ending or self._interrupted, timeout)
            self._interrupted = False
            return self._take(0, _RECEIVED_AT_ONCE, 0)

    def interrupt(self) -> None:
        """Have a `read_some` that waits return at once, or the next one if none does."""
        with self.changed:
            self._interrupted = True
            self.changed.notify_all()

    def _take(self, least: int, most: int, timeout: float | None) -> bytes:
        if not self.is_open:
            raise PortNotOpenError
        with self.changed:
            self.changed.wait_for(lambda: len(self.received) >= least or self.ending, timeout)
            if self.ending and not self.received:
                raise SerialException(f"connection failed: {self.ending}")
            taken = bytes(self.received[:most])
            del self.received[:most]
            return taken

    def reset_input_buffer(self) -> None:
        """Drop what came in, here and at the server."""
        if not self.is_open:
            raise PortNotOpenError
        self.rfc2217_send_purge(PURGE_RECEIVE_BUFFER)

    def write(self, data: Any) -> int:
        """Send bytes; raises SerialException when the connection is gone, or takes nothing for `CONNECT` seconds."""
        sent = bytes(data)
        self._internal_raw_write(escape(sent))
        return len(sent)

    def _internal_raw_write(self, data: bytes) -> None:
        connection = self._socket
        if connection is None:  # it may have been closed just now, in another thread
            raise PortNotOpenError
        try:
            with self._write_lock:
                connection.sendall(data)
        except OSError as error:
            raise SerialException(f"connection failed: {error}") from error

    def await_change(self, holds: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until something holds that what the server sends can make true; return whether it does."""
        with self.changed:
            self.changed.wait_for(lambda: holds() or self.ending, timeout)
            return holds()

    # --- the reader thread --------------------------------------------------------------------------------------

    def _receive(self) -> None:
        connection, stream = self._socket, TelnetParser()
        ending = "what the server sent could not be read"  # by pyserial's code: the thread's traceback says why
        try:
            while True:
                try:
                    data = connection.recv(_RECEIVED_AT_ONCE)
                except TimeoutError:
                    continue  # the socket's timeout is for sending
                if not data:
                    ending = "the server closed the connection"
                    break
                for part in stream.feed(data):
                    self._process(part)
        except OSError as error:
            ending = f"{error.strerror or error}"
        finally:
            with self.changed:
                self.ending = ending
                self.changed.notify_all()

    def _process(self, part: Item) -> None:
        # what answers the server is done without the lock: a server that does not read must not hold up our readers
        if isinstance(part, Negotiation):
            self._telnet_negotiate_option(bytes((part.verb,)), bytes((part.option,)))
        elif isinstance(part, Subnegotiation):
            self._telnet_process_subnegotiation(part.payload)
        with self.changed:
            if isinstance(part, bytes):
                self.received += part
            self.changed.notify_all()


class _already_gone:  # noqa: N801 - reads as the state of affairs it allows
    """``with``: an OSError of a socket that the other side has ended already is no news."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Swallow an OSError."""
        return kind is not None and issubclass(kind, OSError)
