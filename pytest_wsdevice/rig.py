"""The rig of a run, and the boards this process holds of it.

The boards of ``--ws-bench virtual:3`` are served by one process for all workers of pytest-xdist: the controller starts
it, and tells them. Each process leases its boards when a test first asks for them, and keeps them to the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_wsdevice.hil import asks_for_boards
from pytest_wsdevice.options import options_of

if TYPE_CHECKING:
    from harness.bench.bench_file import Bench
    from harness.bench.holding import Holding
    from harness.bench.virtual_bench import VirtualRig

NO_RIG = (
    "-m hil runs tests on boards, and there is no rig: --ws-bench bench.toml names one ('wsdevice boards scan' helps "
    "to write it); to try it out without any board: --ws-bench virtual:3"
)
_TOLD, _REMARKED = "ws_bench", "ws_remarks"  # what the controller tells the workers of pytest-xdist, and is told
_SHOWN = 20  # remarks on what was tried again, in the summary

_BENCH: pytest.StashKey[Bench] = pytest.StashKey()
_VIRTUAL: pytest.StashKey[VirtualRig] = pytest.StashKey()
_HOLDING: pytest.StashKey[Holding] = pytest.StashKey()
_REMARKS = pytest.StashKey[list[str]]()


def check_rig(config: pytest.Config) -> None:
    """Look whether the run has the rig it asks for, before any test is looked at.

    Raises:
        pytest.UsageError: it has none, or the bench file has faults.
    """
    config.stash[_REMARKS] = []
    if not asks_for_boards(config) or is_worker(config):
        return
    given = options_of(config).bench
    if not given:
        raise pytest.UsageError(NO_RIG)
    from harness.errors import HarnessError  # noqa: PLC0415 - who asks for no boards loads nothing of them

    try:
        from harness.bench import holding  # noqa: F401, PLC0415 - what boards need may not be installed
        from harness.bench.virtual_bench import chips_of, is_virtual  # noqa: PLC0415

        if is_virtual(given):
            chips_of(given)
        else:
            bench_of(config)
    except HarnessError as error:
        raise pytest.UsageError(f"--ws-bench: {error}") from None


def bench_of(config: pytest.Config) -> Bench:
    """Return the rig of the run; virtual boards are started at the first call.

    Raises:
        pytest.UsageError: the run asks for no boards.
        RigFailed: virtual boards did not start.
    """
    if not asks_for_boards(config):
        raise pytest.UsageError("boards are touched with -m hil only: pytest -m hil --ws-bench bench.toml")
    if _BENCH not in config.stash:
        config.stash[_BENCH] = _told(config) if is_worker(config) else _opened(config)
    return config.stash[_BENCH]


def holding_of(config: pytest.Config) -> Holding:
    """Return the boards that this process holds; none yet, at the first call."""
    if _HOLDING not in config.stash:
        from harness.bench.holding import Holding, builds_for  # noqa: PLC0415

        bench = bench_of(config)
        directory = config._tmp_path_factory.mktemp("ws-boards")  # type: ignore[attr-defined]  # noqa: SLF001
        builds = builds_for(bench, options_of(config).builds, directory)
        config.stash[_HOLDING] = Holding(bench, directory, builds, tell=config.stash[_REMARKS].append).__enter__()
    return config.stash[_HOLDING]


def let_go(config: pytest.Config) -> None:
    """End what was started; to be called at the end of the run, whatever happened. Idempotent."""
    virtual = config.stash.get(_VIRTUAL, None)
    if virtual is not None:
        del config.stash[_VIRTUAL]
        virtual.close()


def tell_worker(config: pytest.Config, workerinput: dict[str, Any]) -> None:
    """Tell a worker of pytest-xdist what the rig is; called in the controller, before the worker starts."""
    if asks_for_boards(config):
        from harness.bench.bench_file import to_json  # noqa: PLC0415

        workerinput[_TOLD] = to_json(bench_of(config)).decode()


def finish(config: pytest.Config) -> None:
    """Give the boards back, and leave the remarks of a worker to the controller."""
    holding = config.stash.get(_HOLDING, None)
    if holding is not None:
        del config.stash[_HOLDING]
        holding.__exit__(None, None, None)
    if is_worker(config):
        workeroutput: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        workeroutput[_REMARKED] = config.stash[_REMARKS]


def take_remarks(config: pytest.Config, workeroutput: dict[str, Any]) -> None:
    """Take the remarks of a worker that has ended."""
    config.stash[_REMARKS] += workeroutput.get(_REMARKED, [])


def remarks(config: pytest.Config) -> list[str]:
    """Return what was tried again in this process, in words; the last ones."""
    return config.stash[_REMARKS][-_SHOWN:]


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def _told(config: pytest.Config) -> Bench:
    from harness.bench.bench_file import from_json  # noqa: PLC0415

    workerinput: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]
    return from_json(workerinput[_TOLD].encode())


def _opened(config: pytest.Config) -> Bench:
    from harness.bench.bench_file import from_json  # noqa: PLC0415
    from harness.bench.bench_loading import load  # noqa: PLC0415
    from harness.bench.virtual_bench import VirtualRig, is_virtual  # noqa: PLC0415

    given = options_of(config).bench
    if given.endswith(".json"):  # of a process that has opened the bench, and runs us
        return from_json(Path(given).read_bytes())
    if not is_virtual(given):
        return load(Path(given))
    rig = VirtualRig(given)
    rig.start()
    config.stash[_VIRTUAL] = rig
    return rig.bench
