"""What devices say in ``peer`` messages: requests, judged and sent on, and acknowledgements."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.config import PeerConfig
from gateway.device.session import Session
from gateway.errors import BadMessage
from gateway.identity import DeviceId, group_of
from gateway.observe.clock import WallClock
from gateway.observe.events import AckIgnored, Observers, PeerAccepted
from gateway.peer.delivery import Delivery
from gateway.peer.dispatch import Dispatch
from gateway.peer.flight import Flight
from gateway.peer.mailbox import Letter
from gateway.peer.receipt import Receipt
from gateway.peer.receipts import Receipts
from gateway.peer.requests import PeerRequest, read_ack, read_request
from gateway.peer.senders import Senders
from gateway.peer.turns import Turns
from gateway.presence.broadcast import SESSIONS_PER_TURN
from gateway.protocol import limits
from gateway.protocol.messages import Peer, PeerError
from gateway.tasks import Tasks

MayWrite = Callable[[DeviceId, DeviceId], bool]
"""Whether the first device may write to the second."""


class Intake:
    """Takes ``peer`` messages.

    Args:
        config: what a request may be, and how many.
        tasks: owner of broadcasts, which take more than one turn of the loop.
        deliveries: of the present devices.
        everywhere: wire ids in flight to any device, to tell a foreign acknowledgement.
        dispatch: takes what is accepted.
        receipts: where outcomes go.
        observers: where records go.
        wall_clock: for stamps and expiry dates.
        may_write: the rule who may write to whom; None: `PeerConfig.reach` decides.
    """

    def __init__(
        self,
        config: PeerConfig,
        tasks: Tasks,
        deliveries: Mapping[DeviceId, Delivery],
        everywhere: Mapping[str, int],
        dispatch: Dispatch,
        receipts: Receipts,
        observers: Observers,
        wall_clock: WallClock,
        may_write: MayWrite | None,
    ) -> None:
        self._config = config
        self._deliveries = deliveries
        self._everywhere = everywhere
        self._dispatch = dispatch
        self._receipts = receipts
        self._observers = observers
        self._wall_clock = wall_clock
        self._may_write = may_write or _reach(config)
        self.senders = Senders(config)
        self.turns = Turns(tasks)

    def on_peer(self, session: Session, message: Peer) -> None:
        """Take a message; one that is wrong, or too many, is answered with an error."""
        try:
            if message.event is None:
                self._on_request(session, read_request(message, self._config))
            elif message.event == "ack":
                self._on_ack(session, read_ack(message))
            else:
                raise BadMessage("INVALID_REQUEST", "expected no 'event', or the event 'ack'")
        except BadMessage as error:
            answer = PeerError(error.code, error.reason)
            if isinstance(message.id, str) and 0 < len(message.id) <= limits.PEER_ID_CHARACTERS:
                answer.id = message.id
            if error.code == "RATE_LIMITED":
                session.send_json(answer)  # flow control is no offence
            else:
                session.send_error(error.code, error.reason, answer=answer)

    def _on_ack(self, session: Session, ids: Sequence[str]) -> None:
        delivery = self._deliveries.get(session.device)
        for wire_id in ids:
            if delivery is not None and delivery.session is session and delivery.acknowledge(wire_id):
                continue
            # of an earlier session, from a connection that has outlived it: the device's own, but not proof enough
            own = delivery is not None and wire_id in delivery
            foreign = not own and wire_id in self._everywhere
            self._observers.emit(AckIgnored(device=session.device, session=session.id, foreign=foreign))

    def _on_request(self, session: Session, request: PeerRequest) -> None:
        sender = session.device
        now = asyncio.get_running_loop().time()
        remembered = self._receipts.remembered
        self.senders.take(sender, now)
        if request.id is not None:
            known = remembered.find(sender, request.id, now)
            if known is not None:
                if known.complete:
                    session.send_json(known.message(now, duplicate=True))
                return  # an open one is answered when it is complete
        if request.broadcast:
            self.senders.take_broadcast(sender, now)
        targets = self._targets(sender, request)
        wire_id = request.id or secrets.token_hex(8)
        # a later `delivered` event names the message, so its sender has to know what it is called
        receipt = Receipt(sender, wire_id if request.confirm else request.id, len(targets), now)
        if request.id is not None:
            remembered.add(receipt, request.id, now)
        accepted = PeerAccepted(device=sender, session=session.id, message=wire_id, targets=len(targets))
        self._observers.emit(accepted)
        self.turns.do(sender, self._send_to(targets, request, wire_id, receipt))

    def _targets(self, sender: DeviceId, request: PeerRequest) -> dict[DeviceId, str]:
        """Whom a request is for, each with the code of its failure, or nothing where it may be sent.

        All is judged before anything is begun: the rule may be an application's, and fail.
        """
        may_write = self._may_write
        if request.broadcast:
            return {device: "" for device in self._deliveries if device != sender and may_write(sender, device)}
        codes: dict[DeviceId, str] = {}
        for target in request.targets:
            if target == sender:
                codes[target] = "INVALID_TARGET"
            else:
                codes[target] = "" if may_write(sender, target) else "UNAUTHORIZED"
        return codes

    def _send_to(
        self, targets: dict[DeviceId, str], request: PeerRequest, wire_id: str, receipt: Receipt
    ) -> Iterator[None]:
        """Send a message to all its targets; a turn is over at each ``yield``, so that a broadcast holds up nobody."""
        created = self._wall_clock()
        keep: list[Flight] = []
        for number, (target, code) in enumerate(targets.items()):
            if number and number % SESSIONS_PER_TURN == 0:
                self._dispatch.keep(keep)
                keep = []
                yield
            if code:
                self._receipts.fail(receipt, target, wire_id, code)
                continue
            letter = Letter(
                recipient=target,
                sender=receipt.sender,
                id=wire_id,
                kind="peer",
                body=request.body,
                created=created,
                expires=created + request.ttl,
                confirm=request.confirm,
            )
            keep += self._dispatch.send_live(letter, receipt)
        self._receipts.send_if_complete(receipt)
        self._dispatch.keep(keep)  # what is kept leaves the receipt open, and completes it


def _reach(config: PeerConfig) -> MayWrite:
    if config.reach == "group":
        return lambda sender, target: group_of(sender) == group_of(target)
    return lambda sender, target: True  # noqa: ARG005 - the rule "all" looks at nobody
