"""The fixtures: a gateway, devices, and the timeline of what happens between them.

Async tests get objects of their own loop; plain tests get façades whose calls wait (`harness.blocking`), and a gateway
that goes on serving in a thread. All are of function scope: each test has a gateway with its own state, devices that
nobody else has, one timeline. Annotations for tests are in `pytest_wsdevice.types`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pytest_wsdevice.markers import gateway_config
from pytest_wsdevice.options import OPTIONS
from pytest_wsdevice.reporting import TIMELINE

if TYPE_CHECKING:
    from pytest_wsdevice import types
    from pytest_wsdevice.stage import BlockingStage, Stage


@pytest.fixture
def ws_gateway_parts() -> dict[str, Any]:
    """What an application adds to its gateways, to be overridden: ``return {"handlers": [...]}``."""
    return {}


@pytest_asyncio.fixture(loop_scope="function")
async def ws_stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, ws_gateway_parts: dict[str, Any]
) -> AsyncIterator[Stage | BlockingStage]:
    """What the other fixtures have in common: the gateways, devices and timeline of this test, and their end."""
    from pytest_wsdevice.stage import BlockingStage, Stage  # noqa: PLC0415 - who has no such test loads no gateway

    is_async = inspect.iscoroutinefunction(inspect.unwrap(request.function))
    sections, _ = gateway_config(request.node)
    kind = Stage if is_async else BlockingStage
    stage = kind(request.config.stash[OPTIONS], tmp_path_factory.mktemp("ws"), sections, ws_gateway_parts)
    request.node.stash[TIMELINE] = stage.timeline
    yield stage
    if isinstance(stage, Stage):
        await stage.aclose()
    else:
        stage.close()


@pytest.fixture
def ws_timeline(ws_stage: Stage | BlockingStage) -> types.Timeline | types.BlockingTimeline:
    """The record of this test: frames both ways, the gateway's events, what happens to devices."""
    return ws_stage.timeline


@pytest_asyncio.fixture(loop_scope="function")
async def ws_gateway(ws_stage: Stage | BlockingStage) -> types.Gateway | types.BlockingGateway:
    """A gateway of the test's own on free ports, or the one at ``--ws-gateway-url``."""
    gateway = ws_stage.gateway()
    return await gateway if inspect.isawaitable(gateway) else gateway


@pytest.fixture
def ws_gateways(ws_stage: Stage | BlockingStage) -> types.Gateways | types.BlockingGateways:
    """Starts further gateways; takes sections of settings, as the marker does, and an application's parts.

    To be awaited, but in plain tests.
    """
    return ws_stage.another_gateway


@pytest.fixture
def ws_devices(ws_stage: Stage | BlockingStage) -> types.Devices | types.BlockingDevices:
    """Makes devices of the gateway; takes a name and what `FakeDevice` takes. To be awaited, but in plain tests."""
    return ws_stage.device


@pytest_asyncio.fixture(loop_scope="function")
async def ws_device(ws_stage: Stage | BlockingStage) -> types.FakeDevice | types.BlockingDevice:
    """One device that is online."""
    device = ws_stage.device("device")
    return await device if inspect.isawaitable(device) else device
