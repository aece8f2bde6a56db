"""The board of one test: taken, made as new as the test asks for, looked at afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from harness.bench.held_board import Fresh, HeldBoard
from harness.board.handle import able
from harness.device import CAPABILITIES
from harness.errors import HarnessError
from harness.firmware.build import Build, find_build
from pytest_wsdevice.hil import BOARD_FIXTURES
from pytest_wsdevice.markers import needs
from pytest_wsdevice.rig import bench_of, holding_of
from pytest_wsdevice.stage import BlockingStage

if TYPE_CHECKING:
    from pytest_wsdevice.stage import Stage

__all__ = ["HELD", "after_test", "bench_of", "for_test", "further_boards", "holding_of"]

HELD = pytest.StashKey[list[HeldBoard]]()
"""Of a test: the boards it has, the first one first."""


def for_test(item: pytest.Item) -> HeldBoard:
    """Return the board of a test, online, with the build it asks for, and as new as it asks for.

    Where the rig fails one, another one takes its place. The test is skipped where the board cannot do what it needs;
    it fails, without a traceback, where there is no board, or none that comes online.
    """

    def ready(held: HeldBoard) -> None:
        item.stash[HELD] = [held]
        held.up("online")
        _skip_unless_able(item, held)
        ordered = BOARD_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        held.have(_build(item), fresh=_fresh(item), ordered=ordered)

    try:
        with _failing():
            return holding_of(item.config).board(test=item.nodeid, ready=ready)
    finally:
        for held in item.stash.get(HELD, []):  # the last one that was tried
            item.user_properties += [("ws_board", held.id), ("ws_body", held.body)]


def after_test(item: pytest.Item, held: HeldBoard) -> None:
    """Note what the next test should not find, and give further boards back; when nothing of the test uses them."""
    for further in item.stash[HELD][1:]:
        holding_of(item.config).give_back(further)
    if item.get_closest_marker("ws_destructive") is not None:
        held.board.bring_up.fell_back("off")
        held.unsettled = True


def further_boards(item: pytest.Item, stage: Stage | BlockingStage) -> Callable[..., Any]:
    """Return what takes further boards; `after_test` gives them back. One that cannot be had is given back at once."""
    holding = holding_of(item.config)
    has = item.stash[HELD]
    lock = threading.Lock()

    def taken(chip: str | None, caps: tuple[str, ...], given_up: threading.Event) -> HeldBoard:
        with _failing():
            held = holding.board(chip, caps, test=item.nodeid, besides=has, ready=lambda held: held.have(None))
        with lock:
            if given_up.is_set():
                holding.give_back(held)
            else:
                has.append(held)
        return held

    async def take_in_thread(chip: str | None = None, *caps: str) -> Any:
        # in a thread: to come online it needs the gateway of the test, which lives in this loop
        given_up = threading.Event()
        try:
            held = await asyncio.get_running_loop().run_in_executor(None, taken, chip, caps, given_up)
        except asyncio.CancelledError:
            with lock:
                given_up.set()
            raise
        return stage.add_board(held, holding.front)

    def take(chip: str | None = None, *caps: str) -> Any:
        return stage.add_board(taken(chip, caps, threading.Event()), holding.front)

    return take if isinstance(stage, BlockingStage) else take_in_thread


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Fail the test with the words of an error of the harness alone: a traceback into the harness says nothing."""
    told = ""
    try:
        yield
    except HarnessError as error:
        verdict = getattr(error, "verdict", "")
        told = f"verdict: {verdict}\n{error}" if verdict else str(error)
    if told:
        pytest.fail(told, pytrace=False)


def _skip_unless_able(item: pytest.Item, held: HeldBoard) -> None:
    can = able(held.capabilities, held.verbs)
    missing = [need for need in needs(item) if need in CAPABILITIES and need not in can]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}, which {held.id} cannot be asked for")


def _build(item: pytest.Item) -> Build | None:
    marker = item.get_closest_marker("ws_build")
    return None if marker is None else find_build(item.path.parent / marker.args[0])


def _fresh(item: pytest.Item) -> Fresh:
    marker = item.get_closest_marker("ws_fresh")
    fresh: Fresh = "" if marker is None else marker.args[0]
    return fresh
