"""Tests of the composition root: starting, stopping, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.app import Gateway
from gateway.config import Config, MailboxConfig, ServerConfig
from gateway.device.session import Session
from gateway.errors import CannotListen, MailboxFailed, Misuse, WorldError
from gateway.feature import Feature, Handler
from gateway.identity import DeviceId
from gateway.listening import open_network
from gateway.observe.events import DeviceOffline, GatewayListening, GatewayStopped, HandoverEnded
from gateway.peer.memory_mailbox import MemoryMailbox
from gateway.port_holder import parse_table
from harness.fakes.device import FakeDevice
from tests.fake_session import Records
from tests.raw_peer import RawPeer, say, upgrade
from tests.running import loopback, nothing_is_left, running, threads, until
from tests.simulated import IN_MEMORY, Peer, SimulatedNetwork, now, simulated, turns
from tests.virtual_time import timers, virtual_time, wall

MAC = "02:00:00:00:00:01"


@pytest.fixture
def held() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


class Part(Feature):
    """A feature that notes when it is started and stopped, and fails or waits as told.

    Args:
        log: where it notes.
        name: under which name.
        fails: what its start raises.
        stop_fails: what its stop raises.
        waits: its start waits for this.
    """

    def __init__(
        self,
        log: list[str],
        name: str = "part",
        *,
        fails: BaseException | None = None,
        stop_fails: BaseException | None = None,
        waits: asyncio.Event | None = None,
    ) -> None:
        self.log = log
        self.name = name
        self.fails = fails
        self.stop_fails = stop_fails
        self.waits = waits

    async def start(self) -> None:
        """Start."""
        self.log.append(f"start {self.name}")
        if self.waits is not None:
            await self.waits.wait()
        if self.fails is not None:
            raise self.fails

    async def stop(self) -> None:
        """Stop."""
        self.log.append(f"stop {self.name}")
        if self.stop_fails is not None:
            raise self.stop_fails


def listening_here() -> set[int]:
    """The ports that this process listens on."""
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            own.add(str(descriptor.readlink()))
    found = parse_table(Path("/proc/net/tcp").read_text())
    return {one.port for one in found if f"socket:[{one.inode}]" in own}


async def can_be_had(config: Config, *ports: int) -> None:
    """Check that another gateway can have the state directory, and anybody the ports.

    By looking, not by binding them: another process of this machine may have been given them at once.
    """
    assert listening_here().isdisjoint(ports)
    async with Gateway(config) as other:
        assert other.not_ready() == []


# --- a start that fails -------------------------------------------------------------------------------------------


async def test_port_taken(tmp_path: Path, held: int):
    """A port that is taken is told by its address; nothing is left, and the directory can be used at once."""
    gateway = Gateway(loopback(tmp_path, server={"ws_port": held}))
    with pytest.raises(CannotListen, match=f"127.0.0.1:{held}"):
        await gateway.start()

    assert gateway.not_ready() == ["stopped", "draining"]
    await nothing_is_left()
    await can_be_had(loopback(tmp_path))


async def test_mailbox_cannot_be_opened(tmp_path: Path):
    """A mailbox that cannot be opened keeps the gateway from starting; its ports are given back."""
    (tmp_path / "file").touch()
    network = open_network(loopback(tmp_path).server)
    ports = network.port("websocket"), network.port("http")
    gateway = Gateway(loopback(tmp_path / "file"), network=network)
    with pytest.raises(MailboxFailed):
        await gateway.start()

    await nothing_is_left()
    await can_be_had(loopback(tmp_path), *ports)


async def test_mailbox_of_another_gateway(tmp_path: Path):
    """A second gateway on the same directory does not start, and does not harm the first."""
    async with running(loopback(tmp_path)) as first:
        second = Gateway(loopback(tmp_path))
        with pytest.raises(MailboxFailed):
            await second.start()

        async with FakeDevice(first.url, MAC) as device:
            await device.send({"type": "ping"})
            await device.expect("pong")


@pytest.mark.parametrize("error", [WorldError("no room"), RuntimeError("a bug")])
async def test_feature_that_does_not_start(tmp_path: Path, error: Exception):
    """What a feature raises is what the start raises; those that were begun are stopped, the later ones are not."""
    log: list[str] = []
    parts = [Part(log, "one"), Part(log, "two", fails=error), Part(log, "three")]
    with pytest.raises(type(error), match=str(error)):
        await Gateway(loopback(tmp_path), features=parts).start()

    assert log == ["start one", "start two", "stop two", "stop one"]
    await nothing_is_left()
    await can_be_had(loopback(tmp_path))


class BrokenNetwork(SimulatedNetwork):
    """A network that cannot serve one of the two."""

    def __init__(self, broken: str) -> None:
        super().__init__()
        self.broken = broken

    async def serve(self, what: str, factory: Any) -> None:
        """Serve, or not."""
        if what == self.broken:
            raise WorldError("it is broken")
        await super().serve(what, factory)


@pytest.mark.parametrize("broken", ["http", "websocket"])
async def test_network_that_does_not_serve(tmp_path: Path, broken: str):
    """A network that fails at the last step leaves nothing behind either."""
    log: list[str] = []
    network = BrokenNetwork(broken)
    with pytest.raises(WorldError):
        await Gateway(loopback(tmp_path), network=network, features=[Part(log)]).start()

    assert network.closed
    assert log == ["start part", "stop part"]
    await nothing_is_left()


async def test_settings_that_do_not_hold(tmp_path: Path):
    """Something that breaks while the parts are joined is no exception to the rule."""
    broken = msgspec.structs.replace(loopback(tmp_path), ota=None)
    with pytest.raises(AttributeError):
        await Gateway(broken).start()

    await nothing_is_left()
    await can_be_had(loopback(tmp_path))


async def test_failed_start_in_a_with_statement(tmp_path: Path, held: int):
    """The body of ``async with`` is not run, and nothing is left."""
    with pytest.raises(CannotListen):
        async with Gateway(loopback(tmp_path, server={"http_port": held})):
            pytest.fail("it does not run")

    await nothing_is_left()


# --- a start that is given up -------------------------------------------------------------------------------------


class SlowMailbox(MemoryMailbox):
    """A mailbox whose opening takes as long as the test says, and that must not be closed before."""

    def __init__(self) -> None:
        super().__init__(per_device=1, total=1, dedupe=1, wall_clock=wall)
        self.may_open = asyncio.Event()
        self.opening = asyncio.Event()
        self.steps: list[str] = []

    async def open(self) -> None:
        """Open, in the end."""
        self.opening.set()
        await self.may_open.wait()
        self.steps.append("open")

    async def close(self) -> None:
        """Close."""
        self.steps.append("close")


async def test_stopped_while_a_feature_starts(tmp_path: Path):
    """A stop gives up the start: whoever started hears of it, and all that was begun is ended."""
    log: list[str] = []
    gateway = Gateway(loopback(tmp_path), features=[Part(log, "one", waits=asyncio.Event()), Part(log, "two")])
    start = asyncio.create_task(gateway.start())
    await until(lambda: log)
    assert gateway.not_ready() == ["starting"]
    await gateway.stop()

    with pytest.raises(Misuse, match="stopped"):
        await start
    assert log == ["start one", "stop one"]
    await nothing_is_left()
    await can_be_had(loopback(tmp_path))


async def test_stopped_while_the_mailbox_opens(tmp_path: Path):
    """A mailbox is not closed in the middle of its opening, and not left open after it."""
    mailbox, log = SlowMailbox(), list[str]()
    gateway = Gateway(loopback(tmp_path), mailbox=mailbox, features=[Part(log)])
    start = asyncio.create_task(gateway.start())
    await mailbox.opening.wait()
    stop = asyncio.create_task(gateway.stop())
    await turns()
    assert not stop.done()
    mailbox.may_open.set()
    await stop

    assert mailbox.steps == ["open", "close"]
    assert log == []
    with pytest.raises(Misuse):
        await start
    await nothing_is_left()


@pytest.mark.parametrize("pause", range(30))
async def test_stopped_at_any_moment(tmp_path: Path, pause: int):
    """However early or late the stop comes, nothing is left, and the next gateway gets directory and ports."""
    network = open_network(loopback(tmp_path).server)
    ports = network.port("websocket"), network.port("http")
    gateway = Gateway(loopback(tmp_path), network=network)
    start = asyncio.create_task(gateway.start())
    for _ in range(pause):
        await asyncio.sleep(0 if pause < 20 else 0.0005)
    await gateway.stop()
    await asyncio.wait((start,))

    assert start.exception() is None or isinstance(start.exception(), Misuse)
    assert gateway.not_ready() == ["stopped", "draining"]
    await nothing_is_left()
    await can_be_had(loopback(tmp_path), *ports)


async def test_stopped_while_it_binds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sockets that are bound while the stop is under way are closed."""
    may_bind, binding = threading.Event(), threading.Event()
    bound: list[Any] = []

    def slowly(server: ServerConfig) -> Any:
        binding.set()
        assert may_bind.wait(10)
        bound.append(open_network(server))
        return bound[0]

    monkeypatch.setattr("gateway.app.open_network", slowly)
    gateway = Gateway(loopback(tmp_path))
    start = asyncio.create_task(gateway.start())
    await until(binding.is_set)
    stop = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0.01)
    may_bind.set()
    await stop

    with pytest.raises(Misuse):
        await start
    assert {sock.fileno() for sockets in bound[0]._sockets.values() for sock in sockets} == {-1}
    await nothing_is_left()


async def test_start_is_cancelled(tmp_path: Path):
    """A start whose caller is cancelled ends everything before the caller goes on."""
    log: list[str] = []
    gateway = Gateway(loopback(tmp_path), features=[Part(log, waits=asyncio.Event())])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await gateway.start()

    assert log == ["start part", "stop part"]
    await nothing_is_left()
    await can_be_had(loopback(tmp_path))


async def test_started_twice(tmp_path: Path):
    """A gateway is started once; a second call does not harm the first, nor does one after its end."""
    gateway = Gateway(loopback(tmp_path))
    await gateway.start()
    with pytest.raises(Misuse, match="running"):
        await gateway.start()
    assert gateway.not_ready() == []
    await gateway.stop()
    with pytest.raises(Misuse, match="stopped"):
        await gateway.start()


# --- stopping -----------------------------------------------------------------------------------------------------


async def test_stop_is_idempotent(tmp_path: Path):
    """A stop may be called any number of times, also at once; it happens once."""
    records = Records()
    gateway = Gateway(loopback(tmp_path), observers=[records.all.append])
    await gateway.start()
    await asyncio.gather(*(gateway.stop() for _ in range(5)))
    await gateway.stop()
    await gateway.wait_stopped()

    assert [one.clean for one in records.of(GatewayStopped)] == [True]
    await nothing_is_left()


async def test_stop_before_start(tmp_path: Path):
    """A gateway that was never started can be stopped, and started no more."""
    records = Records()
    gateway = Gateway(loopback(tmp_path), observers=[records.all.append])
    await gateway.stop()

    assert [(one.clean, one.seconds) for one in records.of(GatewayStopped)] == [(True, 0.0)]
    with pytest.raises(Misuse):
        await gateway.start()
    await nothing_is_left()


async def test_stop_goes_on_without_its_caller(tmp_path: Path):
    """A stop whose caller is cancelled is finished all the same."""
    gateway = Gateway(loopback(tmp_path))
    await gateway.start()
    stop = asyncio.create_task(gateway.stop())
    await asyncio.sleep(0)
    stop.cancel()
    await gateway.wait_stopped()

    await nothing_is_left()
    await can_be_had(loopback(tmp_path))


async def test_ports_and_sockets_are_given_back(tmp_path: Path):
    """After the stop both ports are free, and devices have been told."""
    async with running(loopback(tmp_path)) as house:
        ports = house.port, house.gateway.network.port("http")
        device = FakeDevice(house.url, MAC)
        await device.connect()
        await device.hello()
        idle = await RawPeer.connect(ports[1])
        await house.gateway.stop()

        assert await device.expect_close() == 1001
        assert await idle.end() == b""
        idle.cut()
    await device.aclose()
    await nothing_is_left()
    await can_be_had(loopback(tmp_path), *ports)


async def test_peers_that_neither_answer_nor_read(tmp_path: Path):
    """A device that never answers Close and one that never reads hold up the stop by a second, and not each other."""
    async with running(loopback(tmp_path)) as house:
        silent = await RawPeer.open(house.port, upgrade(Device_Id="aa"))
        stuck = await RawPeer.open(house.port, upgrade(Device_Id="bb"), receive_buffer=4096)
        for peer in (silent, stuck):
            await peer.send(say({"type": "hello"}))
        session = await until(lambda: house.gateway.registry.get(DeviceId("bb")))
        while not session.channel.connection._paused_writing:
            session.send_json({"type": "custom", "payload": "x" * 8000})
            await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await house.gateway.stop()

        assert asyncio.get_running_loop().time() - began < 1.9
        assert {one.device for one in house.records.of(DeviceOffline)} == {"aa", "bb"}
        silent.cut()
        stuck.cut()
    await nothing_is_left()


@virtual_time
@pytest.mark.parametrize("pause", [0.0, 1.0, 1.6])
async def test_stopped_within_a_handover(pause: float):
    """Both channels of a device are gone, and nobody is left who would see the older one out."""
    async with simulated() as house:
        older, newer = await house.device("aa"), await house.device("aa")
        await asyncio.sleep(pause)
        assert len(house.gateway._handover) == 1
        began = now()
        await house.gateway.stop()

        assert now() - began <= 2
        assert older.gone_at is not None
        assert newer.gone_at is not None
        assert newer.close_code == 1001
        ended = [type(one) for one in house.records.all if isinstance(one, HandoverEnded | GatewayStopped)]
        assert ended == [HandoverEnded, GatewayStopped]
        assert house.gateway._handover._tasks.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert timers() == []


@pytest.mark.parametrize("pause", range(6))
async def test_sockets_accepted_in_the_moment_of_the_stop(tmp_path: Path, pause: int):
    """A peer that connects as the gateway stops is not left with an open socket that nobody serves."""
    async with running(loopback(tmp_path, mailbox=IN_MEMORY)) as house:
        peers = [await RawPeer.connect(house.port) for _ in range(5)]
        for _ in range(pause):
            await asyncio.sleep(0)
        await house.gateway.stop()

        for peer in peers:
            assert await peer.end() == b""
            peer.cut()
        assert house.gateway._board is not None
        assert not house.gateway._board.connections


@virtual_time
async def test_accepted_after_everything_else():
    """Even a socket that comes up while features stop is gone at the end."""
    late = Peer()

    class Slow(Feature):
        async def stop(self) -> None:
            late.meet(network.factories["websocket"]())
            await asyncio.sleep(1)

    network = SimulatedNetwork()
    gateway = Gateway(Config(mailbox=IN_MEMORY), network=network, features=[Slow()])
    await gateway.start()
    await gateway.stop()

    assert late.gone_at == pytest.approx(1)
    assert timers() == []


# --- parts that do not stop well ----------------------------------------------------------------------------------


async def test_stops_in_the_opposite_order(tmp_path: Path):
    """Features are started in their order and stopped in the opposite one."""
    log: list[str] = []
    async with running(loopback(tmp_path), features=[Part(log, "one"), Part(log, "two")]):
        pass

    assert log == ["start one", "start two", "stop two", "stop one"]


@pytest.mark.parametrize("error", [WorldError("no room"), RuntimeError("a bug"), asyncio.CancelledError()])
async def test_feature_that_fails_to_stop(tmp_path: Path, error: BaseException, caplog: pytest.LogCaptureFixture):
    """A feature that fails to stop, however, is told of and keeps nothing from being ended."""
    log: list[str] = []
    parts = [Part(log, "one"), Part(log, "two", stop_fails=error), Part(log, "three")]
    with caplog.at_level(logging.ERROR):
        async with running(loopback(tmp_path), features=parts) as house:
            pass

    assert log[3:] == ["stop three", "stop two", "stop one"]
    assert [one.clean for one in house.records.of(GatewayStopped)] == [False]
    assert "Part could not put away what must survive" in caplog.text
    await nothing_is_left()
    await can_be_had(loopback(tmp_path))


class Stubborn(Feature):
    """A feature that does not stop, and takes no notice of being cancelled for a while."""

    def __init__(self, *, heeds: bool) -> None:
        self.heeds = heeds
        self.cancelled_at: list[float] = []

    async def stop(self) -> None:
        """Stay."""
        while True:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                self.cancelled_at.append(now())
                if self.heeds or len(self.cancelled_at) > 1:
                    raise


@pytest.mark.parametrize(("heeds", "seconds"), [(True, 15.0), (False, 16.0)])
def test_feature_that_does_not_stop(heeds: bool, seconds: float, caplog: pytest.LogCaptureFixture):
    """A feature that does not stop is cancelled after 15 s; one that ignores this is left behind a second later."""
    stubborn = Stubborn(heeds=heeds)

    @virtual_time
    async def stubbornly() -> None:
        async with simulated(features=[stubborn]) as house:
            await house.gateway.stop()

            assert stubborn.cancelled_at == [pytest.approx(15.0)]
            assert now() == pytest.approx(seconds)
            assert [one.clean for one in house.records.of(GatewayStopped)] == [False]

    with caplog.at_level(logging.ERROR):
        stubbornly()

    assert "the stop of Stubborn took longer than 15 s" in caplog.text


class BrokenMailbox(MemoryMailbox):
    """A mailbox that cannot be closed."""

    def __init__(self) -> None:
        super().__init__(per_device=1, total=1, dedupe=1, wall_clock=wall)

    async def close(self) -> None:
        """Fail."""
        raise MailboxFailed("the disk is gone")


async def test_mailbox_that_cannot_be_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A mailbox that cannot be closed makes the stop unclean, and is all that is left."""
    with caplog.at_level(logging.ERROR):
        async with running(loopback(tmp_path), mailbox=BrokenMailbox()) as house:
            pass

    assert [one.clean for one in house.records.of(GatewayStopped)] == [False]
    assert "closing of the mailbox" in caplog.text
    await nothing_is_left()


@virtual_time
async def test_sessions_unwind_before_features_stop():
    """What runs for a device is cancelled, and has unwound, before the first feature is stopped."""
    log: list[str] = []

    class Work(Part):
        def on_online(self, session: Session) -> None:
            session.tasks.spawn(self.work(), "work")

        async def work(self) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0.5)
                self.log.append("unwound")

    async with simulated(features=[Work(log)]) as house:
        await house.device("aa", answers_close=True)

    assert log == ["start part", "unwound", "stop part"]
    assert [one.clean for one in house.records.of(GatewayStopped)] == [True]


class Job(msgspec.Struct, tag="job"):
    """An application's message."""


async def test_stop_asked_for_by_a_device(tmp_path: Path):
    """A handler may stop the gateway: it is cancelled with its device, and the stop goes on."""
    gateways: list[Gateway] = []

    async def stop(session: Session, job: Job) -> None:
        await gateways[0].stop()

    async with running(loopback(tmp_path), handlers=[Handler(Job, stop)]) as house:
        gateways.append(house.gateway)
        async with FakeDevice(house.url, MAC) as device:
            await device.send({"type": "job"})
            assert await device.expect_close() == 1001
            await house.gateway.wait_stopped()

    await nothing_is_left()


# --- what it is like ----------------------------------------------------------------------------------------------


async def test_readiness(tmp_path: Path):
    """Readiness says what the gateway is: starting, ready, draining, stopped; so does ``/readyz``."""
    may_start = asyncio.Event()
    while_stopping: list[Any] = []

    class Noting(Part):
        async def stop(self) -> None:
            while_stopping.append(gateway.not_ready())

    gateway = Gateway(loopback(tmp_path), features=[Noting([], waits=may_start)])
    assert gateway.not_ready() == ["new"]
    start = asyncio.create_task(gateway.start())
    await asyncio.sleep(0)
    assert gateway.not_ready() == ["starting"]
    may_start.set()
    await start
    assert gateway.not_ready() == []
    await gateway.stop()
    assert while_stopping == [["stopping", "draining"]]
    assert gateway.not_ready() == ["stopped", "draining"]


async def test_readyz(tmp_path: Path):
    """The HTTP port answers 200 while it is ready and 503 with the reasons while it is not; it lives in any case."""

    class Full(MemoryMailbox):
        failed: str | None = None

    mailbox = Full(per_device=1, total=1, dedupe=1, wall_clock=wall)
    async with running(loopback(tmp_path), mailbox=mailbox) as house:
        assert (await house.get("/readyz")).status == 200
        mailbox.failed = "no room"
        answer = await house.get("/readyz")
        assert (answer.status, b"the mailbox does not store" in answer.body) == (503, True)
        assert b"no room" not in answer.body
        mailbox.failed = None
        house.gateway._admission.draining = True
        answer = await house.get("/readyz")
        assert (answer.status, msgspec.json.decode(answer.body)["reasons"]) == (503, ["draining"])
        assert (await house.get("/healthz")).status == 200


@virtual_time
async def test_readyz_before_devices_are_served():
    """Whoever asks while the WebSocket port is not served yet hears that it starts."""
    reasons: list[Any] = []

    class Asking(SimulatedNetwork):
        async def serve(self, what: str, factory: Any) -> None:
            reasons.append(list(gateway.not_ready()))
            await super().serve(what, factory)

    gateway = Gateway(Config(mailbox=IN_MEMORY), network=Asking())
    async with gateway:
        assert reasons == [["starting"], ["starting"]]
        assert gateway.not_ready() == []


async def test_urls_and_records(tmp_path: Path):
    """Where it listens is told by its URLs and by records; before the start there is nothing to tell."""
    gateway = Gateway(loopback(tmp_path))
    with pytest.raises(Misuse):
        gateway.websocket_url  # noqa: B018 - it raises
    async with running(loopback(tmp_path)) as house:
        assert house.url == f"ws://127.0.0.1:{house.port}/xiaozhi/v1/"
        assert house.gateway.http_url == f"http://127.0.0.1:{house.gateway.network.port('http')}"
        listening = house.records.of(GatewayListening)
        assert [(one.what, one.address) for one in listening] == [
            ("websocket", f"127.0.0.1:{house.port}"),
            ("http", f"127.0.0.1:{house.gateway.network.port('http')}"),
        ]


async def test_purge(tmp_path: Path):
    """Emptying the mailbox of a device that is present closes it with 4010; of one that is not, nobody."""
    async with running(loopback(tmp_path)) as house, FakeDevice(house.url, "aa") as sender:
        await sender.send({"type": "peer", "to": "bb", "payload": {}, "id": "m"})
        assert (await sender.expect("peer"))["enqueued"] == ["bb"]
        assert await house.gateway.purge_mailbox(DeviceId("bb")) == 1
        assert await house.gateway.purge_mailbox(DeviceId("bb")) == 0
        assert await house.gateway.purge_mailbox(DeviceId("aa")) == 0
        assert await sender.expect_close() == 4010


@virtual_time
async def test_purge_of_what_is_in_flight():
    """What a present device was sent and has not acknowledged is gone with its mailbox, and does not come back."""
    async with simulated() as house:
        sender, target = await house.device("aa"), await house.device("bb", features={"peer_ack": True})
        sender.say({"type": "peer", "to": "bb", "payload": {}, "id": "m1"})
        sender.say({"type": "listen", "state": "start", "mode": "manual"})
        await turns()
        assert len(target.of("peer")) == 1
        assert await house.gateway.purge_mailbox(DeviceId("bb")) == 1
        assert target.close_code == 4010
        assert now() <= 1.0
        await turns()
        assert sender.of("peer")[-1]["enqueued"] == ["bb"]
        again = await house.device("bb", features={"peer_ack": True})
        await asyncio.sleep(10)
        assert again.of("peer") == []


@virtual_time
async def test_purge_by_the_device_itself():
    """A handler that empties its own device's mailbox is cut by the close, and the mailbox is empty all the same."""

    class Forget(msgspec.Struct, tag="forget"):
        """Forget my mail."""

    async def forget(session: Session, _: Forget) -> None:
        await house.gateway.purge_mailbox(session.device)

    async with simulated(handlers=[Handler(Forget, forget)]) as house:
        sender, target = await house.device("aa"), await house.device("bb", features={"peer_ack": True})
        sender.say({"type": "peer", "to": "bb", "payload": {}, "id": "m1"})
        await asyncio.sleep(1)
        assert sender.of("peer")[-1]["enqueued"] == ["bb"]
        target.say({"type": "forget"})
        await target.gone()
        await turns()
        again = await house.device("bb", features={"peer_ack": True})
        await asyncio.sleep(10)
        assert again.of("peer") == []


@virtual_time
async def test_silence_in_the_meeting_mode():
    """A device that has begun a meeting, where nobody has spoken yet, may be silent for three times as long."""
    async with simulated() as house:
        idle, meets = await house.device("aa"), await house.device("bb")
        meets.say({"type": "mode", "state": "start", "mode": "meeting"})

        assert await idle.gone(700) == pytest.approx(600, abs=2)
        assert await meets.gone(1300) == pytest.approx(1800, abs=2)
        assert (idle.close_code, meets.close_code) == (4003, 4003)


async def test_gauges(tmp_path: Path):
    """The metrics of the process are those of this gateway."""
    async with running(loopback(tmp_path)) as house, FakeDevice(house.url, MAC):
        text = (await house.get("/metrics")).body.decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        assert lines["wsdevice_devices"] == "1"
        assert lines["wsdevice_connections"] == "1"
        assert lines["wsdevice_draining"] == "0"
        assert lines["wsdevice_send_queue_bytes"] == "0"
        assert int(lines["wsdevice_threads"]) >= 2


async def test_without_a_disk(tmp_path: Path):
    """With the mailbox in memory nothing is written to the state directory, not even the directory itself."""
    directory = tmp_path / "state"
    async with running(loopback(directory, mailbox=IN_MEMORY)) as house, FakeDevice(house.url, MAC):
        pass

    assert not directory.exists()


async def test_threads_do_not_grow_with_devices(tmp_path: Path):
    """Thirty idle devices take no more threads than one, and a gateway without work has but those of its files."""
    async with running(loopback(tmp_path)) as house:
        devices = [FakeDevice(house.url, f"02:00:00:00:00:{number:02x}") for number in range(31)]
        await devices[0].connect()
        await devices[0].hello()
        before = threading.active_count()
        for device in devices[1:]:
            await device.connect()
            await device.hello()
        await until(lambda: len(house.gateway.registry) == 31)

        assert threading.active_count() <= before
        assert set(threads()) <= {"wsdevice-files-1", "wsdevice-mailbox-1"}
        for device in devices:
            await device.aclose()


@virtual_time
async def test_idle_devices_cost_one_timer_each():
    """An idle device has one timer and no task."""
    async with simulated() as house:
        await house.device("d0")
        await asyncio.sleep(1)
        tasks, waiting = len(asyncio.all_tasks()), len(timers())
        for number in range(1, 101):
            await house.device(f"d{number}")
        await asyncio.sleep(5)

        assert len(asyncio.all_tasks()) == tasks
        assert len(timers()) <= waiting + 100


@virtual_time
async def test_nothing_is_left_of_a_device():
    """When devices have come and gone, no timer, task or connection is left of them."""
    async with simulated() as house:
        await asyncio.sleep(1)
        tasks, waiting = len(asyncio.all_tasks()), len(timers())
        for number in range(20):
            peer = await house.device(f"d{number}", features={"peer_ack": True})
            peer.say({"type": "mode", "state": "start", "mode": "coding"})
            peer.say({"type": "listen", "state": "start"})
            await turns()
            peer.cut()
        await asyncio.sleep(5)

        assert len(asyncio.all_tasks()) == tasks
        assert len(timers()) <= waiting
        assert len(house.gateway.registry) == 0
        assert not house.gateway._board.connections


# --- what is imported ---------------------------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh process has loaded for a statement."""
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    return set(done.stdout.split())


def test_import_of_the_package():
    """Importing the package loads nothing else."""
    assert loaded_by("import gateway") == {"gateway"}


def test_import_of_the_application():
    """The application loads its three dependencies and nothing of tests, tools and other servers."""
    loaded = loaded_by("import gateway.app")
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)

    assert foreign - {"typing_extensions"} == {"gateway", "h11", "msgspec", "websockets"}
    assert not loaded & {"websockets.asyncio", "websockets.legacy", "websockets.sync", "websockets.client"}
    assert not loaded & {"argparse", "tomllib", "unittest", "multiprocessing", "http.server", "socketserver"}
    assert not loaded & {"gateway.cli", "gateway.serve", "gateway.config_file", "gateway.peer.mailbox_cli"}


def test_import_of_what_applications_build_on():
    """Writing a handler needs neither the transport nor the database."""
    loaded = loaded_by("import gateway.feature, gateway.errors, gateway.config")

    assert not loaded & {"asyncio", "sqlite3", "websockets", "h11", "gateway.device.connection", "gateway.app"}


def test_the_mailbox_path_decides():
    """Whether a file is used is said by the path alone."""
    assert Config(mailbox=MailboxConfig(path=":memory:")).mailbox_path == ":memory:"
