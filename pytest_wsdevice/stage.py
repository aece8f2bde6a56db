"""What one test plays with: its timeline, its gateways, its devices, and their end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import msgspec
import pytest

from gateway.config import Config
from gateway.config_file import load
from gateway.errors import ConfigurationError
from gateway.identity import device_id
from harness.blocking import BlockingDevice, BlockingGateway, BlockingTimeline, LoopThread
from harness.device import LinkView
from harness.errors import HarnessError, Misuse
from harness.fakes.device import FakeDevice
from harness.gateways import ExternalGateway, GatewayUnderTest, OwnGateway
from harness.receiving import Receiving
from harness.simulation.loop import SimulatedLoop
from harness.timeline import Timeline
from pytest_wsdevice.options import Options

if TYPE_CHECKING:
    from harness.bench.async_board import AsyncBoard
    from harness.bench.front import Front
    from harness.bench.held_board import HeldBoard
    from harness.board.device import BoardDevice
    from harness.faults.faults import BlockingFaults, Faults
    from pytest_wsdevice.faulted import StageFaults
    from pytest_wsdevice.staged_board import StagedBoard

AnyDevice: TypeAlias = "FakeDevice | BoardDevice"
"""What can be a device of a test."""
_ADDRESSES = ("host", "ws_port", "http_port")  # a gateway of a test has others than those of its settings


class Stage:
    """The gateways and devices of one test, in the running loop; `aclose` ends them, devices first.

    Args:
        options: of the run.
        directory: where the gateways' state goes.
        sections: settings that the test asks for, by section.
        parts: an application's: what `gateway.app.Gateway` takes besides its settings, such as ``handlers``.
        with_faults: the test asks for `faults`: they are put between its devices and its gateways.
        held: a board that is the first device of the test, and the front through which it finds the gateway; None:
            all devices are fake.

    Attributes:
        timeline: of the test.
        faults: of the test; None: it did not ask for them.
    """

    def __init__(
        self,
        options: Options,
        directory: Path,
        sections: Mapping[str, Mapping[str, Any]],
        parts: Mapping[str, Any],
        *,
        with_faults: bool = False,
        held: tuple[HeldBoard, Front] | None = None,
    ) -> None:
        self.timeline = Timeline()
        self._faults = _new_faults(self.timeline) if with_faults else None
        self.faults = None if self._faults is None else self._faults.faults
        self._parts = parts
        self._options = options
        self._directory = directory
        self._sections = sections
        self._gateways: list[OwnGateway] = []
        self._main: GatewayUnderTest | None = None
        self._devices: list[AnyDevice] = []
        # one group (the first eight characters) for the devices of a test, and no other test's, of this run or another
        self._prefix = "02:" + secrets.token_bytes(3).hex(":")
        self._boards: list[StagedBoard] = []
        if held is not None:
            self.add_board(*held)
            self._prefix = _beside(held[0].mac)
        self._planted = ExitStack()
        if options.faulty:
            from harness.faulty.twins import twin  # noqa: PLC0415 - only for those who ask for one

            self._planted.enter_context(twin(options.faulty).planted())

    async def gateway(self) -> GatewayUnderTest:
        """Return the gateway of the test, which is started at the first call."""
        if self._main is None:
            self._main = await self._first_gateway()
            self.timeline.redactor.add(self._main.config.auth.key)
            for staged in self._boards[:1]:  # one front for all
                await staged.lead_to(self._main)
        return self._main

    @property
    def crashed(self) -> HarnessError | None:
        """What a board has done unasked, so that the test is over; None: nothing."""
        return next((staged.crash for staged in self._boards if staged.crash is not None), None)

    def add_board(self, held: HeldBoard, front: Front) -> AsyncBoard:
        """Have one more board; it is the next device that it can be."""
        staged = _staged(held, front, self.timeline, self._spoil)
        self._boards.append(staged)
        self.timeline.redactor.add(*held.redactor.secrets)
        return staged.board

    @property
    def board(self) -> AsyncBoard:
        """The first board of the test.

        Raises:
            Misuse: it has none.
        """
        if not self._boards:
            raise Misuse("expected a run that asks for boards: pytest -m hil --ws-bench bench.toml")
        return self._boards[0].board

    async def another_gateway(
        self, parts: Mapping[str, Any] | None = None, /, **sections: Mapping[str, Any]
    ) -> OwnGateway:
        """Start a gateway of this package besides, with state of its own; ``sections`` add to those of the test.

        It has free ports of 127.0.0.1, unless ``server`` asks for a ``host``, ``ws_port`` or ``http_port``.

        Args:
            parts: of an application, beside those of the test's gateway.
            **sections: settings.

        Raises:
            CannotListen: a port that was asked for is taken.
        """
        config = configured(self._base(), {**self._sections, **sections})
        number = len(self._gateways)
        state = self._directory / f"gateway-{number}"
        listens = {name: value for name, value in sections.get("server", {}).items() if name in _ADDRESSES}
        parts = {**self._parts, **(parts or {})}
        observers = [self.timeline.event, *parts.pop("observers", ())]
        new = OwnGateway if self._faults is None else self._faults.gateway
        gateway = new(config, state, listens=listens, observers=observers, network=_network(), **parts)
        await gateway.start()
        self._gateways.append(gateway)
        return gateway

    async def device(
        self, name: str = "", *, online: bool = True, like: AnyDevice | None = None, **options: Any
    ) -> AnyDevice:
        """Make a device of the test's gateway: its id, unless given, is one that nobody else has.

        Where the test has boards, they are the first devices that they can be; the others are fake.

        Args:
            name: what reports call it.
            online: connect it and say hello; otherwise it has not connected yet.
            like: it has the id and the settings of this one, as a copied NVS would; ``options`` may differ.
            **options: of `FakeDevice`.
        """
        gateway = await self.gateway()
        number = len(self._devices) + 1
        name = name or f"device-{number}"
        told: dict[str, Any] = {
            "watch": self.timeline.record if self._faults is None else self._faults.watch,
            "view": self._view if "events" in gateway.capabilities else None,
        }
        device: AnyDevice
        board = next((one for one in self._boards if like is None and one.fits(options)), None)
        if board is not None:
            device = board.device(name, gateway, **{**told, **options})
        else:
            device = self._fake(name, number, gateway, like, {**told, **options})
        self.timeline.name(device_id(device.device_id), name)
        self.timeline.redactor.add(device.token)
        self._devices.append(device)
        if self._faults is not None:
            await self._faults.add(device, None if board is None else board.front)
        if online:
            await device.go_online()
        return device

    def _fake(
        self, name: str, number: int, gateway: GatewayUnderTest, like: AnyDevice | None, options: dict[str, Any]
    ) -> FakeDevice:
        if self._faults is not None:
            options.setdefault("dial", self._faults.dial(name))
        if like is not None:
            return like.clone(name, **options)
        own = {"url": gateway.url, "device_id": f"{self._prefix}:{number >> 8:02x}:{number & 255:02x}"}
        device = FakeDevice(name=name, **{**own, **options})
        if "token" not in options:
            device.token = gateway.token_for(device.device_id, device.client_id)
        return device

    def _spoil(self, error: HarnessError) -> None:
        """The board has crashed: whoever waits for anything is told."""
        self.timeline.note(str(error).partition("\n")[0], fault=True)
        self.timeline.spoil(error)
        for device in self._devices:
            device.spoil(error)

    async def aclose(self) -> None:
        """End all devices, the faults, all gateways; the first failure is raised when all have been tried."""
        try:
            endings: list[Coroutine[Any, Any, Any]] = [device.aclose() for device in self._devices]
            endings += [staged.aclose() for staged in self._boards]
            endings += [self._faults.aclose()] if self._faults is not None else []
            endings += [gateway.stop() for gateway in self._gateways]
            failures: list[BaseException] = []
            for ending in endings:
                result = (await asyncio.gather(ending, return_exceptions=True))[0]
                if isinstance(result, BaseException):
                    failures.append(result)
            if failures:
                raise failures[0]
        finally:
            self._planted.close()

    async def _first_gateway(self) -> GatewayUnderTest:
        if self._options.gateway_url:
            return ExternalGateway(self._options.gateway_url, self._base(), self._options.gateway_http_url)
        sections = self._boards[0].sections if self._boards else {}
        return await self.another_gateway(
            **{name: {**settings, **self._sections.get(name, {})} for name, settings in sections.items()}
        )

    def _base(self) -> Config:
        return base_config(self._options)

    def _view(self, device: str) -> LinkView:
        assert self._main is not None
        return self._main.link(device)


class BlockingStage:
    """The same for a plain test: all of it lives in a loop in a thread, and each call waits for its end.

    Attributes:
        timeline: of the test.
        faults: of the test; None: it did not ask for them.
    """

    def __init__(
        self,
        options: Options,
        directory: Path,
        sections: Mapping[str, Mapping[str, Any]],
        parts: Mapping[str, Any],
        *,
        with_faults: bool = False,
        held: tuple[HeldBoard, Front] | None = None,
    ) -> None:
        self._thread = LoopThread()
        self._thread.__enter__()
        self._stage = self._thread.call(
            lambda: Stage(options, directory, sections, parts, with_faults=with_faults, held=held)
        )
        self.timeline = BlockingTimeline(self._stage.timeline, self._thread)
        self.faults = _blocking(self._stage.faults, self._thread)

    @property
    def crashed(self) -> HarnessError | None:
        """What the board did unasked; None: it did not."""
        return self._stage.crashed

    def add_board(self, held: HeldBoard, front: Front) -> HeldBoard:
        """Have one more board; see `Stage.add_board`."""
        return self._thread.call(lambda: self._stage.add_board(held, front)).held

    @property
    def board(self) -> HeldBoard:
        """The first board of the test; raises as `Stage.board`."""
        return self._stage.board.held

    def gateway(self) -> BlockingGateway:
        """Return the gateway of the test, which is started at the first call."""
        return BlockingGateway(self._thread.run(self._stage.gateway()), self._thread)

    def another_gateway(
        self, parts: Mapping[str, Any] | None = None, /, **sections: Mapping[str, Any]
    ) -> BlockingGateway:
        """Start a gateway besides; see `Stage.another_gateway`."""
        return BlockingGateway(self._thread.run(self._stage.another_gateway(parts, **sections)), self._thread)

    def device(
        self, name: str = "", *, online: bool = True, like: BlockingDevice | None = None, **options: Any
    ) -> BlockingDevice:
        """Make a device; see `Stage.device`."""
        other = None if like is None else like.device
        assert other is None or isinstance(other, Receiving)
        made = self._thread.run(
            self._stage.device(name, online=online, like=cast("AnyDevice | None", other), **options)
        )
        return BlockingDevice(made, self._thread)

    def close(self) -> None:
        """End all devices, all gateways, then the thread."""
        try:
            self._thread.run(self._stage.aclose())
        finally:
            self._thread.__exit__(None, None, None)


def check_options(options: Options) -> None:
    """Look at what options name, before any test runs.

    Raises:
        pytest.UsageError: the gateway's configuration has faults, or there is no such defect.
    """
    base_config(options)
    if options.faulty:
        from harness.faulty.twins import twin  # noqa: PLC0415 - only for those who ask for one

        try:
            twin(options.faulty)
        except Misuse as error:
            raise pytest.UsageError(f"--ws-faulty: {error}") from None


def base_config(options: Options) -> Config:
    """Return the settings of ``--ws-gateway-config``, or the defaults.

    Raises:
        pytest.UsageError: the file has faults; all are named.
    """
    if options.gateway_config is None:
        return Config()
    try:
        return load(options.gateway_config, {}).config
    except ConfigurationError as error:
        raise pytest.UsageError(f"--ws-gateway-config: {error}") from None


def configured(config: Config, sections: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return a configuration with some settings changed.

    Raises:
        pytest.UsageError: there is no such section or setting.
    """
    for name, settings in sections.items():
        if name not in config.__struct_fields__:
            raise pytest.UsageError(f"a section of gateway.toml ({', '.join(config.__struct_fields__)}), got {name!r}")
        section = getattr(config, name)
        if unknown := set(settings).difference(section.__struct_fields__):
            raise pytest.UsageError(
                f"settings of [{name}] ({', '.join(section.__struct_fields__)}), got {', '.join(sorted(unknown))}"
            )
        config = msgspec.structs.replace(config, **{name: msgspec.structs.replace(section, **settings)})
    return config


def differing(config: Config, sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the settings that a configuration has otherwise, as ``section.name = value``, as they should be."""
    return [
        f"{name}.{setting} = {value!r}"
        for name, settings in sections.items()
        for setting, value in settings.items()
        if getattr(getattr(config, name), setting) != value
    ]


def _beside(mac: str) -> str:
    """Return what the ids of fake devices begin with that are of one group with a board, and are not its own."""
    return f"{mac[:8]}:{int(mac[9:11], 16) ^ (1 + secrets.randbelow(255)):02x}"


def _staged(held: HeldBoard, front: Front, timeline: Timeline, crashed: Callable[[HarnessError], None]) -> StagedBoard:
    from pytest_wsdevice.staged_board import StagedBoard  # noqa: PLC0415 - only for those who have boards

    return StagedBoard(held, front, timeline, crashed)


def _new_faults(timeline: Timeline) -> StageFaults:
    from pytest_wsdevice.faulted import StageFaults  # noqa: PLC0415 - only for those who ask for them

    return StageFaults(timeline)


def _blocking(faults: Faults | None, thread: LoopThread) -> BlockingFaults | None:
    if faults is None:
        return None
    from harness.faults.faults import BlockingFaults  # noqa: PLC0415 - the same

    return BlockingFaults(faults, thread)


def _network() -> Any:
    """Return how gateways in the running loop get their network; None: sockets."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SimulatedLoop):
        return None
    here = loop.network.host("localhost")
    return lambda server: here.listening(server.ws_port, server.http_port)
