"""Which board is chosen, and what is said when none is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.bench.bench_file import PowerConfig, to_json
from harness.bench.errors import NoBoardFree, NoSuchBoard, NothingMatches
from harness.bench.health import Health
from harness.bench.leases import Holder, Leases
from harness.bench.selection import choose, free_boards, matching
from harness.errors import Misuse
from tests.harness.bench.benches import a_bench, a_board

ROOT = Path(__file__).parents[3]
ELSEWHERE = Holder(123, "ann", "lab", "gw1")


class Rig:
    """A bench with its leases and histories, and somebody else who uses it."""

    def __init__(self, directory, *boards):
        self.bench = a_bench(directory, *boards)
        self.leases = Leases(self.bench.lock_dir)
        self.others = Leases(self.bench.lock_dir, ELSEWHERE)
        self.health = Health(self.bench.state_dir)
        self.waits = []

    def choose(self, *wanted, **options):
        """Choose with what is given."""
        return choose(self.bench, self.leases, self.health, *wanted, **{"sleep": self.waits.append} | options)

    def refusal(self, *wanted, **options):
        """Return the error of a choice, without the time of leases."""
        with pytest.raises((NothingMatches, NoBoardFree)) as refused:
            self.choose(*wanted, **options)
        return type(refused.value), re.sub(r"since [-\d]+ [:\d]+", "since …", str(refused.value))


@pytest.fixture
def rig(tmp_path):
    """Return a rig of three boards."""
    return Rig(
        tmp_path,
        a_board(1, caps=["wifi", "psram:8M"]),
        a_board(2, "esp32c3", caps=["wifi"]),
        a_board(3, "esp32", power=PowerConfig(kind="en")),
    )


def test_first(rig):
    """Among equals the first of the file is taken; the next choice gets the next."""
    assert [rig.choose().board.id, rig.choose().board.id, rig.choose().board.id] == ["b1", "b2", "b3"]


@pytest.mark.parametrize(
    ("wanted", "options", "chosen"),
    [
        (["esp32c3"], {}, "b2"),
        (["ESP32-C3"], {}, "b2"),
        ([None, ["power"]], {}, "b3"),
        ([None, ["wifi", "psram:4M"]], {}, "b1"),
        ([], {"ids": ["b3", "b2"]}, "b2"),
    ],
)
def test_what_is_asked_for(rig, wanted, options, chosen):
    """By chip, by capabilities, by name."""
    assert rig.choose(*wanted, **options).board.id == chosen


def test_fewest_faults(rig):
    """The board that has failed least of late is preferred."""
    rig.health.rig_fault("b1", "port")
    rig.health.rig_fault("b1", "port")
    rig.health.rig_fault("b2", "port")

    assert [rig.choose().board.id for _ in range(3)] == ["b3", "b2", "b1"]


def test_the_test_is_told(rig):
    """Who waits sees what for."""
    rig.choose(test="test_x")

    assert rig.others.holder_of("b1").test == "test_x"


def test_waits(rig):
    """A board that comes free is taken at the next look."""
    lease = rig.others.take(rig.bench.board("b2"))

    chosen = rig.choose("esp32c3", wait=100, sleep=lambda _: lease.release())

    assert chosen.board.id == "b2"


def test_waits_no_longer(rig):
    """When the time is over, it says who has what."""
    lease = rig.others.take(rig.bench.board("b2"), "test_long")

    kind, text = rig.refusal("esp32c3", wait=0)

    assert kind is NoBoardFree
    assert text.splitlines() == [
        "no board was free within 0.0 s that is an ESP32-C3:",
        "  b1: is an ESP32-S3",
        "  b3: is an ESP32",
        "  b2: held by pid 123 (ann@lab, gw1) since …, for test_long",
    ]
    lease.release()


def test_deadline(rig):
    """It waits in small steps, and the last ends at the deadline."""
    lease = rig.others.take(rig.bench.board("b2"))

    with pytest.raises(NoBoardFree):
        rig.choose("esp32c3", wait=0.05, sleep=lambda seconds: (rig.waits.append(seconds), os.sched_yield()))

    assert rig.waits
    assert max(rig.waits) <= 0.05
    lease.release()


def test_can_never_match(rig):
    """What no board has is refused at once, with why not of each."""
    kind, text = rig.refusal("esp32s3", ["boot_log", "power"], wait=1e9)

    assert kind is NothingMatches
    assert text.splitlines() == [
        "no board of the bench can be an ESP32-S3 with boot_log, power:",
        "  b1: has no boot_log, power (it has: wifi, psram:8M, reset)",
        "  b2: is an ESP32-C3, has no boot_log, power (it has: wifi, reset)",
        "  b3: is an ESP32, has no boot_log (it has: power, reset)",
    ]
    assert rig.waits == []


def test_asked_by_name(rig):
    """The boards that were asked for are named; the others were not."""
    kind, text = rig.refusal("esp32", ids=["b1"])

    assert kind is NothingMatches
    assert text.splitlines() == [
        "no board of the bench can be an ESP32 of b1:",
        "  b1: is an ESP32-S3",
        "  b2: not asked for, is an ESP32-C3",
        "  b3: not asked for",
    ]


def test_quarantined(rig):
    """A quarantine does not pass by waiting; how it ends is said."""
    rig.health.quarantine("b2", "nothing helped")

    assert rig.choose(caps=["wifi"], chip="esp32s3").board.id == "b1"
    kind, text = rig.refusal("esp32c3", wait=1e9)

    assert kind is NothingMatches
    assert "b2: quarantined: nothing helped (once it is well: wsdevice boards clear b2 --bench bench.toml)" in text


def test_held_by_oneself(rig):
    """Waiting for a board that one holds oneself would be for ever."""
    with rig.choose("esp32c3", test="test_x"):
        kind, text = rig.refusal("esp32c3", wait=1e9)

    assert kind is NothingMatches
    assert f"b2: held by this process itself, pid {os.getpid()} (" in text


@pytest.mark.parametrize(
    ("wanted", "options", "kind", "why"),
    [
        (["esp8266"], {}, Misuse, "expected one of esp32, esp32s3, esp32c3, got 'esp8266'"),
        ([None, ["wfi"]], {}, Misuse, r"expected a capability of boards, got 'wfi'; did you mean wifi\?"),
        ([], {"ids": ["b9"]}, NoSuchBoard, "expected one of the boards b1, b2, b3, got 'b9'"),
    ],
)
def test_typos(rig, wanted, options, kind, why):
    """A chip, a capability or a name that nobody knows is a mistake, not a board to wait for."""
    with pytest.raises(kind, match=why):
        rig.choose(*wanted, **options)
    with pytest.raises(kind, match=why):
        matching(rig.bench, *wanted, **options)


def test_matching(rig):
    """All that could be it, held or not."""
    rig.choose("esp32c3")
    rig.health.quarantine("b1", "x")

    assert [board.id for board in matching(rig.bench, caps=["wifi"])] == ["b1", "b2"]


def test_free_boards(rig):
    """Neither held nor quarantined."""
    rig.choose("esp32c3")
    rig.health.quarantine("b1", "x")

    assert [board.id for board in free_boards(rig.bench)] == ["b3"]


WORKER = """
import os, sys, time
from pathlib import Path
from harness.bench.bench_file import from_json
from harness.bench.health import Health
from harness.bench.leases import Leases
from harness.bench.selection import choose
bench = from_json(Path(sys.argv[1]).read_bytes())
for _ in range(25):
    with choose(bench, Leases(bench.lock_dir), Health(bench.state_dir), sleep=lambda _: time.sleep(0.001)) as lease:
        mark = Path(sys.argv[1]).with_name(lease.board.id)
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails where another worker has the board, too
        time.sleep(0.001)
        mark.unlink()
"""


def test_more_workers_than_boards(tmp_path):
    """Four processes on two boards: no board is ever had by two of them, and each gets its turns."""
    file = tmp_path / "bench.json"
    file.write_bytes(to_json(a_bench(tmp_path)))
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(file)], cwd=ROOT) for _ in range(4)]
    try:
        assert [worker.wait(20) for worker in workers] == [0, 0, 0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait(10)
