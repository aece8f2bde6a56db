"""Virtual access points: heard, joined, refused, switched off."""

from __future__ import annotations

import pytest

from harness.virtual.access_point import HANDSHAKE_TIMEOUT, NO_AP_FOUND, AccessPoint, Joined, join, scan


def test_scan():
    """Those that are on are heard, the strongest first; the password is not told."""
    points = [AccessPoint("far", "secret12", rssi=-80), AccessPoint("near"), AccessPoint("off", reachable=False)]

    assert [point["ssid"] for point in scan(points)] == ["near", "far"]
    assert [point["authmode"] for point in scan(points)] == [0, 3]
    assert "secret12" not in str(scan(points))


@pytest.mark.parametrize(
    ("ssid", "password", "outcome"),
    [
        ("lab", "secret12", Joined("192.168.4.2")),
        ("lab", "wrong", HANDSHAKE_TIMEOUT),
        ("lab", "", HANDSHAKE_TIMEOUT),
        ("open", "anything", Joined("127.0.0.1")),
        ("off", "", NO_AP_FOUND),
        ("none", "", NO_AP_FOUND),
    ],
)
def test_join(ssid: str, password: str, outcome: Joined | int):
    """A device is let in, or told the reason of ESP-IDF."""
    points = [
        AccessPoint("lab", "secret12", address="192.168.4.2"),
        AccessPoint("open"),
        AccessPoint("off", reachable=False),
    ]

    assert join(points, ssid, password) == outcome


def test_two_of_a_name():
    """Of two with one name, the one whose password it is lets the device in."""
    points = [AccessPoint("lab", "other123"), AccessPoint("lab", "secret12", address="10.0.0.7")]

    assert join(points, "lab", "secret12") == Joined("10.0.0.7")


def test_switching():
    """Who watches is told of each change, and of nothing that is none."""
    point, told = AccessPoint(), []
    detach = point.watch(lambda changed: told.append(changed.reachable))
    point.switch_off()
    point.switch_off()
    point.switch_on()
    detach()
    detach()
    point.switch_off()

    assert told == [False, True]
    assert not point.reachable
