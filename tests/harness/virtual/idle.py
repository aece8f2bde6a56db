"""Something that runs on a virtual board without a flash to boot from: for tests of the board itself."""

from __future__ import annotations

import threading

from harness.virtual.machine import Machine, ResetCause


class Idle:
    """Says why it was started, echoes what it receives, and keeps what it is told. Its class is a `Boot`.

    Attributes:
        machine: what it runs on.
        received: bytes so far.
        buttons: changes of the BOOT button so far.
        stopped: set once it was stopped.
    """

    def __init__(self, machine: Machine, cause: ResetCause) -> None:
        self.machine = machine
        self.received = bytearray()
        self.buttons: list[bool] = []
        self.stopped = threading.Event()
        machine.uart_send(f"started: {cause}\r\n".encode())

    def boot_button(self, pressed: bool) -> None:
        """Keep it."""
        self.buttons.append(pressed)

    def uart_received(self, data: bytes) -> None:
        """Keep it, and send it back."""
        self.received += data
        self.machine.uart_send(data)

    def stop(self) -> None:
        """Keep that."""
        self.stopped.set()


class Boots:
    """A `Boot` that keeps all that it has started."""

    def __init__(self) -> None:
        self.lives: list[Idle] = []

    def __call__(self, machine: Machine, cause: ResetCause) -> Idle:
        """Start another."""
        self.lives.append(Idle(machine, cause))
        return self.lives[-1]

    @property
    def last(self) -> Idle:
        """The one that runs."""
        return self.lives[-1]
