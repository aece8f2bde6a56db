"""How much each device may still send; pure."""

from __future__ import annotations

from gateway.config import PeerConfig
from gateway.errors import BadMessage
from gateway.identity import DeviceId
from gateway.protocol.budgets import TokenBucket


class _Sender:
    __slots__ = ("bucket", "next_broadcast")

    def __init__(self, config: PeerConfig) -> None:
        self.bucket = TokenBucket(config.per_second, config.burst)
        self.next_broadcast = 0.0


class Senders:
    """The budgets of present devices; kept a while beyond a session, or a new connection would begin with full ones."""

    def __init__(self, config: PeerConfig) -> None:
        self._config = config
        self._senders: dict[DeviceId, _Sender] = {}
        self._departed: dict[DeviceId, float] = {}  # those of them that are gone, until when they are kept
        # after that long, new budgets are the same as the old ones
        self._kept = max(config.broadcast_every, config.burst / config.per_second)

    def __len__(self) -> int:
        return len(self._senders)

    def arrive(self, device: DeviceId) -> None:
        """A device is present."""
        self._departed.pop(device, None)
        if device not in self._senders:
            self._senders[device] = _Sender(self._config)

    def depart(self, device: DeviceId, now: float) -> None:
        """A device is gone."""
        self._departed.pop(device, None)
        self._departed[device] = now + self._kept

    def forget_departed(self, now: float) -> None:
        """Forget devices that have been gone for long enough."""
        for device, until in tuple(self._departed.items()):
            if until > now:
                return
            del self._departed[device], self._senders[device]

    def take(self, device: DeviceId, now: float) -> None:
        """Take a message out of a present device's budget.

        Raises:
            BadMessage: RATE_LIMITED.
        """
        if not self._senders[device].bucket.take(now):
            raise BadMessage("RATE_LIMITED", f"expected at most {self._config.per_second:g} messages per second")

    def take_broadcast(self, device: DeviceId, now: float) -> None:
        """Take a broadcast out of a present device's budget.

        Raises:
            BadMessage: RATE_LIMITED.
        """
        sender = self._senders[device]
        if now < sender.next_broadcast:
            raise BadMessage("RATE_LIMITED", f"expected {self._config.broadcast_every:g} s between broadcasts")
        sender.next_broadcast = now + self._config.broadcast_every
