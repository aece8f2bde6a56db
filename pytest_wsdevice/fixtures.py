"""The fixtures: a gateway, devices, and the timeline of what happens between them.

Async tests get objects of their own loop; plain tests get façades whose calls wait (`harness.blocking`), and a gateway
that goes on serving in a thread. All are of function scope: each test has a gateway with its own state, devices that
nobody else has, one timeline. Annotations for tests are in `pytest_wsdevice.types`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
import pytest_asyncio

from pytest_wsdevice.hil import asks_for_boards
from pytest_wsdevice.markers import gateway_config
from pytest_wsdevice.options import OPTIONS
from pytest_wsdevice.reporting import STAGE, TIMELINE

if TYPE_CHECKING:
    from harness.bench.bench_file import Bench
    from harness.bench.front import Front
    from harness.bench.held_board import HeldBoard
    from pytest_wsdevice import types
    from pytest_wsdevice.stage import BlockingStage, Stage


@pytest.fixture
def ws_gateway_parts() -> dict[str, Any]:
    """What an application adds to its gateways, to be overridden: ``return {"handlers": [...]}``."""
    return {}


@pytest_asyncio.fixture(loop_scope="function")
async def ws_stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    ws_gateway_parts: dict[str, Any],
    ws_held: tuple[HeldBoard, Front] | None,
) -> AsyncIterator[Stage | BlockingStage]:
    """What the other fixtures have in common: the gateways, devices and timeline of this test, and their end."""
    from pytest_wsdevice.stage import BlockingStage, Stage  # noqa: PLC0415 - who has no such test loads no gateway

    is_async = inspect.iscoroutinefunction(inspect.unwrap(request.function))
    sections, _ = gateway_config(request.node)
    kind = Stage if is_async else BlockingStage
    options, state = request.config.stash[OPTIONS], tmp_path_factory.mktemp("ws")
    with_faults = "ws_faults" in request.fixturenames
    stage = kind(options, state, sections, ws_gateway_parts, with_faults=with_faults, held=ws_held)
    request.node.stash[STAGE] = stage
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
    return cast("types.Devices | types.BlockingDevices", ws_stage.device)


@pytest.fixture
def ws_faults(ws_stage: Stage | BlockingStage) -> types.Faults | types.BlockingFaults:
    """Faults between the devices and the gateways of this test: on a simulated network there, else in a proxy."""
    if ws_stage.faults is None:
        raise pytest.UsageError("expected ws_faults among the arguments of the test, or of a fixture that it has")
    return ws_stage.faults


@pytest_asyncio.fixture(loop_scope="function")
async def ws_device(ws_stage: Stage | BlockingStage) -> types.FakeDevice | types.BlockingDevice:
    """One device that is online: fake, or the board of the test where the run asks for boards."""
    device = ws_stage.device("device")
    return cast("types.FakeDevice | types.BlockingDevice", await device if inspect.isawaitable(device) else device)


# --- boards -----------------------------------------------------------------------------------------------------


@pytest.fixture
def ws_held(request: pytest.FixtureRequest) -> Iterator[tuple[HeldBoard, Front] | None]:
    """What the other fixtures have of a board: the one that this process holds, online, and its front; or None."""
    if not asks_for_boards(request.config):
        yield None
        return
    from pytest_wsdevice import boards  # noqa: PLC0415 - who asks for no boards loads nothing of them

    held = boards.for_test(request.node)
    yield held, boards.holding_of(request.config).front
    boards.after_test(request.node, held)


@pytest.fixture
def ws_bench(request: pytest.FixtureRequest) -> Bench:
    """The rig of the run: its name, its network, its boards."""
    from pytest_wsdevice import boards  # noqa: PLC0415 - the same

    return boards.bench_of(request.config)


@pytest.fixture
def ws_board(ws_stage: Stage | BlockingStage) -> types.AsyncBoard | types.HeldBoard:
    """The board of the test: flashed, provisioned, booted, online; the first device is this one."""
    return ws_stage.board


@pytest.fixture
def ws_boards(request: pytest.FixtureRequest, ws_stage: Stage | BlockingStage) -> Callable[..., Any]:
    """Takes further boards for this test: ``ws_boards("esp32c3", "psram:8M")``; the next device is that one.

    To be awaited, but in plain tests; it takes as long as others hold the boards that match.
    """
    from pytest_wsdevice import boards  # noqa: PLC0415 - the same

    return boards.further_boards(request.node, ws_stage)


@pytest.fixture
def ws_console(ws_board: types.AsyncBoard | types.HeldBoard) -> types.AsyncConsole | types.Console:
    """The console of the board: what it says, since it was opened; ``expect`` waits for a line."""
    return ws_board.console


@pytest.fixture
def ws_power(ws_board: types.AsyncBoard | types.HeldBoard) -> types.AsyncPower | types.Power:
    """The supply of the board; skipped where it has none that can be switched."""
    if ws_board.power.kind == "none":
        pytest.skip(f"needs power, and {ws_board.id} has no supply that can be switched")
    return ws_board.power


@pytest.fixture
def ws_firmware(ws_board: types.AsyncBoard | types.HeldBoard) -> types.Build:
    """The build that is on the board; skipped where nobody knows: no --ws-build, no virtual board."""
    if ws_board.build is None:
        pytest.skip(f"needs to know the firmware of {ws_board.id}: --ws-build names it")
    return ws_board.build
