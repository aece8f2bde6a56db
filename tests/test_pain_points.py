"""The ten pain points of the servers this gateway replaces: each as it hurt, and as its first fix still hurts.

Of each pair, the first test fails on the defect itself, the second on the hole that the obvious fix leaves.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import errno
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.app import Gateway
from gateway.config import Config, MeetingConfig, ServerConfig, StatsConfig, WorkflowConfig
from gateway.config_file import load
from gateway.device.outbox import Sent
from gateway.device.session import Session
from gateway.errors import CannotListen, LoopNotRunning, Misuse
from gateway.feature import Feature, Handler
from gateway.identity import DeviceId
from gateway.observe.events import (
    HandoverEnded,
    PeerRedelivered,
    PingLimited,
    PongSent,
    SnapshotCancelled,
    SnapshotSent,
    TaskFailed,
)
from gateway.tasks import Tasks
from harness.fakes.device import FakeDevice
from tests.raw_peer import CLOSE, RawPeer, say, upgrade
from tests.running import Running, loopback, running, threads, until

ROOT = Path(__file__).parents[1]
NOTICE = {"type": "system", "message": "检测到新连接，当前通道将于约1.5秒后关闭以切换到新通道"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Loopback, free ports."""
    return loopback(tmp_path)


class Job(msgspec.Struct, tag="job"):
    """An application's message."""

    text: str = ""


class JobDone(msgspec.Struct, tag="job"):
    """An application's answer."""

    text: str


async def session_of(house: Running, device: str) -> Session:
    """Wait until a device is present; return its session."""
    session: Session = await until(lambda: house.gateway.registry.get(DeviceId(device)))
    return session


# --- 1: AttributeError when calling send_json on a websocket ---------------------------------------------------------


async def test_1_send_json(config: Config):
    """``send_json`` raised AttributeError, as the library's connection has none: here mappings and structs arrive."""

    def answer(session: Session, job: Job) -> None:
        assert session.send_json({"type": "custom", "payload": {"text": job.text}}) is Sent.WRITTEN
        assert session.send_json(JobDone(job.text)) is Sent.WRITTEN

    async with running(config, handlers=[Handler(Job, answer)]) as house, FakeDevice(house.url, "aa") as device:
        await device.send({"type": "job", "text": "喂"})

        assert await device.expect("custom") == {"type": "custom", "payload": {"text": "喂"}}
        assert await device.expect("job") == {"type": "job", "text": "喂"}


async def test_1_send_json_says_what_became_of_it(config: Config):
    """The wrapper swallowed every error, so that nobody knew what was sent: here each send says so, and none raises."""
    async with running(config) as house:
        peer = await RawPeer.open(house.port, upgrade(Device_Id="aa"), receive_buffer=4096)
        session = await session_of(house, "aa")
        assert session.send_json({"type": "custom", "payload": object()}) is Sent.FAILED
        results = []
        while Sent.QUEUED not in results:  # the peer does not read
            results.append(session.send_json({"type": "custom", "payload": "x" * 8000}))
            await asyncio.sleep(0)
        assert results[0] is Sent.WRITTEN
        peer.reset()
        await until(lambda: house.gateway.registry.get(DeviceId("aa")) is None)
        assert session.send_json({"type": "custom", "payload": 1}) is Sent.FAILED


# --- 2: event loop binding in a multi-threaded environment ---------------------------------------------------------


def test_2_loop_binding(config: Config):
    """The loop was bound where the server was made, in another thread than the one it runs in: here where it runs."""
    gateways: list[Gateway] = []
    maker = threading.Thread(target=lambda: gateways.append(Gateway(config)))  # a thread without any loop
    maker.start()
    maker.join()
    pongs: list[dict[str, Any]] = []

    async def serve() -> None:
        async with gateways[0] as gateway, FakeDevice(gateway.websocket_url, "aa") as device:
            loop, tasks = asyncio.get_running_loop(), Tasks("test")

            async def which_loop() -> asyncio.AbstractEventLoop:
                return asyncio.get_running_loop()

            def from_a_thread() -> asyncio.AbstractEventLoop:
                return gateway.workers.call_from_thread(which_loop(), tasks).result(5)

            assert await gateway.workers.run(from_a_thread) is loop
            await device.send({"type": "ping"})
            pongs.append(await device.expect("pong"))
            await tasks.close(1)

    runner = threading.Thread(target=lambda: asyncio.run(serve()))
    runner.start()
    runner.join(10)

    assert pongs == [{"type": "pong"}]


async def test_2_loop_binding_does_not_guess(config: Config):
    """Where no loop was running, ``get_event_loop`` found another one: here a call without the gateway's loop fails."""
    gateway, tasks = Gateway(config), Tasks("test")
    began: list[int] = []

    async def work() -> None:
        began.append(1)

    def call() -> None:
        with pytest.raises(LoopNotRunning):
            gateway.workers.call_from_thread(work(), tasks)

    await asyncio.to_thread(call)  # before its start, with another loop running in the process
    await gateway.start()
    await gateway.stop()
    await asyncio.to_thread(call)
    await asyncio.sleep(0)

    assert began == []
    with pytest.raises(Misuse):
        Gateway(config).workers.call_from_thread(work(), tasks)


# --- 3: duplicate heartbeat handling -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ping", "keepalive"])
async def test_3_heartbeat(config: Config, kind: str):
    """Heartbeats were handled in several places: here one is answered once, before the hello as well, and no more."""
    async with running(config) as house, await RawPeer.open(house.port, upgrade(Device_Id="aa")) as peer:
        await peer.send(say({"type": kind}))
        await peer.send(say({"type": kind, "id": 7}))
        await peer.send(say({"type": "mode", "state": "end", "mode": "coding"}))

        assert (await peer.frame()).payload == b'{"type":"pong"}'
        assert await peer.message() == {"type": "pong", "id": 7}
        assert (await peer.message())["type"] == "mode"
        assert len(house.records.of(PongSent)) == 2


async def test_3_heartbeat_storm(config: Config):
    """Each of 3,000 pings in a second was answered: here a storm gets what its budget has, and one word of advice."""
    async with running(config) as house, FakeDevice(house.url, "bb") as neighbour:
        peer = await RawPeer.open(house.port, upgrade(Device_Id="aa"))
        began = time.monotonic()
        await peer.send(say({"type": "ping"}) * 3000)
        await neighbour.send({"type": "ping"})
        await neighbour.expect("pong", timeout=1)
        await until(lambda: len(house.records.of(PongSent)) + len(house.records.of(PingLimited)) > 300)
        pongs, seconds = len(house.records.of(PongSent)) - 1, time.monotonic() - began

        assert 20 <= pongs <= 20 + 5 * seconds + 1
        frames = [await peer.message() for _ in range(21)]
        assert frames[:20] == [{"type": "pong"}] * 20
        assert (frames[20]["type"], frames[20].get("code")) == ("error", "RATE_LIMITED")
        peer.cut()


# --- 4: delayed snapshots --------------------------------------------------------------------------------------------


def delayed(config: Config, delay_ms: float) -> Config:
    """Settings with a delay of the snapshot on register."""
    workflow = WorkflowConfig(test_mode=True, snapshot_on_register_delay_ms=delay_ms, debounce=0.05)
    return msgspec.structs.replace(config, workflow=workflow)


async def test_4_delayed_snapshot(config: Config):
    """A delayed snapshot raced with what changed meanwhile: here it comes once, in time, as things stand by then."""
    async with running(delayed(config, 2000)) as house, FakeDevice(house.url, "group-01-a") as author:
        await author.send({"type": "workflow", "event": "update", "tasks": ["old"]})
        await author.expect("workflow", tasks=["old"])
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with FakeDevice(house.url, "group-01-b") as device:
            await author.send({"type": "workflow", "event": "update", "tasks": ["new"]})
            await author.expect("workflow", tasks=["new"])  # the author's group was told, this device among it
            await device.expect("workflow", tasks=["new"])
            assert (await device.expect("workflow"))["tasks"] == ["new"]
            assert loop.time() - began >= 2.0
            snapshots = [one for one in house.records.of(SnapshotSent) if one.device == "group-01-b"]
            assert [one.delay_ms for one in snapshots] == [2000]


async def test_4_delayed_snapshot_is_cancelled(config: Config):
    """The task was kept nowhere and fired after the disconnect: here it goes with its connection."""
    async with running(delayed(config, 1000)) as house, FakeDevice(house.url, "group-01-a") as author:
        await author.send({"type": "workflow", "event": "update", "tasks": ["one"]})
        await author.expect("workflow", tasks=["one"])
        device = FakeDevice(house.url, "group-01-b")
        await device.connect()
        await device.hello()
        await device.aclose()
        await until(lambda: [one.why for one in house.records.of(SnapshotCancelled)] == ["offline"])
        await device.connect()
        await device.hello()
        again = FakeDevice(house.url, "group-01-b")  # a handover: the older connection stays open for a while
        await again.connect()
        await again.hello()
        await again.expect("workflow", tasks=["one"])  # those that were cancelled were due before it

        sent = [one for one in house.records.of(SnapshotSent) if one.device == "group-01-b"]
        assert len(sent) == 1
        assert [one.why for one in house.records.of(SnapshotCancelled)] == ["offline", "replaced"]
        assert [message["type"] for message in device.received].count("workflow") == 0
        assert house.records.of(TaskFailed) == []
        await device.aclose()
        await again.aclose()


# --- 5: port binding failures ---------------------------------------------------------------------------------------


async def test_5_port(config: Config):
    """A taken port was noticed late, or never: here the start fails at once, and says where and why."""
    async with running(config) as house:
        server = msgspec.structs.replace(config.server, ws_port=house.port, state_dir=f"{config.server.state_dir}/2")
        second = Gateway(msgspec.structs.replace(config, server=server))
        began = time.monotonic()
        with pytest.raises(CannotListen) as failure:
            await second.start()

        assert time.monotonic() - began < 1
        assert failure.value.address == f"127.0.0.1:{house.port}"
        assert failure.value.cause.errno == errno.EADDRINUSE
        assert second.not_ready() == ["stopped", "draining"]
        with pytest.raises(Misuse):
            second.network  # noqa: B018 - it raises


def has_ipv6() -> bool:
    """Whether this machine can listen on ::1."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


class Thief(Feature):
    """Another program, which tries to take a port between the check and the start of the server."""

    def __init__(self) -> None:
        self.gateway: Any = None
        self.failures: list[int | None] = []

    async def start(self) -> None:
        """Try, as the gateway has bound and does not serve yet."""
        for what in ("websocket", "http"):
            with socket.socket() as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    taken.bind(("127.0.0.1", self.gateway.network.port(what)))
                    taken.listen()
                except OSError as error:
                    self.failures.append(error.errno)


async def test_5_port_is_bound_not_checked(config: Config):
    """A port was checked and bound later, and for IPv4 only: here all are held from the first look at them."""
    thief = Thief()
    thief.gateway = Gateway(config, features=[thief])
    async with thief.gateway as gateway:
        assert thief.failures == [errno.EADDRINUSE] * 2
        assert gateway.network.port("websocket") not in {0, gateway.network.port("http")}
    if not has_ipv6():
        return
    with socket.socket(socket.AF_INET6) as held:
        held.bind(("::1", 0))
        held.listen()
        both = ServerConfig(host=["127.0.0.1", "::1"], ws_port=held.getsockname()[1], http_port=0, state_dir="unused")
        with pytest.raises(CannotListen, match=r"\[::1\]"):
            await Gateway(Config(server=both)).start()


# --- 6: duplicate device connections --------------------------------------------------------------------------------


async def test_6_duplicate_connection(config: Config):
    """A device that reconnected stood against itself: here the newer connection works, the older is told and closed."""
    async with running(config) as house:
        old, new = FakeDevice(house.url, "aa"), FakeDevice(house.url, "aa")
        await old.connect()
        await old.hello()
        await new.connect()
        await new.hello()

        assert await old.expect("system") == NOTICE
        await new.send({"type": "ping"})
        assert await new.expect("pong") == {"type": "pong"}
        assert len(house.gateway.registry) == 1
        assert await old.expect_close(5) == 4001
        assert new.close_code is None
        await old.aclose()
        await new.aclose()


async def test_6_duplicate_connection_that_never_answers(config: Config):
    """The older socket stayed for 11.5 s, as no Close was answered, and its end unregistered the newer one.

    Here it is gone soon after its window of 1.5 s, was sent nothing meanwhile, and its end changes nothing.
    """
    async with running(config) as house:
        old = await RawPeer.open(house.port, upgrade(Device_Id="aa"))
        await old.send(say({"type": "hello"}))
        assert (await old.message())["type"] == "hello"
        new = FakeDevice(house.url, "aa")
        await new.connect()
        await new.hello()
        assert await old.message() == NOTICE
        session = await session_of(house, "aa")
        for number in range(5):
            session.send_json({"type": "custom", "payload": number})
            session.send_audio(b"opus")
        frames = await old.all_frames()
        (ended,) = await until(lambda: house.records.of(HandoverEnded))

        assert 1.5 <= ended.seconds < 5.0
        assert [found.opcode for found in frames] == [CLOSE]
        assert frames[0].code == 4001
        await until(lambda: len(house.gateway._handover) == 0)
        assert house.gateway.registry.get(DeviceId("aa")) is session
        await new.send({"type": "ping"})
        assert await new.expect("pong") == {"type": "pong"}
        assert len(new.audio) == 5
        old.cut()
        await new.aclose()


# --- 7: inconsistent ways of sending JSON ---------------------------------------------------------------------------


def calls_of(*names: str) -> Iterator[tuple[str, str]]:
    """All calls of methods or functions of these names in the gateway: (file, name)."""
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source if any(name in source for name in names) else "")):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if name in names:
                    yield path.relative_to(ROOT / "gateway").as_posix(), name


async def test_7_one_way_to_send(config: Config):
    """JSON was sent in two dozen places in two ways: here only a channel hands text to a socket, as plain UTF-8."""
    assert {path for path, _ in calls_of("send_text")} == {"device/channel.py"}
    assert {path for path, _ in calls_of("text_frame", "binary_frame")} == {"device/connection.py"}
    assert {path for path, _ in calls_of("dumps")} <= {"config_reference.py", "observe/logging.py"}

    config = msgspec.structs.replace(config, stats=StatsConfig(every=0.1))
    async with running(config) as house, await RawPeer.open(house.port, upgrade(Device_Id="aa")) as peer:
        for message in (
            {"type": "hello", "features": {"stats": True}},
            {"type": "mode", "state": "start", "mode": "coding"},
            {"type": "workflow", "event": "snapshot"},
            {"type": "peer", "to": "喂", "payload": {}, "id": "m"},
            {"type": "listen", "state": "detect", "text": "喂"},
            {"type": "meeting", "phase": "喂"},
            {"type": "nobody knows"},
        ):
            await peer.send(say(json.dumps(message, ensure_ascii=False)))
        kinds: dict[str, bytes] = {}
        while not {"hello", "mode", "workflow", "peer", "stt", "tts", "meeting", "error", "server"} <= kinds.keys():
            found = await peer.frame()
            kinds[found.message["type"]] = found.payload
        assert "喂".encode() in kinds["stt"]
        assert "喂".encode() in kinds["peer"]


async def test_7_every_way_to_send_tells(config: Config):
    """Only some of the ways told of a failure, by an exception: here all of them say FAILED when the device is gone."""
    async with running(config) as house:
        device = FakeDevice(house.url, "aa")
        await device.connect()
        await device.hello()
        session = await session_of(house, "aa")
        channel = session.channel
        device.cut()
        await until(lambda: house.gateway.registry.get(DeviceId("aa")) is None)

        assert session.send_json({"type": "custom", "payload": 1}) is Sent.FAILED
        assert session.send_audio(b"opus") is Sent.FAILED
        assert session.send_error("BUSY", "no room") is Sent.FAILED
        assert channel.send_notice() is Sent.FAILED
        assert channel.connection.send_text(b"{}") is Sent.FAILED
        assert channel.connection.send_ping() is Sent.FAILED


# --- 8: thread pool sizing --------------------------------------------------------------------------------------------


class Crowd:
    """Work that notes how many of it run at once, and waits until it may end."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.most = self._now = 0
        self._lock = threading.Lock()

    def __call__(self) -> None:
        """Work."""
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self.may_end.wait(10)
        with self._lock:
            self._now -= 1


@pytest.mark.parametrize("size", [None, 1, 3])
async def test_8_thread_pool(config: Config, size: int | None):
    """The pool had a fixed size: here it has 2 threads, or as many as are configured."""
    meeting = MeetingConfig() if size is None else MeetingConfig(threadpool_max_workers=size)
    async with running(msgspec.structs.replace(config, meeting=meeting)) as house:
        crowd = Crowd()
        calls = [asyncio.create_task(house.gateway.workers.run(crowd)) for _ in range(8)]
        await until(lambda: crowd.most == (size or 2))
        await asyncio.sleep(0.02)  # in which a further one would have begun
        crowd.may_end.set()
        await asyncio.gather(*calls)

        assert crowd.most == (size or 2)


async def test_8_thread_pool_is_the_processes(config: Config):
    """Each connection had threads of its own, and any value was taken as a size: here one pool is shared and bounded.

    Twenty devices at once get two threads and a queue; whoever comes past it is told BUSY. A size that makes no sense
    is 2, with one warning.
    """
    for value in ("true", "-1", "lots", "1000000"):
        loaded = load(None, {"WSDEVICE_MEETING_THREADPOOL_MAX_WORKERS": value})
        assert (loaded.config.meeting.threadpool_max_workers, len(loaded.warnings)) == (2, 1)
    crowd, gateways = Crowd(), list[Gateway]()

    async def work(session: Session, job: Job) -> None:
        await gateways[0].workers.run(crowd)

    config = msgspec.structs.replace(config, meeting=MeetingConfig(threadpool_queue=5))
    async with running(config, handlers=[Handler(Job, work)]) as house, contextlib.AsyncExitStack() as stack:
        gateways.append(house.gateway)
        devices = [await stack.enter_async_context(FakeDevice(house.url, f"d{number}")) for number in range(20)]
        for device in devices:
            await device.send({"type": "job"})
        busy = [device for device in devices[7:] if (await device.expect("error"))["code"] == "BUSY"]

        assert len(busy) == 13
        await until(lambda: crowd.most == 2)
        assert len([name for name in threads() if "worker" in name]) == 2
        crowd.may_end.set()


# --- 9: offline redelivery -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def with_mail(config: Config, count: int) -> AsyncIterator[tuple[Running, FakeDevice]]:
    """A gateway with mail for ``bb``, and its sender ``aa``."""
    async with running(config) as house, FakeDevice(house.url, "aa") as sender:
        for number in range(count):
            await sender.send({"type": "peer", "to": "bb", "payload": {"n": number}, "id": f"m{number}"})
            assert (await sender.expect("peer", id=f"m{number}"))["enqueued"] == ["bb"]
        yield house, sender


async def test_9_redelivery(config: Config):
    """Nobody knew how many messages of whom were redelivered: here each sender gets one receipt with the number."""
    async with with_mail(config, 3) as (house, sender), FakeDevice(house.url, "cc") as other:
        await other.send({"type": "peer", "to": "bb", "payload": {"n": 3}, "id": "m3"})
        assert (await other.expect("peer"))["enqueued"] == ["bb"]
        async with FakeDevice(house.url, "bb") as device:
            letters = [await device.expect("peer") for _ in range(4)]

            receipt = await sender.expect("peer", event="redelivered")
            assert {name: receipt[name] for name in ("type", "event", "to", "count")} == {
                "type": "peer",
                "event": "redelivered",
                "to": "bb",
                "count": 3,
            }
            assert (await other.expect("peer", event="redelivered"))["count"] == 1
            assert [(one["from"], one["payload"]["n"], one["redelivered"]) for one in letters] == [
                ("aa", 0, True),
                ("aa", 1, True),
                ("aa", 2, True),
                ("cc", 3, True),
            ]
        assert len(house.records.of(PeerRedelivered)) == 2


async def test_9_redelivery_that_fails(config: Config):
    """Mail was taken out before it was sent, and the receipt of an absent sender was lost: here neither is.

    A device that takes its mail and goes without a word gets it again under the same ids; the sender, who has left
    meanwhile, gets one receipt when it is back, and it counts each message once.
    """
    async with with_mail(config, 3) as (house, sender):
        rude = FakeDevice(house.url, "bb", acks=False, features={"peer_ack": True})  # it promises, and does not
        await rude.connect()
        await rude.hello()
        first = [(await rude.expect("peer"))["id"] for _ in range(3)]
        rude.cut()
        await until(lambda: house.gateway.registry.get(DeviceId("bb")) is None)
        assert [message for message in sender.received if message.get("event") == "redelivered"] == []
        await sender.aclose()
        await until(lambda: house.gateway.registry.get(DeviceId("aa")) is None)
        async with FakeDevice(house.url, "bb") as device:
            assert [(await device.expect("peer"))["id"] for _ in range(3)] == first
            await until(lambda: house.records.of(PeerRedelivered))
            await sender.connect()
            await sender.hello()
            receipt = await sender.expect("peer", event="redelivered")
            assert (receipt["to"], receipt["count"]) == ("bb", 3)
            await rude.aclose()


# --- 10: calls from threads into the loop ----------------------------------------------------------------------------


async def test_10_cross_thread(config: Config):
    """Calls from threads used a loop that might not be there: here they run in the gateway's loop, for their device."""

    async def answer(session: Session, text: str) -> str:
        session.send_json({"type": "custom", "payload": text})
        return threading.current_thread().name

    async with running(config) as house, FakeDevice(house.url, "aa") as device:
        session = await session_of(house, "aa")

        def engine() -> str:
            return house.gateway.workers.call_from_thread(answer(session, "heard"), session.tasks).result(5)

        assert await house.gateway.workers.run(engine) == threading.current_thread().name
        assert (await device.expect("custom"))["payload"] == "heard"


async def test_10_cross_thread_failures_are_seen(config: Config, caplog: pytest.LogCaptureFixture):
    """``if self.loop`` hid that nothing was called, and no exception was ever seen: here both are.

    The future has the exception, the log its traceback; what runs for a device is cancelled with it; a call for a
    device that is gone, or into a gateway that has stopped, raises.
    """

    async def broken() -> None:
        raise RuntimeError("a bug in the engine's callback")

    async with running(config) as house:
        device = FakeDevice(house.url, "aa")
        await device.connect()
        session = await session_of(house, "aa")
        call = house.gateway.workers.call_from_thread
        with caplog.at_level(logging.ERROR):
            failed = await asyncio.to_thread(call, broken(), session.tasks)
            await until(failed.done)
        assert isinstance(failed.exception(), RuntimeError)
        assert "a bug in the engine's callback" in caplog.text
        assert [one.device for one in house.records.of(TaskFailed)] == ["aa"]

        waiting = await asyncio.to_thread(call, asyncio.sleep(3600), session.tasks)
        device.cut()
        await until(waiting.done)
        assert waiting.cancelled()
        late = await asyncio.to_thread(call, broken(), session.tasks)
        await until(late.done)
        assert isinstance(late.exception(), Misuse)
        await device.aclose()
    with pytest.raises(LoopNotRunning):
        await asyncio.to_thread(call, broken(), session.tasks)
