"""The weather: which lasting faults are in force, for whom."""

from __future__ import annotations

from harness.faults.vocabulary import Latency, Partition, Timeout, WifiOff
from harness.faults.weather import Weather


def test_clear():
    """At first nothing is in force."""
    sky = Weather().over("a")
    assert sky.get(Latency, "to_gateway") is None
    assert not sky.any(Partition)


def test_for_all():
    """What is on all is on each, those that nobody has named included."""
    weather = Weather()
    weather.add(Latency(0.5, on="a"))
    weather.add(Latency(0.1))
    assert weather.over("a").get(Latency, "to_device") == Latency(0.1)
    assert weather.over("somebody").get(Latency, "to_gateway") == Latency(0.1)


def test_for_one():
    """What is on one is not on others, and does not end what is on all."""
    weather = Weather()
    weather.add(Partition())
    weather.add(Latency(0.5, on="a"))
    assert weather.over("a").any(Latency)
    assert weather.over("a").any(Partition)
    assert not weather.over("b").any(Latency)


def test_directions():
    """Each way has its own; the last one said counts."""
    weather = Weather()
    weather.add(Latency(0.1))
    weather.add(Latency(0.5, direction="to_device"))
    sky = weather.over("a")
    assert sky.get(Latency, "to_gateway") == Latency(0.1)
    assert sky.get(Latency, "to_device") == Latency(0.5, direction="to_device")


def test_end():
    """One kind ends, or all that last; what is no weather is left."""
    weather = Weather()
    weather.add(Latency(0.1))
    weather.add(Partition())
    weather.add(WifiOff())
    weather.end("latency", "")
    assert not weather.over("a").any(Latency)
    assert weather.over("a").any(Partition)

    weather.add(Timeout(on="b"))
    weather.end("", "b")
    assert not weather.over("b").any(Timeout)
    assert not weather.over("b").any(Partition)
    assert weather.over("a").any(Partition)
    assert weather.over("b").any(WifiOff)

    weather.end("", "")
    assert not weather.over("a").any(Partition)
    weather.end("wifi_off", "")
    assert not weather.over("b").any(WifiOff)
