"""Facts made by hand, in the order of their making, a tenth of a second apart."""

from __future__ import annotations

from typing import Any

import msgspec
from websockets.frames import Close, Opcode

from gateway.identity import DeviceId
from gateway.observe.events import DeviceOnline, Event
from harness.invariants import facts
from harness.invariants.facts import Fact
from harness.invariants.invariant import Invariant, Invariants

ANN, BOB = DeviceId("aa"), DeviceId("bb")


class Record:
    """A stream of facts: each method adds one, and returns the record."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.life = 1

    def add(self, kind: type[Fact], **parts: Any) -> Record:
        """Add a fact; without a moment of its own, a tenth of a second behind the last."""
        last = self.facts[-1].at if self.facts else 0.0
        self.facts.append(kind(**{"at": round(last + 0.1, 3), **parts}))
        return self

    def begin(self, life: int = 1) -> Record:
        """A life begins."""
        self.life = life
        return self.add(facts.LifeBegan, life=life)

    def die(self, *, orderly: bool = False) -> Record:
        """It ends."""
        return self.add(facts.LifeEnded, life=self.life, orderly=orderly)

    def event(self, event: Event, **parts: Any) -> Record:
        """The gateway reports something."""
        return self.add(facts.Reported, life=self.life, event=event, **parts)

    def connect(self, device: DeviceId, connection: int, *, greeted: bool = True) -> Record:
        """A device connects, and has its hello answered."""
        began = self.facts[-1].at if self.facts else 0.0
        self.add(facts.Opened, device=device, connection=connection, began=began)
        if greeted:
            session = f"session {self.life} of {device}"
            self.event(DeviceOnline(device=device, session=session, replaced=False, because="hello"))
            self.gets(device, connection, {"type": "hello", "session_id": session})
        return self

    def gets(self, device: DeviceId, connection: int, message: dict[str, Any], **parts: Any) -> Record:
        """A device is sent a message."""
        return self._frame(device, connection, message, sent=False, **parts)

    def sends(self, device: DeviceId, connection: int, message: dict[str, Any], **parts: Any) -> Record:
        """A device sends a message."""
        return self._frame(device, connection, message, sent=True, **parts)

    def close_frame(self, device: DeviceId, connection: int, code: int) -> Record:
        """A device is sent a Close."""
        payload = Close(code, "").serialize()
        parts = {"device": device, "connection": connection, "sent": False, "message": None}
        return self.add(facts.Framed, opcode=Opcode.CLOSE, payload=payload, **parts)

    def letter(self, to: DeviceId, connection: int, sender: DeviceId, id_: str, n: int = 1, **more: Any) -> Record:
        """A device is sent a peer message."""
        message = {"type": "peer", "from": sender, "id": id_, "payload": {"n": n}, **more}
        return self.gets(to, connection, message)

    def receipt(self, to: DeviceId, connection: int, id_: str, **lists: Any) -> Record:
        """A device is sent a receipt."""
        message = {"type": "peer", "status": "done", "id": id_, "delivered": [], "enqueued": [], **lists}
        return self.gets(to, connection, message)

    def see(self, *channels: tuple[int, DeviceId, str, int], owners: dict[DeviceId, int], **parts: Any) -> Record:
        """A look into the gateway."""
        views = tuple(facts.ChannelView(*channel) for channel in channels)  # type: ignore[arg-type]
        return self.add(facts.Seen, life=self.life, channels=views, owners=owners, **parts)

    def quiet(self, **parts: Any) -> Record:
        """The end of the quiet phase, where all is well unless said otherwise."""
        well = {
            "residents": frozenset((ANN, BOB)),
            "online": frozenset((ANN, BOB)),
            "owners": frozenset((ANN, BOB)),
            "letters": (),
            "unreceipted": 0,
            "unconfirmed": 0,
            "counted": 0,
        }
        return self.add(facts.Quiet, **{**well, **parts})

    def _frame(self, device: DeviceId, connection: int, message: dict[str, Any], *, sent: bool, **parts: Any) -> Record:
        payload = msgspec.json.encode(message)
        same = {"device": device, "connection": connection, "sent": sent, "message": message}
        return self.add(facts.Framed, opcode=Opcode.TEXT, payload=payload, **same, **parts)

    def wrong(self, kind: type[Invariant]) -> list[str]:
        """What one invariant says of all this."""
        return [violation.text for violation in Invariants([kind]).check(self.facts)]


def waiting(to: DeviceId, sender: str, id_: str, kind: str = "peer", *, set_aside: bool = False) -> facts.Letter:
    """A letter that is in the mailbox at the end."""
    return facts.Letter(to, sender, id_, kind, set_aside)
