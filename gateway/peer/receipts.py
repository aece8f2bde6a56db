"""Receipts on their way to the senders that wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.config import PeerConfig
from gateway.identity import DeviceId
from gateway.observe.events import Observers, PeerFailed
from gateway.peer.delivery import Delivery
from gateway.peer.receipt import Receipt
from gateway.peer.remembered import Remembered


class Receipts:
    """Sends each receipt once it is complete.

    Args:
        config: for how long a receipt is remembered.
        deliveries: of the present devices.
        observers: where records go.
    """

    def __init__(self, config: PeerConfig, deliveries: Mapping[DeviceId, Delivery], observers: Observers) -> None:
        self.remembered = Remembered(config.dedupe)
        self._deliveries = deliveries
        self._observers = observers

    def fail(self, receipt: Receipt, target: DeviceId, wire_id: str, code: str) -> None:
        """Note that a message will not reach a target; `send_if_complete` is the caller's to call."""
        receipt.failed(target, code)
        self._observers.emit(PeerFailed(device=target, message=wire_id, sender=receipt.sender, code=code))

    def send_if_complete(self, receipt: Receipt) -> None:
        """Send a receipt if every target has its outcome."""
        if receipt.complete:
            self._send(receipt)

    def _send(self, receipt: Receipt) -> None:
        """Send a receipt to the sender's present connection; one that has gone may repeat its message."""
        if not receipt.worth_remembering:
            self.remembered.forget(receipt)
        delivery = self._deliveries.get(receipt.sender)
        if delivery is not None:
            delivery.session.send_json(receipt.message(asyncio.get_running_loop().time()))
