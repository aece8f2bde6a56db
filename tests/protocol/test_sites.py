"""What counts as one address, and the places that one may hold."""

from __future__ import annotations

import pytest

from gateway.protocol.sites import Places, site_of


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0002::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("board-7", "board-7"),
    ],
)
def test_site_of_an_address(address, site):
    """IPv4 as it is, IPv6 by its network, IPv4 in IPv6 clothes as IPv4, anything else as itself."""
    assert site_of(address) == site


def test_places_of_a_site_at_and_past_its_limit():
    """The one too many is not had until one is given back; other sites have their own."""
    places = Places(2)
    assert [places.take("a") for _ in range(3)] == [True, True, False]
    assert places.take("b")
    assert len(places) == 3
    places.give_back("a")
    assert [places.take("a") for _ in range(2)] == [True, False]


def test_sites_that_hold_nothing_are_forgotten():
    """The table is bounded by the places that are held."""
    places = Places(1)
    for number in range(100):
        assert places.take(str(number))
        places.give_back(str(number))
    assert len(places) == 0
    assert places._held == {}


def test_a_place_is_taken_and_given_back_once():
    """However often it is asked for, by however many paths of an end."""
    places = Places(1)
    one, other = places.of("a"), places.of("a")
    assert [one.take(), one.take(), other.take()] == [True, True, False]
    other.give_back()
    assert (len(places), one.held, other.held) == (1, True, False)
    one.give_back()
    one.give_back()
    assert len(places) == 0
    assert other.take()
