"""Replay files: made of a failure, read again, and run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import Misuse
from harness.exploration.replay import examine, read, replay, write

TWIN = "mail-stays-when-acknowledged"


@pytest.fixture(scope="module")
def kept():
    """What is kept of a failure."""
    found = examine("kill_after_write", 1, TWIN)
    assert found is not None
    return found


def test_shrunk(kept):
    """Of the faults that were drawn, those are left that it takes."""
    assert kept.drawn is not None
    assert 1 <= len(kept.schedule.steps) < len(kept.drawn.steps)
    assert kept.schedule.seconds == kept.drawn.seconds


def test_same_again(kept, tmp_path: Path):
    """Out of the file the same happens."""
    path = write(kept, tmp_path / "made" / "for it")
    again = read(path)
    result = replay(again)

    assert again == kept
    assert path.name == f"kill_after_write-1-{TWIN}.json"
    assert result.digest == kept.digest
    assert [str(violation) for violation in result.violations] == kept.violations
    assert "invariant 9" in kept.violations[0]


def test_readable(kept, tmp_path: Path):
    """It has the end of the trace, who waits, and what happened, for people."""
    text = write(kept, tmp_path).read_text()

    assert '"seed": 1' in text
    assert "kill_gateway" in text
    assert '"waiting": [\n' in text
    assert "d0" in "".join(kept.listing)


def test_passes():
    """A seed that does not fail leaves nothing."""
    assert examine("calm", 1) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version":1}'])
def test_no_replay_file(content: str, tmp_path: Path):
    """Anything else is refused, with its name."""
    path = tmp_path / "other.json"
    with pytest.raises(Misuse, match=r"expected a replay file, got .*other.json"):
        read(path)
    path.write_text(content)
    with pytest.raises(Misuse, match=r"expected a replay file, got .*other.json"):
        read(path)
