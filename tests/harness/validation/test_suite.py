"""The scenarios, in a process of their own."""

import sys
from pathlib import Path

import pytest

from harness.validation.errors import SuiteFailed
from harness.validation.results import ScenarioResult, to_line
from harness.validation.suite import Suite

NAME = "test_hello.py::test_a_second_hello_is_answered_with_the_same_session_id"
LINE = to_line(ScenarioResult("a", "", "passed", 0.1, total=2))


class Played(Suite):
    """A suite whose process is this code; it is told the file for results."""

    code = ""

    def _command(self, results, options):
        return [sys.executable, "-c", self.code, str(results)]


def played(tmp_path: Path, code: str, **options) -> Played:
    """A suite that does this."""
    suite = Played(tmp_path, **options)
    suite.code = f"import sys, time; out = open(sys.argv[1], 'ab', 0); line = {LINE!r}\n{code}"
    return suite


@pytest.mark.slow
def test_with_fake_devices(tmp_path, monkeypatch):
    """Exactly what was named is run, whatever the settings of whoever calls are; a planted defect is found."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    heard = []

    (good,) = Suite(tmp_path / "good", heard.append).without_board([NAME])
    (bad,) = Suite(tmp_path / "bad", faulty="second-hello-begins-a-session").without_board([NAME])

    assert (good.name, good.outcome, heard) == (NAME, "passed", [good])
    assert bad.bad


def test_killed_suite(tmp_path):
    """What was heard before it broke has counted; what it said last is told."""
    heard = []
    suite = played(tmp_path, "out.write(line); sys.exit('no more memory')", heard=heard.append)

    with pytest.raises(SuiteFailed, match="no more memory"):
        suite.without_board(["a"])  # it ends with 1, as pytest does with failures: but pytest writes all results
    assert len(heard) == 1


def test_broken_suite(tmp_path):
    """An internal error is none of a scenario's."""
    with pytest.raises(SuiteFailed, match="ended with 3"):
        played(tmp_path, "print('INTERNALERROR'); sys.exit(3)").without_board(["a"])


def test_silent_suite(tmp_path):
    """One that goes on without a result is ended."""
    with pytest.raises(SuiteFailed, match=r"0\.3 s"):
        played(tmp_path, "out.write(line); time.sleep(60)", silence=0.3).without_board(["a"])


def test_remarks(tmp_path):
    """What had to be tried again in there is told."""
    told = []
    code = """
import pathlib
pathlib.Path(sys.argv[1]).with_suffix(".remarks.json").write_text('["b takes the place of a"]')
out.write(line * 2)
"""

    assert len(played(tmp_path, code, remark=told.append).without_board(["a"])) == 2
    assert told == ["b takes the place of a"]
