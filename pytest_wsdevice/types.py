"""Names for the annotations of tests that use the fixtures.

::

    async def test_something(ws_gateway: Gateway, ws_devices: Devices) -> None:
        kitchen = await ws_devices("kitchen")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from harness.blocking import BlockingDevice, BlockingGateway, BlockingTimeline
from harness.device import Device
from harness.fakes.device import FakeDevice
from harness.faults.faults import BlockingFaults, Faults
from harness.gateways import ExternalGateway, OwnGateway
from harness.gateways import GatewayUnderTest as Gateway
from harness.timeline import Timeline

if TYPE_CHECKING:
    from harness.bench.async_board import AsyncBoard, AsyncConsole, AsyncPower
    from harness.bench.held_board import HeldBoard
    from harness.board.console_view import ConsoleView as Console
    from harness.board.power import Power
    from harness.firmware.build import Build

__all__ = [
    "AnyTimeline",
    "AsyncBoard",
    "AsyncConsole",
    "AsyncPower",
    "BlockingDevice",
    "BlockingDevices",
    "BlockingFaults",
    "BlockingGateway",
    "BlockingGateways",
    "BlockingTimeline",
    "Build",
    "Console",
    "Device",
    "Devices",
    "ExternalGateway",
    "FakeDevice",
    "Faults",
    "Gateway",
    "Gateways",
    "HeldBoard",
    "OwnGateway",
    "Power",
    "Timeline",
]


AnyTimeline: TypeAlias = Timeline | BlockingTimeline
"""Of an async test, or of a plain one."""


class Devices(Protocol):
    """``ws_devices`` of an async test; see `pytest_wsdevice.stage.Stage.device`."""

    async def __call__(
        self, name: str = "", *, online: bool = True, like: FakeDevice | None = None, **options: Any
    ) -> FakeDevice:
        """Make a device of the test's gateway."""
        ...


class Gateways(Protocol):
    """``ws_gateways`` of an async test; see `pytest_wsdevice.stage.Stage.another_gateway`."""

    async def __call__(self, parts: dict[str, Any] | None = None, /, **sections: dict[str, Any]) -> OwnGateway:
        """Start a gateway besides."""
        ...


class BlockingDevices(Protocol):
    """``ws_devices`` of a plain test."""

    def __call__(
        self, name: str = "", *, online: bool = True, like: BlockingDevice | None = None, **options: Any
    ) -> BlockingDevice:
        """Make a device of the test's gateway."""
        ...


class BlockingGateways(Protocol):
    """``ws_gateways`` of a plain test."""

    def __call__(self, parts: dict[str, Any] | None = None, /, **sections: dict[str, Any]) -> BlockingGateway:
        """Start a gateway besides."""
        ...


_OF_BOARDS = {
    "AsyncBoard": ("harness.bench.async_board", "AsyncBoard"),
    "AsyncConsole": ("harness.bench.async_board", "AsyncConsole"),
    "AsyncPower": ("harness.bench.async_board", "AsyncPower"),
    "Build": ("harness.firmware.build", "Build"),
    "Console": ("harness.board.console_view", "ConsoleView"),
    "HeldBoard": ("harness.bench.held_board", "HeldBoard"),
    "Power": ("harness.board.power", "Power"),
}


def __getattr__(name: str) -> Any:
    """Import what boards need when it is asked for: without the extra ``hil`` it is not there."""
    if name not in _OF_BOARDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _OF_BOARDS[name]
    return getattr(import_module(module), attribute)
