"""Refusals before anything else is looked at: draining, full, one address too often."""

from __future__ import annotations

import pytest

from gateway.config import Config, DrainConfig, HandshakeConfig, ServerConfig
from gateway.errors import HandshakeRefused
from gateway.presence import admission as module
from gateway.presence.admission import ADDRESSES, RETRY_WHEN_FULL, Admission


def admission(connections: int = 10, per_minute: int = 60, grace: float = 30.0) -> Admission:
    """Make an admission; with 60 handshakes per minute one comes back each second."""
    return Admission(
        Config(
            server=ServerConfig(max_connections=connections),
            handshake=HandshakeConfig(per_address_per_minute=per_minute),
            drain=DrainConfig(grace=grace),
        )
    )


def refusal(door: Admission, address: str = "10.0.0.1", now: float = 0.0) -> HandshakeRefused | None:
    """Ask for one handshake and return the refusal, None when it is admitted."""
    try:
        door.check(address, now)
    except HandshakeRefused as refused:
        return refused
    return None


def admitted(door: Admission, address: str, now: float, most: int = 1000) -> int:
    """Ask until refused; how many were admitted."""
    for count in range(most):
        if refusal(door, address, now) is not None:
            return count
    return most


# --- draining and full -------------------------------------------------------------------------------------------


def test_draining_refuses_everybody_until_the_grace_is_over():
    """503, to be retried when the next process will be there."""
    door = admission(grace=12.5)
    door.draining = True
    refused = refusal(door)
    assert (refused.status, refused.headers) == (503, {"Retry-After": "13"})


def test_draining_at_once_still_says_a_time():
    """A grace of zero is not a Retry-After of zero."""
    door = admission(grace=0)
    door.draining = True
    assert refusal(door).headers == {"Retry-After": "1"}


def test_full_at_its_limit_and_open_below_it():
    """Ten of ten connections are full; one that goes makes room for one."""
    door = admission(connections=10)
    for _ in range(9):
        door.opened()
    assert refusal(door) is None
    door.opened()
    refused = refusal(door)
    assert (refused.status, refused.headers) == (503, {"Retry-After": str(int(RETRY_WHEN_FULL))})
    door.closed()
    assert refusal(door) is None
    assert door.connections == 9


def test_full_and_draining_refusals_cost_their_address_nothing():
    """Who came while the door was shut has all its handshakes when it opens."""
    door = admission(connections=1, per_minute=5)
    door.opened()
    assert admitted(door, "10.0.0.1", 0) == 0
    door.closed()
    door.draining = True
    assert admitted(door, "10.0.0.1", 0) == 0
    door.draining = False
    assert admitted(door, "10.0.0.1", 0) == 5


def test_closing_what_was_never_opened_is_our_bug():
    """A count below zero would let in more than the limit."""
    with pytest.raises(AssertionError, match="more connections were closed"):
        admission().closed()


# --- one address --------------------------------------------------------------------------------------------------


def test_one_address_gets_its_handshakes_and_one_more_is_429():
    """The whole minute's worth at once, then as they come back."""
    door = admission(per_minute=60)
    assert admitted(door, "10.0.0.1", 0) == 60
    refused = refusal(door, "10.0.0.1", 0)
    assert (refused.status, refused.headers) == (429, {"Retry-After": "1"})
    assert refusal(door, "10.0.0.1", 0.5) is not None
    assert refusal(door, "10.0.0.1", 1.0) is None
    assert refusal(door, "10.0.0.1", 1.0) is not None
    assert admitted(door, "10.0.0.1", 61.0) == 60


def test_retry_after_is_when_it_will_be_admitted():
    """Five per minute come back every 12 s; 12 s later it is admitted."""
    door = admission(per_minute=5)
    admitted(door, "10.0.0.1", 0)
    assert refusal(door, "10.0.0.1", 0.5).headers == {"Retry-After": "12"}
    assert refusal(door, "10.0.0.1", 12.5) is None


def test_refused_handshakes_are_not_counted():
    """Hammering does not lengthen the wait."""
    door = admission(per_minute=60)
    admitted(door, "10.0.0.1", 0)
    for _ in range(500):
        assert refusal(door, "10.0.0.1", 0.5) is not None
    assert refusal(door, "10.0.0.1", 1.0) is None


def test_addresses_do_not_pay_for_each_other():
    """One that is over its limit leaves the others alone."""
    door = admission(per_minute=5)
    admitted(door, "10.0.0.1", 0)
    assert admitted(door, "10.0.0.2", 0) == 5


def test_hosts_of_one_ipv6_network_share_a_limit():
    """A host picks its address in its /64 as it likes; another network has its own limit."""
    door = admission(per_minute=5)
    assert admitted(door, "2001:db8:0:1::1", 0) == 5
    assert admitted(door, "2001:db8:0:1:ffff::2", 0) == 0
    assert admitted(door, "2001:db8:0:2::1", 0) == 5


def test_table_of_addresses_is_bounded(monkeypatch):
    """Past the bound the address that has been silent for longest starts afresh, and is counted."""
    monkeypatch.setattr(module, "ADDRESSES", 3)
    door = admission(per_minute=1)
    for address in ("a", "b", "c"):
        assert admitted(door, address, 0) == 1
    assert admitted(door, "a", 0) == 0  # still known, and seen again: now "b" is the oldest
    assert admitted(door, "d", 0) == 1
    assert door.forgotten == 1
    assert admitted(door, "a", 0) == 0
    assert admitted(door, "b", 0) == 1
    assert door.forgotten == 2


def test_a_flood_of_addresses_does_not_grow_the_table():
    """Twice as many addresses as are remembered."""
    door = admission()
    for number in range(2 * ADDRESSES):
        door.check(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0)
    assert len(door._buckets) == ADDRESSES
    assert door.forgotten == ADDRESSES
