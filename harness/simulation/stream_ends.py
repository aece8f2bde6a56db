"""What a stream asks of its two ends, and tells them."""

from __future__ import annotations

from typing import Protocol


class Source(Protocol):
    """The sending end of a stream."""

    def moved(self) -> None:
        """Something was acknowledged or sent: there may be room in the send buffer."""
        ...

    def broken(self, number: int) -> None:
        """The connection is no more; the number of the system's error says why."""
        ...

    def finished(self) -> None:
        """The receiver has the end of the stream."""
        ...


class Sink(Protocol):
    """The receiving end of a stream."""

    @property
    def takes_data(self) -> bool:
        """Whether there is still a socket here that something can be received on."""
        ...

    @property
    def takes_end(self) -> bool:
        """Whether the kernel knows of the connection: behind a close it does, until the other side has ended too."""
        ...

    def opened(self) -> None:
        """The connection is established, and may be accepted."""
        ...

    def cut(self) -> None:
        """A middlebox ends the connection, in both directions."""
        ...

    def arrived(self) -> None:
        """There are bytes to be read, or the end of the stream is there."""
        ...

    def broken(self, number: int) -> None:
        """The connection is no more; the number of the system's error says why."""
        ...
