"""Of which life of the gateway a connection is."""

from __future__ import annotations

from gateway.observe.events import DeviceOnline
from harness.invariants.facts import Framed, Reported


class Lives:
    """Goes by the session that the hello answer names: what was on its way when a life ended comes during the next."""

    def __init__(self) -> None:
        self._of_session: dict[str, int] = {}
        self._of_connection: dict[int, int] = {}

    def reported(self, fact: Reported) -> None:
        """Note of which life a session is."""
        if isinstance(fact.event, DeviceOnline):
            self._of_session[fact.event.session] = fact.life

    def framed(self, fact: Framed) -> None:
        """Note of which session a connection is."""
        message = fact.message
        if not fact.sent and message is not None and message.get("type") == "hello":
            life = self._of_session.get(str(message.get("session_id")))
            if life is not None:
                self._of_connection[fact.connection] = life

    def of(self, connection: int) -> int | None:
        """Return the life of a connection; None before its hello was answered."""
        return self._of_connection.get(connection)
