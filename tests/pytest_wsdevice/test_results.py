"""What came of each test, as lines of JSON for the program that runs them."""

from __future__ import annotations

from pathlib import Path

from harness.validation.results import Lines, ScenarioResult
from tests.pytest_wsdevice.conftest import Run

TESTS = '''
import pytest

@pytest.mark.asyncio
async def test_tea(ws_devices):
    """Tea is served.

    And more."""
    kitchen = await ws_devices("kitchen")
    await kitchen.expect("coffee", timeout=0.05)

@pytest.mark.asyncio
async def test_ping(ws_device):
    """A ping is answered."""
    await ws_device.send({"type": "ping"})
    await ws_device.expect("pong")

@pytest.mark.parametrize("cup", ["a"])
def test_no_water(cup):
    pytest.skip("no water")

@pytest.fixture
def broken():
    pytest.fail("verdict: rig\\nno cable", pytrace=False)

def test_no_board(broken):
    """It needs a board."""
'''


def _results(run: Run, tmp_path: Path, *options: str) -> dict[str, ScenarioResult]:
    path = tmp_path / "results.jsonl"
    run(TESTS, "-p", "pytest_wsdevice.results", f"--ws-results={path}", *options)
    found = {result.name.partition("::")[2]: result for result in Lines(path).new()}
    assert all(result.total == len(found) for result in found.values())
    return found


def test_results(run: Run, tmp_path: Path):
    """Name, sentence, outcome, reason, whose fault it is where that is said, and the timeline."""
    found = _results(run, tmp_path)

    assert {name: one.outcome for name, one in found.items()} == {
        "test_tea": "failed",
        "test_ping": "passed",
        "test_no_water[a]": "skipped",
        "test_no_board": "failed",
    }
    tea, ping, board = found["test_tea"], found["test_ping"], found["test_no_board"]
    assert tea.doc == "Tea is served."
    assert "kitchen expected" in tea.message
    assert "/harness/" not in tea.message.replace(" harness/", "")
    assert "harness/receiving.py" in tea.message
    assert tea.failed_at is not None
    assert any(row["kind"] == "frame" for row in tea.timeline)
    assert any('"pong"' in row.get("text", "") for row in ping.timeline)
    assert ping.failed_at is None
    assert found["test_no_water[a]"].message == "no water"
    assert (board.verdict, tea.verdict) == ("rig", None)


def test_only(run: Run, tmp_path: Path):
    """Only the tests that a file names are run; their names are those of the results."""
    first = _results(run, tmp_path)
    only = tmp_path / "only.txt"
    only.write_text(first["test_no_water[a]"].name + "\n")
    (tmp_path / "results.jsonl").unlink()

    assert list(_results(run, tmp_path, f"--ws-only={only}")) == ["test_no_water[a]"]
