"""The whole gateway and its devices through every kind of schedule: afterwards all that was promised has come true."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from harness.faults.schedules import SCHEDULES
from harness.simulation.loop import SimulatedLoop, run
from tests.harness.faults.town import Town


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str, seed: int, caplog: pytest.LogCaptureFixture):
    """All are online again, every message has its receipt, and whatever has one has come."""

    async def main(loop: SimulatedLoop) -> Town:
        town = Town(loop, name, seed)
        await town.live()
        return town

    with caplog.at_level(logging.ERROR):
        town = run(main, seed)

    assert town.broken() == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert sum(len(resident.receipted) for resident in town.residents.values()) >= 50
    done = Counter(fault.name for _, fault in town.player.done)
    assert done.total() > 10
    assert not town.player.left_out
    if name in ("kill_after_write", "crash_during_redelivery"):
        assert done["kill_gateway"] > 1
    if name == "partition_during_handover":
        assert done["partition"] > 1


def test_same_seed_same_run():
    """A schedule, played twice, takes the same way, byte for byte."""

    async def main(loop: SimulatedLoop) -> str:
        await Town(loop, "everything_at_once", 3).live()
        return loop.trace.digest()

    logging.disable(logging.CRITICAL)
    try:
        assert run(main, 3) == run(main, 3)
    finally:
        logging.disable(logging.NOTSET)
