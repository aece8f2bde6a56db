"""The rows of the documentation's tables."""

from __future__ import annotations

from harness.faults.fault_reference import fault_rows, schedule_rows
from harness.faults.schedules import SCHEDULES
from harness.faults.vocabulary import KINDS


def test_faults():
    """Each fault has a row, with its values and their units, and no name of a class."""
    rows = {name: rest for name, *rest in fault_rows()}
    assert list(rows) == [f"`{name}`" for name in KINDS]
    assert rows["`loss`"] == [
        "`chance`: of a segment to be lost",
        "Segments are lost, and TCP sends them anew. *Lasts.*",
        "sim",
    ]
    assert rows["`timeout`"][0] == "`seconds`: seconds to the end, for each connection; 0: not before `heal` (0.0)"
    assert rows["`cut`"] == ["", "Open connections end: FIN at both ends, behind what has arrived.", "sim, tcp"]
    assert rows["`kill_gateway`"][2] == "sim, tcp (a gateway in a process of its own)"
    assert not any(f"`{kind.__name__}`" in text for row in rows.values() for text in row for kind in KINDS.values())


def test_schedules():
    """Each kind of schedule has one, with its sentence."""
    rows = dict(schedule_rows())
    assert list(rows) == [f"`{name}`" for name in SCHEDULES]
    assert all(text.endswith((".", ").")) for text in rows.values())
