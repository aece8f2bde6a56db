"""Taking down frames that nobody is to hear of."""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings

import pytest

from harness.simulation.unwinding import Buried, muted, unwind
from tests.harness.simulation.stage import simulated


def test_muted(caplog: pytest.LogCaptureFixture):
    """Logs, warnings and hooks are silent inside, and as before behind."""
    hook, logger = sys.unraisablehook, logging.getLogger("test")
    with muted():
        logger.critical("not heard")
        warnings.warn("not heard", stacklevel=1)
        assert sys.unraisablehook is not hook
    logger.critical("heard")

    assert caplog.messages == ["heard"]
    assert sys.unraisablehook is hook


@simulated
async def test_stubborn():
    """A coroutine that awaits in its ``finally`` block, or catches everything, is taken down all the same."""
    seen: list[str] = []

    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except Buried:
                seen.append("caught")
            finally:
                await asyncio.sleep(1)

    coroutine = stubborn()
    coroutine.send(None)
    unwind(coroutine)

    assert seen == ["caught"]
    with pytest.raises(RuntimeError, match="cannot reuse"):
        coroutine.send(None)


@simulated
async def test_endless():
    """One that never gives in is left alone after a hundred times."""
    count = 0

    async def endless() -> None:
        nonlocal count
        while count < 1000:
            try:
                await asyncio.Event().wait()
            except BaseException:  # noqa: BLE001 - it is that stubborn
                count += 1

    coroutine = endless()
    coroutine.send(None)
    unwind(coroutine)

    assert count == 100
    count = 1000
    coroutine.close()
