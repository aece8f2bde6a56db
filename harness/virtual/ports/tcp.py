"""A port of a board that is a TCP server on this machine, for one client at a time, as a serial port is."""

from __future__ import annotations

import selectors
import socket
import threading
from contextlib import suppress

from harness.errors import Misuse
from harness.virtual.errors import CannotServe
from harness.virtual.ports.conversation import BoardSide, Conversation, Lines, MakeConversation, Purge, Received, Told
from harness.virtual.ports.outbox import Outbox

JOIN = 5.0
"""Seconds to wait for a port's thread: what it does for its host may stop a device program, which takes 2 s at most."""

_READ = 1 << 16  # bytes at once
_BACKLOG = 8  # clients that wait; pyserial gives up after some 3 s


class TcpPort:
    """One port; it serves from the moment it is made, in a thread of its own, until `close`.

    A second client waits until the first has gone.

    Args:
        board: whose port it is.
        scheme: of its URL.
        make_conversation: how it talks, anew for each client.
        host: the address to listen at; anything but loopback lets others flash and reset the board.
        port: 0: a free one.

    Attributes:
        url: what pyserial, and so esptool, takes for ``--port``.
        host, port: where it listens; the number stays its own while it has vanished.
        clients: how many have connected so far.

    Raises:
        CannotServe: the address is taken, or is not ours.
    """

    def __init__(
        self, board: BoardSide, scheme: str, make_conversation: MakeConversation, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.clients = 0
        self._board = board
        self._make_conversation = make_conversation
        self._lock = threading.Lock()  # of the three below; never held while the board is called
        self._client: socket.socket | None = None
        self._outbox: Outbox | None = None
        self._conversation: Conversation | None = None
        self._ending = False
        self._thread: threading.Thread | None = None
        # bound, but never listening: it keeps the number while the port has vanished
        self._holder = _bound(host, port)
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self.host, self.port = self._holder.getsockname()[:2]
        self.url = f"{scheme}://{self.host}:{self.port}"
        try:
            self.come_back()
        except BaseException:
            self.close()
            raise

    @property
    def baud(self) -> int | None:
        """What the client has set; None: nobody is there, or this kind of port knows no baud rates."""
        conversation = self._conversation
        return None if conversation is None else conversation.baud

    @property
    def lost(self) -> int:
        """Bytes that the present client has not read in time, and so will not get."""
        outbox = self._outbox
        return 0 if outbox is None else outbox.lost

    def deliver(self, data: bytes) -> None:
        """Take bytes for the client; without one they are lost."""
        with self._lock:
            if self._outbox is None:
                return
            self._outbox.put(data)
            self._send()

    def vanish(self) -> None:
        """Be gone, as when a USB cable is pulled: the client is cut, new ones are refused. Idempotent.

        Raises:
            Misuse: called by what the port itself calls, or that does not come to an end.
        """
        thread = self._thread
        if thread is None:
            return
        with self._lock:
            self._ending = True
            self._wake()
        if thread is threading.current_thread():
            raise Misuse("expected a port to be closed by another thread than its own")
        thread.join(JOIN)
        if thread.is_alive():
            raise Misuse(f"expected what {self.url} has told the board to be done within {JOIN:g} s; it still runs")
        self._thread = None

    def come_back(self) -> None:
        """Be there again, at the same number. Idempotent.

        Raises:
            CannotServe: somebody else has taken it.
            Misuse: the port was closed.
        """
        if self._thread is not None:
            return
        if self._holder.fileno() < 0:
            raise Misuse(f"expected a port that was not closed; {self.url} was")
        listener = _bound(self.host, self.port, listens=True)
        self._ending = False
        self._thread = threading.Thread(target=self._serve, args=(listener,), name=f"port {self.url}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Vanish for good; idempotent."""
        self.vanish()
        for end in (self._holder, self._waker, self._woken):
            end.close()

    # --- in the port's thread -----------------------------------------------------------------------------------

    def _serve(self, listener: socket.socket) -> None:
        with listener:
            while (client := self._accepted(listener)) is not None:
                self._talk(client)

    def _accepted(self, listener: socket.socket) -> socket.socket | None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(listener, selectors.EVENT_READ)
            while not self._ending:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._woken in ready:
                    self._woken.recv(_READ)
                if listener in ready:
                    # it may have gone again before it was taken
                    with suppress(OSError):
                        return listener.accept()[0]
        return None

    def _talk(self, client: socket.socket) -> None:
        conversation = self._make_conversation()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._client, self._conversation = client, conversation
            self._outbox = Outbox(conversation.encode)
        self.clients += 1
        self._board.connected(self.url)
        try:
            self._converse(client, conversation)
        finally:
            with self._lock:
                self._client = self._conversation = self._outbox = None
            client.close()
            for told in conversation.ended():
                self._do(told, None)
            self._board.disconnected(self.url)

    def _converse(self, client: socket.socket, conversation: Conversation) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(client, selectors.EVENT_READ)
            while not self._ending:
                ready = {key.fileobj: events for key, events in selector.select()}
                if self._woken in ready:
                    self._woken.recv(_READ)
                if ready.get(client, 0) & selectors.EVENT_READ:
                    data = _read(client)
                    if not data:
                        return
                    for told in conversation.received(data):
                        self._do(told, conversation.baud)
                selector.modify(client, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._flush() else 0))

    def _do(self, told: Told, baud: int | None) -> None:
        if isinstance(told, Received):
            self._board.host_sent(told.data, baud)
        elif isinstance(told, Lines):
            self._board.set_lines(dtr=told.dtr, rts=told.rts)
        else:
            with self._lock:
                if self._outbox is None:
                    return
                if isinstance(told, Purge):
                    self._outbox.purge()
                else:
                    self._outbox.put_raw(told.data)  # it is sent when all that was told is done

    def _flush(self) -> bool:
        """Send what can be sent; return whether there is more."""
        with self._lock:
            self._send()
            return self._outbox is not None and not self._outbox.is_empty

    def _send(self) -> None:
        """Send what can be sent, and have the thread see to the rest; the lock is held."""
        if self._outbox is None:
            return
        self._outbox.send(self._write)
        if not self._outbox.is_empty and self._thread is not threading.current_thread():
            self._wake()

    def _write(self, data: bytes) -> int:
        assert self._client is not None
        try:
            return self._client.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # the client has gone, as the thread will see when it reads

    def _wake(self) -> None:
        # where the socket is full, the thread is being woken already
        with suppress(BlockingIOError):
            self._waker.send(b"\0")


def _bound(host: str, port: int, *, listens: bool = False) -> socket.socket:
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        if listens:  # which is what fails where somebody else listens there
            made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise CannotServe(f"{host}:{port}", error.strerror or str(error)) from None
    return made


def _read(client: socket.socket) -> bytes:
    try:
        return client.recv(_READ)
    except OSError:
        return b""  # reset: it has gone like one that closed
