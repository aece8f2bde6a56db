"""Gives orders to virtual boards that another process serves: power, buttons, Wi-Fi, misbehaviour.

Each order is one connection: a line of JSON there, a line of JSON back.
"""

from __future__ import annotations

import socket
from typing import Any, Literal

import msgspec

from harness.bench.bench_file import BoardConfig
from harness.bench.errors import RigFailed
from harness.errors import Misuse

ORDER_SECONDS = 10.0
"""For an order: stopping a device program may take 2 s, and its machine may be busy."""
LINE_BYTES = 65536
"""Of an order, or an answer."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a board is told.

    Attributes:
        board: its id.
        verb: what to do.
        arguments: for it, by name.
    """

    board: str
    verb: str
    arguments: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of an order.

    Attributes:
        ok: it was done.
        error: why not.
        value: what was asked for.
    """

    ok: bool
    error: str = ""
    value: Any = None


class RigControl:
    """Gives orders to one virtual board; from any thread and any process of this machine."""

    def __init__(self, board: BoardConfig) -> None:
        if not board.control:
            raise Misuse(f"{board.id} takes no orders: it is not a board of a virtual bench")
        host, _, port = board.control.rpartition(":")
        self._board = board.id
        self._address = (host, int(port))

    def power(self, state: Literal["on", "off"]) -> None:
        """Switch its supply."""
        self.order("power", state=state)

    def cut_power_after(self, written_bytes: int) -> None:
        """Switch its supply off once so many more bytes of its flash have been erased or programmed."""
        self.order("cut", written_bytes=written_bytes)

    def powered(self) -> bool:
        """Tell whether its supply is on."""
        return bool(self.order("state")["powered"])

    def press_reset(self) -> None:
        """Press its reset button, shortly."""
        self.order("reset")

    def press_boot(self, seconds: float = 0.1) -> None:
        """Press its BOOT button; returns when it is released."""
        self.order("boot_button", seconds=seconds)

    def wifi(self, *, on: bool) -> None:
        """Switch the access point, which all boards of the rig share."""
        self.order("wifi", on=on)

    def misbehave(self, what: str, /, **how: Any) -> None:
        """Have what runs on it misbehave, as `harness.virtual.misbehaviour` names it."""
        self.order("misbehave", what=what, how=how)

    def vanish(self) -> None:
        """Pull its cable: the port is gone, with the board still powered."""
        self.order("vanish")

    def come_back(self) -> None:
        """Put its cable in again."""
        self.order("come_back")

    def order(self, verb: str, **arguments: Any) -> Any:
        """Give an order, and return what it was answered with.

        Raises:
            Misuse: the rig does not know it, or not with these arguments.
            RigFailed: nobody answers.
        """
        line = msgspec.json.encode(Order(self._board, verb, arguments)) + b"\n"
        try:
            with socket.create_connection(self._address, ORDER_SECONDS) as connection:
                connection.sendall(line)
                answer = msgspec.json.decode(_line(connection), type=Answer)
        except (OSError, msgspec.DecodeError) as error:
            raise RigFailed(
                f"{self._board} did not take the order {verb!r}: {error}; does the process of its rig still run?"
            ) from error
        if not answer.ok:
            raise Misuse(f"{self._board} refused the order {verb!r}: {answer.error}")
        return answer.value


def _line(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n") and len(received) <= LINE_BYTES and (some := connection.recv(LINE_BYTES)):
        received += some
    return received
