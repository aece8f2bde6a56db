"""The list of boards."""

from __future__ import annotations

import re

from harness.bench.health import Health
from harness.bench.leases import Holder, Leases
from harness.bench.overview import overview
from tests.harness.bench.benches import a_bench, a_board


def test_overview(tmp_path):
    """Who has which, which are out of use, and what went wrong last; nothing is touched."""
    bench = a_bench(tmp_path, a_board(1), a_board(2, "esp32c3", virtual=True), a_board(3, "esp32"))
    health = Health(bench.state_dir, lambda: 1_700_000_000.0)
    health.rig_fault("b2", "the port vanished")
    health.quarantine("b3", "nothing helped")
    with Leases(bench.lock_dir, Holder(123, "ann", "lab", "gw1")).take(a_board(1), "test_x"):
        text = overview(bench)

    lines = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", "<time>", text).splitlines()
    assert [re.split(r" {2,}", line) for line in lines] == [
        ["board", "chip", "MAC", "state", "faults", "last fault"],
        ["b1", "esp32s3", "24:6f:28:aa:bb:01", "held by pid 123 (ann@lab, gw1) since <time>, for test_x", "0"],
        ["b2", "esp32c3 (virtual)", "24:6f:28:aa:bb:02", "free", "0", "<time> the port vanished"],
        ["b3", "esp32", "24:6f:28:aa:bb:03", "quarantined: nothing helped", "0"],
    ]


def test_touches_nothing(tmp_path):
    """A bench whose boards nobody has used yet leaves no files."""
    overview(a_bench(tmp_path))

    assert list(tmp_path.iterdir()) == []
