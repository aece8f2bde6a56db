"""What happens later."""

from __future__ import annotations

import threading
import time

from harness.virtual.timers import Timers


def test_calls_in_order():
    """What is due first is called first, not before its time; at the end the thread is gone."""
    timers, called, done = Timers("test"), [], threading.Event()
    began = time.monotonic()
    timers.call_in(0.06, lambda: (called.append("late"), done.set()))
    timers.call_in(0.02, lambda: called.append("early"))
    timers.call_in(0, lambda: called.append("now"))

    assert done.wait(5)
    assert time.monotonic() - began >= 0.06
    assert called == ["now", "early", "late"]
    assert timers.close()


def test_sooner_than_what_waits():
    """What is due before the rest is called in its time, also where the thread waits for the rest already."""
    timers, started, done = Timers("test"), threading.Event(), threading.Event()
    timers.call_in(0, started.set)
    timers.call_in(60, done.set)
    assert started.wait(5)
    time.sleep(0.02)  # for the thread to wait again
    timers.call_in(0, done.set)

    assert done.wait(5)
    assert timers.close()


def test_close_forgets():
    """What was not due is not called any more, nor is what comes after."""
    timers, called = Timers("test"), []
    timers.call_in(0.05, lambda: called.append(1))

    assert timers.close()
    timers.call_in(0, lambda: called.append(2))
    assert timers.close()
    assert called == []


def test_close_without_a_call():
    """Its thread has never started then."""
    assert Timers("test").close()


def test_close_from_its_own_thread():
    """What it calls may close it; the thread ends with that call."""
    timers, done = Timers("test"), threading.Event()
    timers.call_in(0, lambda: (timers.close(), done.set()))

    assert done.wait(5)
    assert timers.close()
