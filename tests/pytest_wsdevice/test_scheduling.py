"""How many workers, and which tests in one of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.bench.bench_file import to_json
from harness.bench.health import Health
from harness.bench.leases import Leases
from pytest_wsdevice import scheduling
from tests.harness.bench.benches import a_bench


class Item:
    """A test with markers."""

    def __init__(self, *markers: Any) -> None:
        self.markers = list(markers)

    def get_closest_marker(self, name: str) -> Any:
        """Return the one of a name."""
        return next((marker for marker in self.markers if marker.name == name), None)

    def add_marker(self, marker: Any) -> None:
        """Take one more."""
        self.markers.append(marker.mark)


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The configuration of a run that asks for boards; ``bench``, ``markexpr`` and ``numprocesses`` may differ."""
    given = SimpleNamespace(bench="virtual:2", markexpr="hil", numprocesses=None, builds=())
    monkeypatch.setattr(scheduling, "options_of", lambda _: given)
    monkeypatch.setattr("pytest_wsdevice.rig.options_of", lambda _: given)
    config = SimpleNamespace(stash=pytest.Stash(), given=given)
    config.getoption = lambda name, default=None: getattr(given, name, default)
    return config


def test_tests_of_one_build():
    """They are of one group, unless they are of another one already."""
    build, own = pytest.mark.ws_build("next").mark, pytest.mark.xdist_group("own").mark
    items: list[Any] = [Item(build), Item(build, own), Item()]
    scheduling.group_by_build(items)

    groups = [[mark.args[0] for mark in item.markers if mark.name == "xdist_group"] for item in items]
    assert groups == [["ws_build next"], ["own"], []]


@pytest.mark.parametrize("workers", [None, 0, 1, 2, "auto"])
def test_workers_that_can_be(config: Any, workers: Any):
    """One for each board, at most."""
    config.given.numprocesses = workers
    scheduling.check_workers(config)


def test_more_workers_than_boards(config: Any):
    """They are refused, but in the workers themselves, and in runs that ask for no boards."""
    config.given.numprocesses = 3
    with pytest.raises(pytest.UsageError, match="got -n 3 with 2 boards; -n auto"):
        scheduling.check_workers(config)

    config.workerinput = {}
    scheduling.check_workers(config)
    del config.workerinput
    config.stash = pytest.Stash()
    config.given.markexpr = ""
    scheduling.check_workers(config)


def test_free_boards(config: Any, tmp_path: Path):
    """Those that are neither held nor in quarantine; virtual ones are the run's own."""
    assert scheduling.count_free_boards(config) == 2

    bench = a_bench(tmp_path)
    (tmp_path / "bench.json").write_bytes(to_json(bench))
    config.given.bench = str(tmp_path / "bench.json")
    assert (scheduling.count_boards(config), scheduling.count_free_boards(config)) == (2, 2)
    Health(bench.state_dir).quarantine("b1", "smoke")
    assert scheduling.count_free_boards(config) == 1
    lease = Leases(bench.lock_dir).take(bench.boards[1])
    assert lease is not None
    with lease:
        assert scheduling.count_free_boards(config) == 0
    assert scheduling.count_boards(config) == 2
