"""What counts as one address, and how much of something one of them may hold at a time."""

from __future__ import annotations

import ipaddress

_PREFIX_OF_A_SITE = 64  # bits


class Places:
    """Counts the places that each site holds; the table has an entry only for those that hold one.

    Args:
        most: places that one site may hold.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, int] = {}

    def take(self, site: str) -> bool:
        """Take one, unless the site holds all it may; whether it was taken."""
        held = self._held.get(site, 0)
        if held >= self._most:
            return False
        self._held[site] = held + 1
        return True

    def give_back(self, site: str) -> None:
        """Give one back; once for each that was taken."""
        held = self._held[site] - 1
        if held:
            self._held[site] = held
        else:
            del self._held[site]

    def of(self, site: str) -> Place:
        """Return what may hold one of a site's places."""
        return Place(self, site)

    def __len__(self) -> int:
        """How many are held, by all sites."""
        return sum(self._held.values())


class Place:
    """At most one place of a site."""

    __slots__ = ("_places", "_site", "held")

    def __init__(self, places: Places, site: str) -> None:
        self._places = places
        self._site = site
        self.held = False

    def take(self) -> bool:
        """Take the place, unless the site holds all it may; whether it is held now."""
        self.held = self.held or self._places.take(self._site)
        return self.held

    def give_back(self) -> None:
        """Give the place back, if it is held."""
        if self.held:
            self.held = False
            self._places.give_back(self._site)


def site_of(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or the /64 network of an IPv6 one.

    A single IPv6 host has 2**64 source addresses to choose from; its network is what it cannot choose. An IPv4
    address in IPv6 clothes, as a dual-stack socket shows it, counts as the IPv4 address. What is no IP address (a
    Unix socket's name) counts as itself.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    network = int(ip) >> (128 - _PREFIX_OF_A_SITE) << (128 - _PREFIX_OF_A_SITE)
    return f"{ipaddress.IPv6Address(network)}/{_PREFIX_OF_A_SITE}"
