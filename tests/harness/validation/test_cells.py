"""Which builds are tried on which boards, in parallel, and again where the fault is not theirs."""

import sys
import textwrap
import threading
from pathlib import Path

import msgspec
import pytest

from harness.bench.bench_file import Bench, BoardConfig, NetworkConfig
from harness.bench.health import Health
from harness.errors import Misuse
from harness.validation.cells import Cells, Planned, candidates, name_of, unique
from harness.validation.errors import CellFailed
from harness.validation.job import Job
from harness.validation.progress import Remark
from tests.harness.validation.cells import cell

BOARDS = tuple(BoardConfig(id=name, chip="esp32s3", mac=f"02:00:00:00:00:0{n}") for n, name in enumerate("abc"))
BENCH = Bench("lab", "", "", NetworkConfig(), BOARDS)

PROCESS = """
import json, sys
job = json.loads(sys.stdin.readline())
said = job["build"].split(",")
cell = json.loads('''CELL''')
cell["verdict"] = dict(pair.split("=") for pair in said if "=" in pair).get(job["board"], "pass")
cell["board"]["id"] = job["board"]
if "refuse" in said:
    print(json.dumps({"type": "refused", "text": "no such scenario"}))
elif "die" in said:
    sys.exit("something broke")
elif "wait" in said:
    sys.stdin.read()
else:
    print(json.dumps({"type": "stage", "what": "working"}))
    print(json.dumps({"type": "finished", "cell": cell, "secrets": ["psk-of-lab"]}))
"""


@pytest.fixture
def heard():
    """What was told."""
    return []


@pytest.fixture
def cells(heard):
    """Cells whose processes do as their build says: ``a=rig`` is a fault of the rig on board a."""
    code = textwrap.dedent(PROCESS).replace("CELL", msgspec.json.encode(cell()).decode())
    return Cells(lambda *told: heard.append(told), [sys.executable, "-c", code])


def planned(build, *boards):
    """A cell that is to be."""
    return Planned(Job(build, build, BENCH, boards[0]), boards)


def test_each_cell_in_the_order_of_the_plan(cells):
    """Whatever ends first."""
    found = cells.run([planned("x", "a"), planned("y", "b"), planned("z", "a")])

    assert [one.board.id for one in found] == ["a", "b", "a"]
    assert {one.verdict for one in found} == {"pass"}
    assert cells.secrets == {"psk-of-lab"}


@pytest.mark.parametrize("fault", ["rig", "network"])
def test_again_on_another_board(cells, heard, fault):
    """What is not the build's fault is tried again, and the attempt is shown."""
    (found,) = cells.run([planned(f"a={fault}", "a", "b")])

    assert (found.verdict, found.board.id) == ("pass", "b")
    assert [(one.board, one.verdict) for one in found.attempts] == [("a", fault)]
    assert any(isinstance(event, Remark) and "another board" in event.text for _, _, event in heard)


def test_again_on_the_same_board(cells, heard):
    """Where there is no other; a second fault is the verdict."""
    (found,) = cells.run([planned("a=rig", "a")])

    assert (found.verdict, len(found.attempts)) == ("rig", 1)
    assert any(isinstance(event, Remark) and "no other" in event.text for _, _, event in heard)


@pytest.mark.parametrize("fault", ["firmware", "gateway"])
def test_never_again(cells, fault):
    """A build that is not good must not get a second chance."""
    (found,) = cells.run([planned(f"a={fault}", "a", "b")])

    assert (found.verdict, found.board.id, found.attempts) == (fault, "a", ())


def test_refused(cells):
    """What cannot be done is the caller's, and ends all others."""
    with pytest.raises(Misuse, match="no such scenario"):
        cells.run([planned("refuse", "a"), planned("wait", "b")])


def test_process_that_dies(cells):
    """It is told with what it said last."""
    with pytest.raises(CellFailed, match="something broke"):
        cells.run([planned("die", "a")])


def test_no_two_cells_on_one_board_at_once(heard):
    """A board is one process's at a time."""
    running, most, lock = set(), [], threading.Lock()

    class Counted(Cells):
        def _once(self, job):
            with lock:
                assert job.board not in running
                running.add(job.board)
                most.append(len(running))
            try:
                return super()._once(job)
            finally:
                with lock:
                    running.discard(job.board)

    code = textwrap.dedent(PROCESS).replace("CELL", msgspec.json.encode(cell()).decode())
    counted = Counted(lambda *told: heard.append(told), [sys.executable, "-c", code])
    counted.run([planned("x", "a", "b"), planned("y", "a", "b"), planned("z", "b", "a")])

    assert max(most) == 2


def test_nothing_planned(cells):
    """Nothing is run."""
    assert cells.run([]) == ()


def test_candidates(tmp_path):
    """Of the chip, of those that were named; the healthiest first, those in quarantine last."""
    health = Health(str(tmp_path))
    health.quarantine("a", "burnt")
    health.rig_fault("b", "cable")

    assert candidates(BOARDS, health, "esp32s3") == ("c", "b", "a")
    assert candidates(BOARDS, health, "esp32s3", ["a", "b"]) == ("b", "a")
    assert candidates(BOARDS, None, "esp32s3") == ("a", "b", "c")
    assert candidates(BOARDS, health, "esp32c3") == ()


def test_names():
    """A build is called as its folder, or its project; no two are called the same."""
    assert name_of(Path("kettle/build")) == name_of(Path("kettle")) == "kettle"
    assert unique(["kettle", "lamp", "kettle"]) == ("kettle", "lamp", "kettle (2)")
