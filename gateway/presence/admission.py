"""Refusals that need no look at who asks: the gateway is going down, or full, or one address asks too often."""

from __future__ import annotations

from gateway.config import Config
from gateway.errors import HandshakeRefused
from gateway.protocol.budgets import TokenBucket
from gateway.protocol.handshake import retry_after
from gateway.protocol.sites import site_of

ADDRESSES = 10_000  # remembered; as many sites as a gateway of this size can have, at some 300 bytes each
RETRY_WHEN_FULL = 10.0  # seconds: a conversation is over by then, and a waiting user has not yet given up


class Admission:
    """Counts connections and handshakes, and says no before anything else is looked at.

    An address may begin ``per_address_per_minute`` handshakes at once, and gets them back evenly over a minute. The
    table of addresses is bounded: for a new one, the one that has been silent for longest is forgotten (it starts
    afresh; ``forgotten`` counts).

    Attributes:
        draining: the gateway is going down; every upgrade is refused from now on.
        connections: how many are open.
        forgotten: addresses that left the table for lack of room.
    """

    def __init__(self, config: Config) -> None:
        self.draining = False
        self.connections = 0
        self.forgotten = 0
        self._most = config.server.max_connections
        self._per_minute = config.handshake.per_address_per_minute
        # by then those that were speaking have been let go, and the process that takes over listens
        self._retry_when_draining = config.drain.grace
        self._buckets: dict[str, TokenBucket] = {}

    def check(self, address: str, now: float) -> None:
        """Admit one handshake, or raise; a refused one takes nothing from its address.

        Raises:
            HandshakeRefused: 503 while draining or full, 429 for an address that asks too often; always with
                ``Retry-After``.
        """
        if self.draining:
            raise HandshakeRefused(503, "the gateway is going down", retry_after(self._retry_when_draining))
        if self.connections >= self._most:
            raise HandshakeRefused(503, "the gateway is full", retry_after(RETRY_WHEN_FULL))
        bucket = self._bucket(site_of(address))
        if not bucket.take(now):
            raise HandshakeRefused(429, "too many handshakes from this address", retry_after(bucket.wait(now)))

    def opened(self) -> None:
        """Count a connection that was accepted."""
        self.connections += 1

    def closed(self) -> None:
        """Count a connection that is gone; once for each `opened`."""
        assert self.connections > 0, "more connections were closed than opened"
        self.connections -= 1

    def _bucket(self, site: str) -> TokenBucket:
        bucket = self._buckets.pop(site, None)
        if bucket is None:
            bucket = TokenBucket(self._per_minute / 60, self._per_minute)
            if len(self._buckets) >= ADDRESSES:
                del self._buckets[next(iter(self._buckets))]
                self.forgotten += 1
        self._buckets[site] = bucket  # last: the table is in the order of the last handshake
        return bucket
