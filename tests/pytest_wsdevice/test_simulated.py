"""Tests in virtual time: seeds as items, who is simulated, and getting on with others who choose loops."""

from __future__ import annotations

import pytest

from tests.pytest_wsdevice.conftest import Run

SEEDED = """
import asyncio, random
import pytest

drawn = {}

@pytest.mark.asyncio
@pytest.mark.ws_seeds(3)
async def test_seeded(ws_device):
    loop = asyncio.get_running_loop()
    await asyncio.sleep(300)
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")
    drawn[loop.seed] = random.random()

@pytest.mark.asyncio
async def test_other():
    assert not hasattr(asyncio.get_running_loop(), "seed")

def test_drawn():
    print("drawn", sorted(drawn), len({*drawn.values()}))
"""


def test_marker(run: Run):
    """Each seed is an item, in virtual time, although nothing else of the run is; each draws differently."""
    result = run(SEEDED, "-v", "-s")

    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines([f"*test_it.py::test_seeded[[]seed{seed}[]] *" for seed in (1, 2, 3)])
    result.stdout.fnmatch_lines(["*drawn [[]1, 2, 3[]] 3*"])


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        (("--ws-seeds=2",), ["test_both[seed1-a]", "test_both[seed2-a]", "test_one[seed1]", "test_one[seed2]"]),
        (("--ws-seed=7",), ["test_both[a]", "test_one"]),
        (("--ws-seed=7", "--ws-seeds=2"), ["test_both[a]", "test_one"]),
        (("--ws-network=sim",), ["test_both[seed1-a]", "test_both[seed2-a]", "test_both[seed3-a]", "test_one"]),
        (("--ws-network=tcp",), ["test_both[a]", "test_one"]),
    ],
)
def test_options(run: Run, arguments: tuple[str, ...], ids: list[str]):
    """The command line goes before the marker; a single seed is not in the ids; over sockets there are none."""
    test = """
import pytest
pytestmark = pytest.mark.asyncio

@pytest.mark.ws_seeds(3)
@pytest.mark.parametrize("kind", ["a"])
async def test_both(ws_gateway, kind):
    pass

async def test_one(ws_gateway):
    pass

def test_plain():
    pass
"""
    result = run(test, "--collect-only", "-q", *arguments)

    assert [line.partition("::")[2] for line in result.outlines if "::" in line] == [*ids, "test_plain"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--ws-seeds=0",), "--ws-seeds: expected a whole number, 1 or more, got 0 (command line)"),
        (("--ws-seed=-1",), "--ws-seed: expected a whole number, 0 or more, got -1"),
        (("--ws-seeds=2", "--ws-network=tcp"), "--ws-seeds is for simulated tests; leave out --ws-network tcp"),
        (("--ws-seed=2", "--ws-gateway-url=ws://h/"), "cannot reach the gateway at --ws-gateway-url"),
    ],
)
def test_wrong_option(run: Run, arguments: tuple[str, ...], words: str):
    """A value that is none, and seeds where nothing is simulated, end the run."""
    result = run("def test_it():\n    pass\n", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words}*"])


@pytest.mark.parametrize(
    ("marker", "kind", "words"),
    [
        ("ws_seeds", "async ", "expected a number of seeds, 1 or more"),
        ("ws_seeds(0)", "async ", "expected a number of seeds, 1 or more"),
        ("ws_seeds(count=2)", "async ", "expected a number of seeds, 1 or more"),
        ("ws_seeds(2)", "", "expected an async test"),
    ],
)
def test_wrong_marker(run: Run, marker: str, kind: str, words: str):
    """A marker that is used wrongly ends the run before any test."""
    result = run(f"import pytest\n\n@pytest.mark.asyncio\n@pytest.mark.{marker}\n{kind}def test_it():\n    pass\n")

    assert result.ret != pytest.ExitCode.OK
    assert words in result.stdout.str() + result.stderr.str()
    result.assert_outcomes(errors=result.parseoutcomes().get("errors", 0))


def test_loop_of_a_module(run: Run):
    """A loop that outlives its test would carry the state of one seed into the next: it is refused."""
    test = """
import pytest

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.ws_seeds(2)
async def test_it():
    pass
"""
    result = run(test)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*expected a test with an event loop of its own*loop_scope='function'*"])


def test_conftest_that_chooses_loops(run: Run):
    """A conftest's own hook is asked first; for what it leaves to us it returns None, or what `loop_factories` does."""
    conftest = """
import asyncio

class Loop(asyncio.SelectorEventLoop):
    pass

def pytest_asyncio_loop_factories(config, item):
    if "theirs" in item.name:
        return {"one": Loop, "two": Loop}
    from pytest_wsdevice.simulated import loop_factories
    return loop_factories(item) if "asked" in item.name else None
"""
    test = """
import asyncio
import pytest
pytestmark = pytest.mark.asyncio

async def test_theirs():
    assert type(asyncio.get_running_loop()).__name__ == "Loop"

@pytest.mark.ws_seeds(2)
async def test_asked(ws_device):
    assert asyncio.get_running_loop().seed in {1, 2}

@pytest.mark.ws_seeds(2)
async def test_left_to_us(ws_device):
    assert asyncio.get_running_loop().seed in {1, 2}
"""
    run(test, other={"conftest": conftest}).assert_outcomes(passed=6)


def test_without_pytest_asyncio(run: Run):
    """Without pytest-asyncio the marker breaks nothing that does not need it."""
    test = """
import pytest

@pytest.mark.skip
@pytest.mark.ws_seeds(2)
async def test_it():
    pass

def test_other():
    pass
"""
    run(test, "-p", "no:asyncio", settings="").assert_outcomes(passed=1, skipped=1)


def test_by_default(run: Run):
    """Async tests are simulated, unless they say that they need sockets; plain ones are not."""
    test = """
import asyncio, socket
import pytest

@pytest.mark.asyncio
async def test_simulated(ws_device):
    await asyncio.sleep(3000)

@pytest.mark.asyncio
@pytest.mark.ws_needs("kill_gateway")
async def test_fault_of_the_simulation(ws_faults, ws_device):
    await ws_faults.kill_gateway()

@pytest.mark.asyncio
@pytest.mark.ws_needs("tcp")
async def test_needs_sockets(ws_device):
    socket.socket().close()

def test_plain(ws_device):
    socket.socket().close()

@pytest.mark.asyncio
async def test_others():
    socket.socket().close()
"""
    run(test, "-rs").assert_outcomes(passed=5)
    run(test, "--ws-network=sim").assert_outcomes(passed=4, skipped=1)
    run(test, "--ws-network=tcp", "-k", "not test_simulated").assert_outcomes(passed=3, skipped=1, deselected=1)


def test_reaches_for_the_real_world(run: Run):
    """A test that does without saying so is told what to say."""
    test = """
import socket
import pytest

@pytest.mark.asyncio
async def test_it(ws_device):
    socket.socket()
"""
    result = run(test)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*a socket would leave the simulation*", '*says @pytest.mark.ws_needs("tcp")*'])
