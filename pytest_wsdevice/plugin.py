"""The pytest plugin: hook functions only. What they do is in the modules beside this one.

Loading it is cheap: neither the gateway nor a test tool is imported before a test uses one of the fixtures.
"""

from __future__ import annotations

from collections.abc import Generator
from importlib.util import find_spec

import pytest

from pytest_wsdevice import markers, needs, options, reporting


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register options and settings."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, register markers, and the fixtures."""
    chosen = config.stash[options.OPTIONS] = options.read_options(config)
    markers.add_markers(config)
    if chosen.faulty or chosen.gateway_config is not None:
        from pytest_wsdevice import stage  # noqa: PLC0415 - it loads a gateway

        stage.check_options(chosen)
    if find_spec("pytest_asyncio") is None:
        from pytest_wsdevice import missing as fixtures  # noqa: PLC0415
    else:
        from pytest_wsdevice import fixtures  # type: ignore[no-redef]  # noqa: PLC0415 - not without pytest-asyncio
    config.pluginmanager.register(fixtures, "wsdevice-fixtures")
    if chosen.network == "sim":
        from pytest_wsdevice.simulated import LoopFactories  # noqa: PLC0415

        config.pluginmanager.register(LoopFactories(), "wsdevice-simulation")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is tested, and where settings that are not the default come from."""
    return reporting.header(config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse wrong markers, and tests whose loop cannot be that of the fixtures."""
    for item in items:
        markers.check_markers(item)
        needs.check_loop(item)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs what this run does not have."""
    needs.skip_unless_met(item)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - pytest's signature
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the timeline to what is reported of a failure."""
    report = yield
    reporting.report_failure(item, report)
    return report
