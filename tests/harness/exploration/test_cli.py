"""``wsdevice explore``."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.exploration.cli import explore, progress, table
from harness.exploration.hunting import Run, Tally
from harness.exploration.scenarios import SCENARIOS
from tests.process import environment

TWIN = "both-connections-are-fed"


def test_found_and_seen_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A failure ends it with 1 and leaves a file; that shows it again, with 1 as well, and leaves its timeline."""
    words = ["explore", "--scenario", "handovers", "--seeds", "1", "--jobs", "1", "--faulty", TWIN]

    assert main([*words, "--out", str(tmp_path / "found")]) == 1
    said = capsys.readouterr().out
    (path,) = (tmp_path / "found").iterdir()
    assert re.search(r"handovers, seed 1: invariant 6 at .* behind its notice", said)
    assert f"wsdevice explore --replay {path}" in said
    assert re.search(r"handovers +1 +1 ", said.splitlines()[-1])

    assert main(["explore", "--replay", str(path)]) == 1
    said = capsys.readouterr().out
    assert "what happened" in said
    assert "who waits for what" in said
    assert "invariant 6 at" in said
    assert "another way" not in said
    assert path.with_suffix(".timeline.jsonl").read_text().startswith('{"at":')


def test_nothing_found(tmp_path: Path):
    """It ends with 0, and leaves nothing; time and number of processes are as they are given."""
    out = io.StringIO()
    code = explore(["calm"], minutes=0.02, seeds=None, jobs=1, out=tmp_path / "found", to=out)

    assert code == 0
    assert re.match(r"1 scenarios, seeds from [\d,]+ on, 1 processes\n", out.getvalue())
    assert not (tmp_path / "found").exists()


def test_replay_that_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """With the defect gone it passes, and says that it went another way."""
    main(
        ["explore", "--scenario", "handovers", "--seeds", "1", "--jobs", "1", "--faulty", TWIN, "--out", str(tmp_path)]
    )
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text().replace(TWIN, ""))
    capsys.readouterr()

    assert main(["explore", "--replay", str(path)]) == 0
    said = capsys.readouterr().out
    assert "\nit passes\n" in said
    assert "another way" in said


async def test_interrupted(tmp_path: Path):
    """Ctrl-C ends it in a moment, with its summary, its exit code, and without a traceback or a process left."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "harness", "explore", "--jobs", "2", "--scenario", "calm", "--out", str(tmp_path)),
        env=environment(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        process_group=0,
    )
    assert process.stdout is not None
    async with asyncio.timeout(25):
        while b"runs" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        said, errors = await process.communicate()

    assert process.returncode == 0
    assert b"ending; what runs is waited for" in said
    assert b"calm" in said
    assert errors == b""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scenario", "storm"), "expected one of the scenarios calm"),
        (("--faulty", "nothing"), "expected the name of a faulty twin"),
        (("--replay", "nowhere.json"), "expected a replay file, got nowhere.json: No such file"),
    ],
)
def test_wrong_words(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]):
    """What is not there is refused with 2, before anything begins."""
    assert main(["explore", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("--minutes", "0"), ("--seeds", "-1"), ("--jobs", "x"), ("--seeds", "1", "--list")]
)
def test_wrong_numbers(arguments: tuple[str, ...]):
    """Numbers that are none, and ways that exclude each other."""
    with pytest.raises(SystemExit) as ended:
        main(["explore", *arguments])
    assert ended.value.code == 2


def test_list(capsys: pytest.CaptureFixture[str]):
    """Each scenario has a line."""
    assert main(["explore", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SCENARIOS)


def test_lines():
    """Progress in a line, and a table at the end."""
    tally = Tally()
    for seed in range(1200):
        tally.add(Run("calm", seed, None, "", 0.05, 60.0))
    tally.add(Run("storms", 1, 7, "wrong", 0.5, 60.0))

    assert progress(tally, 83.0) == "  1:23  1,201 runs, 1 failures"
    assert table(tally, ["calm", "storms", "flapping"]).splitlines() == [
        "scenario     runs  failures  ms each",
        "calm        1,200         0       50",
        "storms          1         1      500",
        "flapping        0         0        0",
    ]
