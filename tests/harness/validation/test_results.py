"""What a run of scenarios leaves behind, while it is written."""

import pytest

from harness.validation.results import Lines, ScenarioResult, to_line

RESULT = ScenarioResult("test_hello.py::test_a[x]", "It is so.", "failed", 0.5, "assert", timeline=({"at": 1.0},))


def test_lines_that_grow(tmp_path):
    """Each line is read once, when it has ended; a file that is not there yet has none."""
    path = tmp_path / "results.jsonl"
    lines = Lines(path)
    assert lines.new() == []
    line = to_line(RESULT)
    with path.open("ab") as file:
        file.write(line + line[:10])
        file.flush()
        assert lines.new() == [RESULT]
        assert lines.new() == []
        file.write(line[10:])
        file.flush()
        assert lines.new() == [RESULT]


def test_to_scenario():
    """As a record has it: with its area, by its file."""
    scenario = RESULT.to_scenario("gateway", "pytest -k test_a")

    assert (scenario.group, scenario.blames, scenario.reproduce) == ("hello", "gateway", "pytest -k test_a")
    assert scenario.bad


@pytest.mark.parametrize(("outcome", "bad"), [("passed", False), ("skipped", False), ("failed", True), ("error", True)])
def test_bad(outcome, bad):
    """What failed, and what could not be carried out."""
    assert ScenarioResult("a", "", outcome, 0.0).bad is bad
