"""Who is present: device id -> session, whose channel owns the device's route. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.identity import DeviceId

if TYPE_CHECKING:
    from gateway.device.channel import Channel
    from gateway.device.session import Session


class Registry:
    """The sessions of all present devices, in order of arrival.

    At any moment a device has one session and that session one owner: switching is one assignment between two turns of
    the loop, so nothing can see two owners or none.
    """

    def __init__(self) -> None:
        self._sessions: dict[DeviceId, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over a copy: sessions may come and go meanwhile."""
        return iter(tuple(self._sessions.values()))

    def get(self, device: DeviceId) -> Session | None:
        """Return the device's session, or None when it is not present."""
        return self._sessions.get(device)

    def add(self, session: Session) -> None:
        """Make a device present; it must not be."""
        assert session.device not in self._sessions
        self._sessions[session.device] = session

    def switch(self, session: Session, channel: Channel) -> Channel:
        """Give the route to a newer channel and return the one that had it."""
        old, session.channel = session.channel, channel
        return old

    def release(self, channel: Channel) -> Session | None:
        """End the session whose route this channel owns, and return it.

        A channel that does not own the route (it was replaced) changes nothing: only the owner cleans up.
        """
        session = self._sessions.get(channel.connect.device)
        if session is None or session.channel is not channel:
            return None
        del self._sessions[session.device]
        return session
