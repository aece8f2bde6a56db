"""pytest-xdist: as many workers as there are free boards, and tests of one build in one worker."""

from __future__ import annotations

import pytest

from pytest_wsdevice import rig
from pytest_wsdevice.hil import asks_for_boards
from pytest_wsdevice.options import options_of


def check_workers(config: pytest.Config) -> None:
    """Refuse more workers than there are boards: the others would wait for a board to the end of the run.

    Raises:
        pytest.UsageError: with how many there are.
    """
    wanted = config.getoption("numprocesses", None)
    if not asks_for_boards(config) or rig.is_worker(config) or not isinstance(wanted, int) or not wanted:
        return
    boards = count_boards(config)
    if wanted > boards:
        raise pytest.UsageError(
            f"expected at most one worker for each board, got -n {wanted} with {boards} boards; -n auto starts as many "
            "as are free"
        )


def count_boards(config: pytest.Config) -> int:
    """Return how many boards the rig has."""
    from harness.bench.virtual_bench import chips_of, is_virtual  # noqa: PLC0415

    given = options_of(config).bench
    return len(chips_of(given)) if is_virtual(given) else len(rig.bench_of(config).boards)


def count_free_boards(config: pytest.Config) -> int:
    """Return how many boards of the rig nobody holds, and none has put into quarantine."""
    from harness.bench.selection import free_boards  # noqa: PLC0415
    from harness.bench.virtual_bench import is_virtual  # noqa: PLC0415

    if is_virtual(options_of(config).bench):
        return count_boards(config)  # they are this run's alone
    return len(free_boards(rig.bench_of(config)))


def group_by_build(items: list[pytest.Item]) -> None:
    """Put tests that ask for a build into one group for ``--dist loadgroup``: each board is flashed less often."""
    for item in items:
        marker = item.get_closest_marker("ws_build")
        if marker is not None and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(f"ws_build {marker.args[0]}"))
