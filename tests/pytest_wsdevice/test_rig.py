"""What a process keeps of its rig, and what workers tell the controller."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_wsdevice import rig
from tests.harness.bench.benches import a_bench


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The configuration of a run that asks for no boards; with ``workerinput`` it is a worker's."""
    given = SimpleNamespace(bench="", markexpr="")
    monkeypatch.setattr(rig, "options_of", lambda _: given)
    config = SimpleNamespace(stash=pytest.Stash(), given=given)
    config.getoption = lambda name, default=None: getattr(given, name, default)
    rig.check_rig(config)
    return config


def test_a_run_that_asks_for_no_boards(config: Any):
    """It has no rig, and whoever wants one is told how; its end is an end of nothing, however often."""
    with pytest.raises(pytest.UsageError, match="boards are touched with -m hil only"):
        rig.bench_of(config)
    for _ in range(2):
        rig.finish(config)
        rig.let_go(config)

    assert rig.remarks(config) == []


def test_workers_are_told_the_rig(config: Any, tmp_path: Path):
    """They have the same one, without a file."""
    bench = a_bench(tmp_path)
    config.given.markexpr = "hil"
    config.stash = pytest.Stash()
    config.stash[rig._BENCH] = bench
    workerinput: dict[str, Any] = {}
    rig.tell_worker(config, workerinput)
    config.stash = pytest.Stash()
    config.workerinput = workerinput
    rig.check_rig(config)

    assert rig.bench_of(config) == bench


def test_remarks_of_workers(config: Any):
    """They go to the controller, which shows the last ones of all."""
    config.workerinput, config.workeroutput = {}, {}
    config.stash[rig._REMARKS].append("b1: unplugged")
    rig.finish(config)
    controller = SimpleNamespace(stash=pytest.Stash())
    controller.stash[rig._REMARKS] = []
    rig.take_remarks(controller, config.workeroutput)  # type: ignore[arg-type]
    rig.take_remarks(controller, {})  # type: ignore[arg-type]
    assert rig.remarks(controller) == ["b1: unplugged"]  # type: ignore[arg-type]

    rig.take_remarks(controller, {"ws_remarks": [str(number) for number in range(30)]})  # type: ignore[arg-type]
    assert rig.remarks(controller) == [str(number) for number in range(10, 30)]  # type: ignore[arg-type]


def test_the_boards_of_a_process_are_given_back_once(config: Any):
    """At the end, whatever else happens."""
    ended: list[tuple[object, ...]] = []
    config.stash[rig._HOLDING] = SimpleNamespace(__exit__=lambda *how: ended.append(how))
    config.stash[rig._VIRTUAL] = SimpleNamespace(close=lambda: ended.append(("virtual",)))
    for _ in range(2):
        rig.finish(config)
        rig.let_go(config)

    assert ended == [(None, None, None), ("virtual",)]
