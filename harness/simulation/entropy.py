"""Chance and the clock, as the code under test sees them: tied to a simulation while it runs, and to nothing else.

What is read through ``os``, ``random``, ``secrets``, ``uuid`` and ``time`` is covered. Not covered are names that were
imported out of ``time`` (``from time import time``), ``datetime.now()``, a `random.Random` without a seed of its own,
the order of sets of str, which changes with ``PYTHONHASHSEED``, and of sets of objects that hash by their address.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.simulation.escapes import WAYS_OUT, WayOut
from harness.simulation.executor import Pool
from harness.simulation.processes import OpenFiles, noting

if TYPE_CHECKING:
    from harness.simulation.loop import SimulatedLoop

EPOCH = 1_700_000_000.0
"""What the wall clock says when a simulation begins, in seconds since 1970."""


class Entropy:
    """Puts what a simulation needs in the place of the real thing while it is entered; reusable, not reentrant.

    Other threads keep their clocks and their chance, except for the global random generator, which is one for all.
    Automatic garbage collection is off meanwhile: it would run finalizers at moments that no seed decides.
    """

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self._chance = loop.stream("os.urandom")
        self._global_state = loop.stream("random").getstate()
        self._real: list[tuple[Any, str, Any]] = []
        self._real_state: Any = None
        self._collects = False
        self._file_system = contextlib.ExitStack()

    def __enter__(self) -> None:
        """Take over."""
        if self._loop.sqlite is not None:
            self._file_system.enter_context(self._loop.sqlite.in_force())
        self._collects = gc.isenabled()
        gc.disable()
        self._real_state = random.getstate()
        random.setstate(self._global_state)
        self._replace_chance()
        self._replace_clocks()
        self._watch_files()
        for way in WAYS_OUT:
            self._refuse(way)

    def __exit__(self, *_: object) -> None:
        """Give everything back."""
        self._file_system.close()
        while self._real:
            owner, name, value = self._real.pop()
            setattr(owner, name, value)
        self._global_state = random.getstate()
        random.setstate(self._real_state)
        if self._collects:
            gc.enable()

    def _put(self, owner: Any, name: str, value: Any) -> None:
        if hasattr(owner, name):
            self._real.append((owner, name, getattr(owner, name)))
            setattr(owner, name, value)

    def _put_here(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        """Put a function in the place of another, for this thread alone: the others are in the real world."""
        real, thread = getattr(owner, name), threading.get_ident()

        def here(*args: Any, **kwargs: Any) -> Any:
            return (function if threading.get_ident() == thread else real)(*args, **kwargs)

        self._put(owner, name, here)

    def _replace_chance(self) -> None:
        self._put_here(os, "urandom", self._chance.randbytes)
        self._put_here(random, "_urandom", self._chance.randbytes)  # of SystemRandom, and with it of secrets
        # uuid4 reads os.urandom; uuid1 would ask the system for a time and the machine for its address
        self._put(uuid, "_generate_time_safe", None)
        self._put(uuid, "_last_timestamp", None)
        self._put(uuid, "getnode", lambda: 0x02_00_00_00_00_00)

    def _replace_clocks(self) -> None:
        loop = self._loop
        for name in ("monotonic", "perf_counter"):
            self._put_here(time, name, loop.time)
            self._put_here(time, f"{name}_ns", lambda: int(loop.time() * 1e9))
        self._put_here(time, "time", self._wall)
        self._put_here(time, "time_ns", lambda: int(self._wall() * 1e9))
        self._put_here(time, "clock_gettime", self._clock)
        for name in ("gmtime", "localtime", "ctime"):
            self._put_here(time, name, partial(self._date, getattr(time, name)))
        asctime, strftime = time.asctime, time.strftime
        self._put_here(time, "asctime", lambda date=None: asctime(date or time.localtime()))
        self._put_here(time, "strftime", lambda text, date=None: strftime(text, date or time.localtime()))
        self._put_here(time, "sleep", self._sleep)

    def _wall(self) -> float:
        return EPOCH + self._loop.time() + self._loop.network.here().clock_offset

    def _clock(self, number: int) -> float:
        return self._wall() if number == time.CLOCK_REALTIME else self._loop.time()

    def _date(self, real: Callable[[float], Any], seconds: float | None = None) -> Any:
        return real(self._wall() if seconds is None else seconds)

    def _sleep(self, seconds: float) -> None:
        if Pool.running is None:
            advice = "await asyncio.sleep, or give it to loop.run_in_executor"
            raise self._loop.escape("time.sleep in the loop's thread", advice)
        Pool.running.slept += max(0.0, seconds)

    def _watch_files(self) -> None:
        self._put(os, "open", noting(os.open, OpenFiles.opened))
        self._put(os, "close", noting(os.close, OpenFiles.closed))
        self._put(sqlite3, "connect", noting(sqlite3.connect, OpenFiles.connected))

    def _refuse(self, way: WayOut) -> None:
        def refuse(*_args: Any, **_kwargs: Any) -> Any:
            raise self._loop.escape(way.reached, way.advice)

        self._put_here(way.owner, way.name, refuse)
