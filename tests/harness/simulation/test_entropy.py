"""Chance and clocks: from the seed while a simulation runs, and the real ones otherwise."""

from __future__ import annotations

import calendar
import datetime as dt
import gc
import os
import random
import secrets
import socket
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from harness.simulation.entropy import EPOCH
from harness.simulation.loop import SimulatedLoop, run
from tests.harness.simulation.stage import host, sim, simulated


async def everything(loop: SimulatedLoop) -> list[Any]:
    """Whatever gives something else each time."""
    return [
        os.urandom(8),
        secrets.token_hex(8),
        uuid.uuid4(),
        uuid.uuid1(),
        random.random(),
        random.SystemRandom().random(),
        random.getrandbits(64),
        secrets.randbelow(10**9),
        loop.time(),
        time.time(),
        time.time_ns(),
        time.monotonic(),
        time.monotonic_ns(),
        time.perf_counter(),
        time.perf_counter_ns(),
    ]


def test_same_from_the_same_seed():
    """The same seed gives the same, another one something else."""
    first, again, other = run(everything, 1), run(everything, 1), run(everything, 2)

    assert first == again
    assert all(one != another for one, another in zip(first[:8], other[:8], strict=True))


def test_real_again_afterwards():
    """Between and behind the runs of the loop, everything is as it was."""
    names = [
        (os, "urandom"),
        (os, "open"),
        (os, "close"),
        (random, "_urandom"),
        (time, "time"),
        (time, "monotonic"),
        (time, "perf_counter"),
        (time, "sleep"),
        (uuid, "_last_timestamp"),
        (uuid, "getnode"),
    ]
    before = [getattr(owner, name) for owner, name in names]
    state = random.getstate()
    run(everything)

    assert [getattr(owner, name) for owner, name in names] == before
    assert random.getstate() == state
    assert gc.isenabled()
    assert abs(time.time() - dt.datetime.now(dt.UTC).timestamp()) < 60


def test_given_back_after_an_error():
    """An end in anger gives everything back as well."""
    before = os.urandom

    async def main(_: SimulatedLoop) -> None:
        raise ZeroDivisionError

    try:
        run(main)
    except ZeroDivisionError:
        assert os.urandom is before


def test_goes_on_in_the_next_run():
    """A loop that is run again goes on where it was, whatever has been drawn from the real sources meanwhile."""
    whole = SimulatedLoop(3)
    expected = whole.run_until_complete(draw(4))
    whole.close()
    parts = SimulatedLoop(3)
    found = parts.run_until_complete(draw(2))
    random.seed(99)
    random.random()
    found += parts.run_until_complete(draw(2))
    parts.close()

    assert found == expected


async def draw(count: int) -> list[Any]:
    """Some draws."""
    return [(random.random(), os.urandom(4)) for _ in range(count)]


@simulated
async def test_clocks_follow_the_loop():
    """Wall clock and monotonic clock move with the loop's time; a host's wall clock may be wrong."""
    before = time.time(), time.monotonic()
    host("wrong").clock_offset = -3600.0
    sim().run_in_executor(None, int)
    await _sleep(10)

    assert before == (EPOCH, 0.0)
    assert (time.time(), time.monotonic(), time.time_ns()) == (EPOCH + 10, 10.0, int((EPOCH + 10) * 1e9))
    assert await host("wrong").spawn(_wall()) == EPOCH + 10 - 3600


@simulated
async def test_calendar_follows_the_loop():
    """Dates of now are of the simulated wall clock, and those of another moment are what they are."""
    await _sleep(10)

    assert calendar.timegm(time.gmtime()) == time.mktime(time.localtime()) == EPOCH + 10
    assert time.ctime() == time.asctime() == time.ctime(EPOCH + 10)
    assert time.strftime("%Y %j") == "2023 318"
    assert time.gmtime(0).tm_year == time.gmtime(1).tm_year == 1970
    assert time.strftime("%Y", time.gmtime(0)) == time.asctime(time.gmtime(0))[-4:] == "1970"
    assert time.clock_gettime(time.CLOCK_REALTIME) == EPOCH + 10
    assert time.clock_gettime(time.CLOCK_MONOTONIC) == 10


async def _sleep(seconds: float) -> None:
    future = sim().create_future()
    sim().call_later(seconds, future.set_result, None)
    await future


async def _wall() -> float:
    return time.time()


def test_other_threads_are_in_the_real_world():
    """A thread that began before a simulation has its clock, its sleep and its sockets, and does not end it."""
    begin, found = threading.Event(), list[Any]()

    def work() -> None:
        begin.wait(5)
        time.sleep(0.001)
        found.extend((time.monotonic(), time.time(), os.urandom(8)))
        socket.socket().close()

    async def main(_: SimulatedLoop) -> None:
        begin.set()
        thread.join(5)

    thread = threading.Thread(target=work)
    thread.start()
    before = time.monotonic(), time.time()
    run(main)

    assert 0 < found[0] - before[0] < 60
    assert 0 < found[1] - before[1] < 60
    assert found[2] != run(draw_bytes)


async def draw_bytes(_: SimulatedLoop) -> bytes:
    """What a simulation draws first."""
    return os.urandom(8)


@simulated
async def test_no_automatic_collection():
    """Garbage is not collected at chance moments."""
    assert not gc.isenabled()


@simulated
async def test_files_work():
    """Files are opened and closed as ever."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "file"
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x")
        os.close(descriptor)
        assert file.read_bytes() == b"x"
