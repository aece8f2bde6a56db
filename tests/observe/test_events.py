"""Tests of `gateway.observe.events`."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from gateway.observe import events
from gateway.observe.events import DeviceOffline, Event, Observers, PongSent

EVENTS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]


def test_observers_are_called_in_the_order_they_were_added():
    """Each sees every record, the first one first."""
    seen: list[tuple[str, Event]] = []
    observers = Observers([lambda event: seen.append(("first", event)), lambda event: seen.append(("second", event))])
    observers.add(lambda event: seen.append(("third", event)))
    pong, offline = PongSent(device="a"), DeviceOffline(device="a")

    observers.emit(pong)
    observers.emit(offline)

    assert seen == [(name, event) for event in (pong, offline) for name in ("first", "second", "third")]


def test_without_observers_nothing_happens():
    """Emitting needs nobody to look."""
    Observers().emit(PongSent())


def test_observer_sees_nothing_from_before_it_was_added():
    """There is no history."""
    observers = Observers()
    seen: list[Event] = []
    observers.emit(PongSent())

    observers.add(seen.append)

    assert seen == []


def test_removed_observer_sees_nothing_more():
    """Only the very object is removed; one that is not there is no error."""
    seen: list[Event] = []
    other: list[Event] = []
    observers = Observers()
    one, two = seen.append, other.append
    observers.add(one)
    observers.add(two)

    observers.remove(one)
    observers.remove(one)
    observers.emit(PongSent())

    assert (len(seen), len(other)) == (0, 1)


def test_observer_that_raises_is_reported_once_and_left_out(caplog):
    """The others see the record all the same, and what happened is not disturbed."""
    seen: list[Event] = []
    calls = 0

    def broken(_event: Event) -> None:
        nonlocal calls
        calls += 1
        raise ValueError("broken observer")

    observers = Observers([broken, seen.append])

    observers.emit(PongSent())
    observers.emit(PongSent())

    assert (calls, len(seen)) == (1, 2)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "PongSent" in record.getMessage()
    assert "is left out from now on" in record.getMessage()


def test_cancellation_and_exit_are_not_swallowed():
    """Only exceptions are an observer's own; what ends a task or the process goes through."""
    for error in (asyncio.CancelledError, KeyboardInterrupt):

        def stop(_event: Event, error: type[BaseException] = error) -> None:
            raise error

        with pytest.raises(error):
            Observers([stop]).emit(PongSent())


def test_observer_may_add_and_remove_while_it_is_called():
    """A change takes effect with the next record."""
    seen: list[str] = []
    observers = Observers()

    def late(_event: Event) -> None:
        seen.append("late")

    def once(_event: Event) -> None:
        seen.append("once")
        observers.remove(once)
        observers.add(late)

    observers.add(once)
    observers.emit(PongSent())
    assert seen == ["once"]

    observers.emit(PongSent())

    assert seen == ["once", "late"]


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_records_are_frozen_facts(kind):
    """A record cannot be changed, has only plain fields, each without a body or token, and says what it means."""
    plain = {"str", "int", "float", "bool"}
    hints = {key: hint for parent in kind.__mro__ for key, hint in vars(parent).get("__annotations__", {}).items()}

    assert kind.__struct_config__.frozen
    assert set(hints.values()) <= plain
    assert not set(hints) & {"body", "payload", "text", "token", "query", "headers", "key"}
    assert inspect.getdoc(kind)


def test_records_know_no_device_before_there_is_one():
    """Device and session are empty unless they are given."""
    assert (PongSent().device, PongSent().session) == ("", "")
    with pytest.raises(AttributeError):
        PongSent().device = "a"  # type: ignore[misc] - what is tested
