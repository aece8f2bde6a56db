"""The pytest plugin: hook functions only. What they do is in the modules beside this one.

Loading it is cheap: neither the gateway nor a test tool is imported before a test uses one of the fixtures.
"""

from __future__ import annotations

from collections.abc import Generator
from importlib.util import find_spec
from typing import Any

import pytest

from pytest_wsdevice import hil, markers, needs, options, replaying, reporting, rig, scheduling, simulated


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register options and settings."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, look at the rig, register markers, and the fixtures."""
    chosen = options.options_of(config)
    markers.add_markers(config)
    if chosen.faulty or chosen.gateway_config is not None:
        from pytest_wsdevice import stage  # noqa: PLC0415 - it loads a gateway

        stage.check_options(chosen)
    if find_spec("pytest_asyncio") is None:
        from pytest_wsdevice import missing as fixtures  # noqa: PLC0415
    else:
        from pytest_wsdevice import fixtures  # type: ignore[no-redef]  # noqa: PLC0415 - not without pytest-asyncio
    config.pluginmanager.register(fixtures, "wsdevice-fixtures")
    rig.check_rig(config)
    scheduling.check_workers(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is tested, and where settings that are not the default come from."""
    return reporting.header(config)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have pytest-asyncio ask for the loops of simulated tests, from the first of them on."""
    markers.check_seeds(metafunc.definition)
    simulated.simulate_from_here(metafunc.definition)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse wrong markers, and tests whose loop cannot be that of the fixtures; mark those that run on boards.

    Before pytest itself looks at ``-m``.
    """
    hil.mark_items(config, items)
    for item in items:
        markers.check_markers(item)
        needs.check_loop(item)
    scheduling.group_by_build(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs what this run does not have."""
    hil.skip_without_boards(item)
    needs.skip_unless_met(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test whose board has crashed unasked, and for that reason."""
    try:
        yield
    except Exception as error:
        reporting.raise_crash(item, error)
        raise
    reporting.raise_crash(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - pytest's signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to what is reported of a failure: the timeline, and how to see it again."""
    report = yield
    reporting.report_failure(item, report)
    replaying.report_failure(item, report)
    if report.when == "teardown":
        replaying.let_go(item)
        reporting.let_go(item)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what had to be tried again because of the rig."""
    reporting.summarize(terminalreporter, config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the boards back."""
    rig.let_go(config)


# --- pytest-xdist, where it is installed ------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Start as many workers as there are free boards, where a run asks for boards."""
    return scheduling.count_free_boards(config) if hil.asks_for_boards(config) else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker what the rig is, before it starts."""
    rig.tell_worker(node.config, node.workerinput)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:  # noqa: ARG001 - xdist's signature
    """Take what a worker has to say at its end."""
    rig.take_remarks(node.config, getattr(node, "workeroutput", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give the boards back as soon as no test needs them, and leave what there is to say to the controller."""
    rig.finish(session.config)
