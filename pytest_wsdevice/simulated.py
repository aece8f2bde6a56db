"""``--ws-network sim``: async tests that use gateway and devices run on a simulated network, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest


class LoopFactories:
    """Says which loop an async test runs on.

    Registered only when it is asked for: pytest-asyncio asks whoever implements this hook about *every* async test.
    """

    def pytest_asyncio_loop_factories(
        self,
        config: pytest.Config,  # noqa: ARG002 - pytest-asyncio's signature
        item: pytest.Item,
    ) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        """Give tests with ws_ fixtures a simulated loop, and all others asyncio's own."""
        if "ws_stage" not in getattr(item, "fixturenames", ()):
            return {"asyncio": asyncio.new_event_loop}
        from harness.simulation.loop import SimulatedLoop  # noqa: PLC0415 - who simulates nothing loads nothing

        return {"sim": SimulatedLoop}
