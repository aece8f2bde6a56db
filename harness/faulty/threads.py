"""Defects of threads: how many there are, and what becomes of what is handed between them and the loop."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from gateway.config_file import LoadedConfig, load
from gateway.device.session import Session
from gateway.errors import PoolBusy
from gateway.tasks import Tasks
from gateway.workers import Workers
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]

XS_POOL = 5
"""Threads of each connection in xiaozhi-esp32-server."""
REACHES_THE_LOOP = "test_threads.py::test_a_call_from_a_thread_reaches_the_running_loop"
FAILS_WITHOUT_LOOP = "test_threads.py::test_a_call_from_a_thread_without_a_running_loop_fails"
IS_SEEN = "test_threads.py::test_a_failing_call_from_a_thread_is_seen"
JOB_IS_ANSWERED = "test_threads.py::test_a_failing_job_is_answered"

# --- how many -------------------------------------------------------------------------------------------------------


@defect(
    "The pool has five threads, whatever is configured.",
    found_by=(
        "test_threads.py::test_the_pool_has_the_threads_that_are_configured",
        "test_threads.py::test_a_pool_size_that_makes_no_sense_becomes_2",
        "test_threads.py::test_work_over_the_queue_is_answered_with_busy",
    ),
    message="threadpool_max_workers = [13] is not heeded|has not the 2 threads|piles up without limit",
    pain_point=8,
    network="tcp",
)
def pool_of_a_fixed_size() -> Planted:
    make = Workers.__init__

    def init(self: Workers, _max_workers: int, queue: int) -> None:
        make(self, XS_POOL, queue)

    return patch.object(Workers, "__init__", init)


@defect(
    "Each connection has a pool of its own.",
    found_by="test_threads.py::test_idle_devices_cost_no_threads",
    message=r"each device costs threads: 12 idle ones more have \d+ threads more",
    pain_point=8,
    hole=True,
    network="tcp",
)
@contextmanager
def pool_per_connection() -> Iterator[None]:
    make = Session.__init__
    ended = threading.Event()

    def init(self: Session, *arguments: Any) -> None:
        make(self, *arguments)
        for _ in range(XS_POOL):
            threading.Thread(target=ended.wait, daemon=True).start()

    with patch.object(Session, "__init__", init):
        yield
    ended.set()


@defect(
    "The size of the pool is whatever int() makes of it: true is one thread, a million is a million.",
    found_by="test_threads.py::test_a_pool_size_that_makes_no_sense_becomes_2",
    message="threadpool_max_workers = .* was (taken for|not mended)",
    pain_point=8,
    hole=True,
    network="tcp",
)
def pool_of_any_size() -> Planted:
    def load_with_int(path: Path | None, environ: Mapping[str, str]) -> LoadedConfig:
        loaded = load(path, environ)
        meeting = tomllib.loads(path.read_text()).get("meeting", {}) if path else {}
        try:
            size = max(int(meeting.get("threadpool_max_workers", 2)), 0) or 2
        except ValueError:
            size = 2
        config = replace(loaded.config, meeting=replace(loaded.config.meeting, threadpool_max_workers=size))
        return replace(loaded, config=config, warnings=())

    return patch("gateway.config_file.load", load_with_int)


@defect(
    "Work waits for a thread without limit.",
    found_by="test_threads.py::test_work_over_the_queue_is_answered_with_busy",
    message="work for the threads piles up without limit",
    network="tcp",
)
def queue_without_limit() -> Planted:
    make = Workers.__init__

    def init(self: Workers, max_workers: int, _queue: int) -> None:
        make(self, max_workers, 1_000_000)

    return patch.object(Workers, "__init__", init)


# --- between threads and the loop -----------------------------------------------------------------------------------


@defect(
    "The loop for calls from threads is that of the moment when the gateway was made, which does not run.",
    found_by=(REACHES_THE_LOOP, FAILS_WITHOUT_LOOP, IS_SEEN),
    message="a call from a thread did not reach the running loop|its failure is hidden|was never seen",
    pain_point=2,
    network="tcp",
)
@contextmanager
def loop_of_the_maker() -> Iterator[None]:
    with _another_loop() as call_there:

        def call(_: Workers, coroutine: Coroutine[Any, Any, Any], _owner: Tasks) -> Future[Any]:
            return call_there(coroutine)

        with patch.object(Workers, "call_from_thread", call):
            yield


@defect(
    "Where no loop runs, one is guessed, as get_event_loop does: the call is taken, and never run.",
    found_by=FAILS_WITHOUT_LOOP,
    message="a call from a thread after the stop was taken: its failure is hidden",
    pain_point=2,
    hole=True,
    network="tcp",
)
@contextmanager
def loop_is_guessed() -> Iterator[None]:
    real = Workers.call_from_thread
    with _another_loop() as call_there:

        def call(self: Workers, coroutine: Coroutine[Any, Any, Any], owner: Tasks) -> Future[Any]:
            if self._loop is None:
                return call_there(coroutine)
            return real(self, coroutine, owner)

        with patch.object(Workers, "call_from_thread", call):
            yield


@defect(
    "Threads call into a loop that nobody has bound.",
    found_by=(REACHES_THE_LOOP, FAILS_WITHOUT_LOOP, IS_SEEN),
    message="a call from a thread did not reach the running loop|NoneType|was never seen",
    pain_point=10,
    network="tcp",
)
def loop_is_never_bound() -> Planted:
    def call(_: Workers, coroutine: Coroutine[Any, Any, Any], _owner: Tasks) -> Future[Any]:
        loop: Any = None
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, loop)
        finally:
            coroutine.close()

    return patch.object(Workers, "call_from_thread", call)


@defect(
    "Calls from threads are made if there is a loop, and else not, without a word; nobody looks at their exceptions.",
    found_by=(FAILS_WITHOUT_LOOP, IS_SEEN),
    message="its failure is hidden from the thread|was never seen",
    pain_point=10,
    hole=True,
    network="tcp",
)
def calls_fail_in_silence() -> Planted:
    def call(self: Workers, coroutine: Coroutine[Any, Any, Any], _owner: Tasks) -> Future[Any]:
        if self._loop:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        coroutine.close()
        return Future()

    return patch.object(Workers, "call_from_thread", call)


@defect(
    "Nobody waits for what a job in a thread comes to: when it fails, its device waits for ever.",
    found_by=(JOB_IS_ANSWERED, "test_meetings.py::test_a_summarizer_that_fails_is_answered_and_seen"),
    message="the failure of a (job|summarizer) in its thread was never answered",
    pain_point=10,
    hole=True,
)
def failures_of_jobs_vanish() -> Planted:
    run = Workers.run

    async def run_and_forget(self: Workers, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await run(self, work, *arguments)
        except PoolBusy:
            raise
        except Exception:  # noqa: BLE001 - the defect
            return await asyncio.get_running_loop().create_future()

    return patch.object(Workers, "run", run_and_forget)


@contextmanager
def _another_loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Future[Any]]]:
    """Make a loop that does not run; what is called into it never begins."""
    loop = asyncio.new_event_loop()
    called: list[Coroutine[Any, Any, Any]] = []

    def call(coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        called.append(coroutine)
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    yield call
    loop.close()
    for coroutine in called:
        coroutine.close()
