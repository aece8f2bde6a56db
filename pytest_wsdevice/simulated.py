"""Async tests on a simulated network, in virtual time: which are, with which seeds, on which loops."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import pytest

from pytest_wsdevice.hil import asks_for_boards
from pytest_wsdevice.options import OPTIONS

if TYPE_CHECKING:
    import asyncio

    from harness.simulation.loop import SimulatedLoop

HOOK = "pytest_asyncio_loop_factories"
PLUGIN = "wsdevice-simulation"
"""The name under which the hook's implementation is registered, once a test is simulated."""
UNSEEDED = 0
"""Where nobody asks for seeds."""

Factories: TypeAlias = "Mapping[str, Callable[[], asyncio.AbstractEventLoop]]"
"""By the names that stand in the ids of the items."""


class LoopFactories:
    """Says which loop an async test runs on.

    Registered only when a test is simulated: pytest-asyncio asks whoever implements this hook about *every* async test,
    and takes no None for an answer. A ``conftest.py`` that implements it as well is asked first.
    """

    @pytest.hookimpl(trylast=True)
    def pytest_asyncio_loop_factories(
        self,
        config: pytest.Config,  # noqa: ARG002 - pytest-asyncio's signature
        item: pytest.Item,
    ) -> Factories:
        """Give simulated tests a simulated loop for each seed, and all others asyncio's own."""
        return loop_factories(item)


class SeededLoop:
    """Makes the loop of one item, and keeps it for the report of a failure.

    Attributes:
        seed: everything that is left to chance follows from it.
        loop: the one it has made; None before that, and once the item is over.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.loop: SimulatedLoop | None = None

    def __call__(self) -> SimulatedLoop:
        """Make it."""
        from harness.simulation.loop import SimulatedLoop  # noqa: PLC0415 - who simulates nothing loads nothing

        self.loop = SimulatedLoop(self.seed)
        return self.loop


def loop_factories(item: pytest.Item) -> Factories:
    """Return the loop factories of a test.

    For a ``conftest.py`` with a ``pytest_asyncio_loop_factories`` of its own: it returns this, or None, for tests that
    use the fixtures.
    """
    import asyncio  # noqa: PLC0415 - who simulates nothing loads nothing

    if not is_simulated(item):
        return {"asyncio": asyncio.new_event_loop}
    seeds = seeds_of(item)
    if seeds is None:
        return {"sim": SeededLoop(UNSEEDED)}
    return {f"seed{seed}": SeededLoop(seed) for seed in seeds}


def is_simulated(item: pytest.Item) -> bool:
    """Whether a test runs on a simulated network: an async one that uses the fixtures, or asks for seeds itself."""
    options = item.config.stash[OPTIONS]
    if not is_async(item) or options.network == "tcp" or options.gateway_url or asks_for_boards(item.config):
        return False
    if item.get_closest_marker("ws_seeds") is not None:
        return True
    if "ws_stage" not in getattr(item, "fixturenames", ()):
        return False
    return options.network == "sim" or not any("tcp" in marker.args for marker in item.iter_markers("ws_needs"))


def is_async(item: pytest.Item) -> bool:
    """Whether a test is a coroutine function."""
    return isinstance(item, pytest.Function) and inspect.iscoroutinefunction(inspect.unwrap(item.obj))


def seeds_of(item: pytest.Item) -> range | None:
    """Return the seeds a simulated test runs with; None where nobody asks for any."""
    options = item.config.stash[OPTIONS]
    if options.seed is not None:
        return range(options.seed, options.seed + 1)
    if options.seeds is not None:
        return range(1, options.seeds + 1)
    marker = item.get_closest_marker("ws_seeds")
    return None if marker is None else range(1, marker.args[0] + 1)


def simulate_from_here(item: pytest.Item) -> None:
    """Register the hook if this test is the first that is simulated."""
    plugins = item.config.pluginmanager
    has_asyncio = hasattr(item.config.hook, HOOK)
    if has_asyncio and not plugins.has_plugin(PLUGIN) and is_simulated(item):
        plugins.register(LoopFactories(), PLUGIN)


def loop_of(item: pytest.Item) -> SeededLoop | None:
    """Return what has made the loop of an item; None where that is not simulated."""
    callspec = getattr(item, "callspec", None)
    params = {} if callspec is None else callspec.params
    # the private name under which pytest-asyncio hands an item its factory: there is no public one
    found = params.get("_asyncio_loop_factory")
    return found if isinstance(found, SeededLoop) else None
