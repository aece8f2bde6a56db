"""Runs of pytest within a test, each with a configuration of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis  # noqa: F401 - these two here once: each run within a test forgets what it has imported
import pytest

import pytest_wsdevice.boards
import pytest_wsdevice.stage
import pytest_wsdevice.staged_board  # noqa: F401
from harness.faulty.twins import twins

twins()  # or each run within a test would register them anew, in a list that stays

Run = Callable[..., pytest.RunResult]

ALLURE = ("-p", "allure_pytest.plugin")
"""Arguments that load Allure's plugin, which is not loaded otherwise."""
OTHERS = ("randomly", "cacheprovider", "cov", "allure_pytest", "pytest_embedded", "anyio")
"""Plugins that a run within a test does without, unless the test is about them."""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run pytest on a test file; ``settings`` are lines of pytest.toml, ``other`` further files by their names."""

    def run(
        test: str, *arguments: str, settings: str = "", mode: str = "strict", other: Any = None
    ) -> pytest.RunResult:
        lines = ["[pytest]", f'asyncio_mode = "{mode}"', 'asyncio_default_fixture_loop_scope = "function"', settings]
        pytester.path.joinpath("pytest.toml").write_text("\n".join(lines))
        pytester.makepyfile(test_it=test, **(other or {}))
        without = [argument for name in OTHERS for argument in ("-p", f"no:{name}")]
        return pytester.runpytest(*without, *arguments)

    return run
