"""What a failure in virtual time shows: seed, command, trace, tasks; and that the command shows it again."""

from __future__ import annotations

import shlex

from tests.pytest_wsdevice.conftest import Run

TEST = """
import asyncio, random
import pytest
pytestmark = pytest.mark.asyncio

@pytest.mark.ws_seeds(4)
@pytest.mark.parametrize("word", ["tea time"])
async def test_unlucky(ws_device, word):
    await asyncio.sleep(random.random())
    assert asyncio.get_running_loop().seed != 3, f"drawn {random.random()}"
"""


def test_replay(run: Run):
    """The report has the seed and a command; that runs the item alone, and the same happens."""
    result = run(TEST, "--ws-faulty=second-hello-begins-a-session")

    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- what happened *",
            "*- simulation -*",
            "seed 3; to see it again:",
            "  pytest 'test_it.py::test_unlucky[[]tea time[]]' --ws-seed=3 --ws-faulty=second-hello-begins-a-session",
            "the last * lines of the trace, at *",
            "  * data *",
            "who waits for what:",
            "  *gateway*",
        ]
    )
    (command,) = [line for line in result.outlines if line.startswith("  pytest ")]
    (drawn,) = [line for line in result.outlines if line.startswith("E ") and "drawn" in line]
    again = run(TEST, *shlex.split(command)[1:])
    again.assert_outcomes(failed=1)
    assert drawn in again.outlines


def test_deadlock(run: Run):
    """A test that waits for what can never come says who waits, seeded or not."""
    test = """
import asyncio
import pytest

@pytest.mark.asyncio
async def test_it(ws_stage):
    await asyncio.get_running_loop().create_future()
"""
    result = run(test, "--ws-network=sim")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Deadlock: every task waits*", "seed 0; to see it again:", "who waits for what:"])


def test_passed(run: Run):
    """A test that passes says nothing, and its loop is let go."""
    conftest = """
import gc, weakref
import pytest

loops = []

@pytest.fixture
def look(request):
    loops.append(weakref.ref(request.node.callspec.params["_asyncio_loop_factory"].loop))

def pytest_sessionfinish():
    gc.collect()
    print("alive", sum(loop() is not None for loop in loops), "of", len(loops))
"""
    test = """
import pytest

@pytest.mark.asyncio
@pytest.mark.ws_seeds(3)
async def test_it(ws_device, look):
    pass
"""
    result = run(test, "-s", other={"conftest": conftest})

    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*to see it again*")
    result.stdout.fnmatch_lines(["*alive [01] of 3"])
