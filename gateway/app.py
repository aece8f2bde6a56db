"""The composition root: builds and joins everything; start, drain, stop.

An application extends the gateway here and nowhere else::

    gateway = Gateway(config, handlers=[Handler(Lamp, switch_lamp)], recognizer=MyEngine())
    async with gateway:
        await gateway.wait_stopped()
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from gateway.config import Config
from gateway.desk import MainDesk
from gateway.device.connection import Switchboard
from gateway.device.modes import Modes
from gateway.drain import close_all, let_finish
from gateway.errors import Misuse
from gateway.feature import Feature, Handler
from gateway.http.listener import HttpListener
from gateway.http.routes import http_routes
from gateway.identity import DeviceId
from gateway.listening import Network, open_network
from gateway.meeting.checkpoint import Checkpoint
from gateway.meeting.meeting import Meetings
from gateway.meeting.snapshot import Snapshots
from gateway.meeting.summary import Summarizer
from gateway.meeting.workflow import Workflow
from gateway.observe.clock import WallClock, wall_clock
from gateway.observe.events import DrainBegan, GatewayListening, GatewayStopped, Observer, Observers
from gateway.observe.metrics import LoopLag, Metrics
from gateway.peer.courier import Courier
from gateway.peer.intake import MayWrite
from gateway.peer.mailbox import Mailbox
from gateway.peer.mailboxes import IN_MEMORY, new_mailbox
from gateway.presence.admission import Admission
from gateway.presence.handover import Handover
from gateway.presence.reception import Reception
from gateway.presence.registry import Registry
from gateway.presence.stats import Stats
from gateway.protocol.close_codes import CloseCode
from gateway.protocol.tokens import Issued, verifier
from gateway.speech.dialogue import Dialogue
from gateway.speech.recognizers import LoopbackRecognizer, LoopbackSpeaker, Recognizer, Speaker
from gateway.steps import UNWIND_WAIT, cut_short, ends_well, to_its_end
from gateway.tasks import Tasks
from gateway.workers import Workers

_log = logging.getLogger(__name__)

_LOOPBACK_SECONDS = 3.0  # of speech before the loopback answers a device that never says `listen stop`
_CLOSE_WAIT = 2.0  # seconds for all connections to be gone: twice the close timeout of one
_HTTP_WAIT = 2.0  # for answers under way; an image that is being downloaded is asked for again by its device
_STOP_WAIT = 15.0  # for one feature to put away what must survive


class _Handlers(Feature):
    """An application's handlers, which are a feature without a life of its own."""

    def __init__(self, handlers: Iterable[Handler[Any]]) -> None:
        self._handlers = tuple(handlers)

    def handlers(self) -> Iterable[Handler[Any]]:
        return self._handlers


class Gateway:
    """One gateway; ``async with`` starts and stops it.

    Args:
        config: all settings; the defaults listen on loopback.
        handlers: an application's message types; one for a built-in type takes its place.
        features: an application's features, which hear of sessions after the built-in ones.
        recognizer, speaker: the speech engine; the default replays what it heard.
        summarizer: makes the summaries of meetings; the default picks sentences.
        mailbox: keeps messages; the default is SQLite at `Config.mailbox_path`.
        may_write: who may write to whom; the default is `PeerConfig.reach`.
        observers: are shown every record of what happens.
        network: where it listens; the default binds the configured addresses at `start`.
        clock: seconds since 1970, for stamps and expiry.

    Attributes:
        config: as given.
        metrics: the Prometheus registry, which an application may add its own gauges to.
        workers: the thread pool, and the way from threads into the loop.
        registry: who is present.
        observers: to add and remove observers while it runs.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        handlers: Iterable[Handler[Any]] = (),
        features: Iterable[Feature] = (),
        recognizer: Recognizer | None = None,
        speaker: Speaker | None = None,
        summarizer: Summarizer | None = None,
        mailbox: Mailbox | None = None,
        may_write: MayWrite | None = None,
        observers: Iterable[Observer] = (),
        network: Network | None = None,
        clock: WallClock = wall_clock,
    ) -> None:
        self.config = config = config or Config()
        self.metrics = Metrics()
        self.observers = Observers((self.metrics, *observers))
        self.registry = Registry()
        self.workers = Workers(config.meeting.threadpool_max_workers, config.meeting.threadpool_queue)
        self._files = self.workers.dedicated("files")
        self._clock = clock
        self._network = network
        self._mailbox = mailbox or self._default_mailbox()
        self._courier = Courier(config.peer, self._mailbox, self.observers, clock, may_write)
        snapshots = Snapshots(test_mode=config.workflow.test_mode)
        self._meetings = Meetings(
            config.meeting,
            self.observers,
            snapshots,
            self.workers.run,
            self._courier.send_summary,
            summarizer,
            clock,
        )
        workflow = Workflow(config.workflow, self.observers, snapshots)
        # before the two it puts away: features stop in the opposite order, and what they finish must be in the file
        checkpoint: list[Feature] = []
        if config.mailbox_path != IN_MEMORY:
            directory = config.state_directory
            checkpoint = [Checkpoint(directory, self._meetings, workflow, clock, self._files)]
        self._dialogue = Dialogue(
            config.speech, recognizer or LoopbackRecognizer(end_after=_LOOPBACK_SECONDS), speaker or LoopbackSpeaker()
        )
        self._features: list[Feature] = [
            self._courier,
            *checkpoint,
            workflow,
            self._meetings,
            Modes(self._meetings.on_mode_start),
            self._dialogue,
            Stats(config.stats, clock),
        ]
        self._features += [_Handlers(handlers), *features]
        self._desk = MainDesk(config, self.observers, self._features, self._dialogue, self._meetings)
        self._admission = Admission(config)
        self._handover = Handover(config.handover, self.observers)
        self._departures = Tasks("departures")
        self._background = Tasks("gateway")
        self._lag = LoopLag()
        self._board: Switchboard | None = None
        self._http: HttpListener | None = None
        self._started_features: list[Feature] = []
        self._state = "new"
        self._began: float | None = None
        self._stopped = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._register_gauges()

    # --- starting -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop at once, without a drain."""
        await self.stop()

    async def start(self) -> None:
        """Bind, open the mailbox, start the features, then take devices.

        Raises:
            CannotListen: an address could not be had.
            MailboxFailed: the mailbox could not be opened.
            Misuse: it was started before, or `stop` was called before the start had ended.

        When it raises, everything that was begun has been ended.
        """
        if self._state != "new":
            raise Misuse(f"expected a new gateway, but this one is {self._state}")
        self._state = "starting"
        loop = asyncio.get_running_loop()
        self._starting = loop.create_task(self._start(), name="gateway start")
        try:
            await asyncio.wait((self._starting,))
            if self._starting.cancelled():
                raise Misuse("expected to be let start, but the gateway was stopped meanwhile")
            self._starting.result()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        """Take one step after the other; `_stop` cancels it."""
        network = await to_its_end(self._open_network())
        self.workers.bind(asyncio.get_running_loop())
        await to_its_end(self._mailbox.open())
        for feature in self._features:
            self._started_features.append(feature)
            await feature.start()
        self._background.spawn(self._lag.run(), "loop lag")
        await self._serve(network)
        self._state = "running"
        self._began = asyncio.get_running_loop().time()

    async def _open_network(self) -> Network:
        if self._network is None:
            loop = asyncio.get_running_loop()
            self._network = await loop.run_in_executor(self._files, open_network, self.config.server)
            if self._state != "starting":  # a name took longer to resolve than the stop would wait
                self._network.close()
        return self._network

    async def _serve(self, network: Network) -> None:
        issued = Issued()
        routes = http_routes(
            self.config,
            issued=issued,
            wall_clock=self._clock,
            ws_port=lambda: network.port("websocket"),
            is_draining=lambda: self.is_draining,
            not_ready=self.not_ready,
            metrics=self.metrics.render,
            executor=self._files,
        )
        self._http = HttpListener(routes, self.observers, self._clock, is_draining=lambda: self.is_draining)
        reception = Reception(
            self._desk,
            verifier(self.config.auth, issued, self._clock),
            self.registry,
            self._handover,
            self._admission,
            self._departures,
        )
        self._board = Switchboard(self.config, reception)
        await network.serve("http", self._http.protocol_factory)
        await network.serve("websocket", self._board.connection)
        for warning in network.warnings:
            _log.warning("%s", warning)
        for address in network.addresses("websocket"):
            self.observers.emit(GatewayListening(what="websocket", address=address))
        for address in network.addresses("http"):
            self.observers.emit(GatewayListening(what="http", address=address))

    def _default_mailbox(self) -> Mailbox:
        # SQLite has a thread of its own: a commit must not wait behind an application's work
        path = self.config.mailbox_path
        executor = None if path == IN_MEMORY else self.workers.dedicated("mailbox")
        return new_mailbox(self.config, self._clock, executor)

    # --- what it is like ----------------------------------------------------------------------------------------

    @property
    def is_draining(self) -> bool:
        """Whether it takes no more devices because it is going down."""
        return self._admission.draining

    @property
    def network(self) -> Network:
        """Where it listens; `Misuse` before it was started."""
        if self._network is None:
            raise Misuse("expected a started gateway, this one listens nowhere yet")
        return self._network

    @property
    def websocket_url(self) -> str:
        """A URL that devices on this machine can connect to."""
        return f"ws://{self.network.addresses('websocket')[0]}{self.config.server.paths[0]}"

    @property
    def http_url(self) -> str:
        """The root of the HTTP port, without a slash at its end."""
        return f"http://{self.network.addresses('http')[0]}"

    def not_ready(self) -> Sequence[str]:
        """Return why it takes no devices now; empty when it does."""
        reasons = []
        if self._state != "running":
            reasons.append(self._state)
        if self.is_draining:
            reasons.append("draining")
        if self._mailbox.failed is not None:
            reasons.append("the mailbox does not store")  # why is for the log: anybody may ask here
        return reasons

    async def purge_mailbox(self, device: DeviceId) -> int:
        """Close a device with 4010, if it is present, and empty its mailbox; return how many letters are gone.

        What was in flight to it goes, too. It is finished even when the caller is cancelled, which may be a handler of
        the device.
        """
        return await to_its_end(self._purge(device))

    async def _purge(self, device: DeviceId) -> int:
        session = self.registry.get(device)
        if session is not None:
            connection = session.channel.connection
            connection.close(CloseCode.MAILBOX_KICK, "the mailbox is emptied")
            await connection.wait_closed()  # what was in flight is on its way to the mailbox then, ahead of us
        return await self._mailbox.purge(device)

    # --- going down ---------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Take no more devices, let those that are here finish (`DrainConfig`), then stop.

        A further call joins the first. Like `stop` it goes on when its caller is cancelled: the caller may be the
        handler of a device, which is closed like all others. A call of `stop` cuts it short.
        """
        if self._state == "running" and self._draining is None:
            self._admission.draining = True
            self.observers.emit(DrainBegan(devices=len(self.registry)))
            letting = let_finish(self.config.drain, self.registry, self._desk)
            self._draining = self._background.spawn(letting, "drain")
            self._draining.add_done_callback(lambda _: self._begin_stop())
        if self._draining is not None:
            await asyncio.wait((self._draining,))
        await self.stop()

    async def stop(self) -> None:
        """Stop at once, bounded in every step; idempotent, and finished even when the caller is cancelled."""
        await asyncio.shield(self._begin_stop())

    async def wait_stopped(self) -> None:
        """Wait until everything is down."""
        await self._stopped.wait()

    def _begin_stop(self) -> asyncio.Task[None]:
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="gateway stop")
        return self._stopping

    async def _stop(self) -> None:
        self._state = "stopping"
        self._admission.draining = True
        clean = False
        try:
            clean = await self._take_down()
        finally:
            self._state = "stopped"
            seconds = 0.0 if self._began is None else asyncio.get_running_loop().time() - self._began
            self.observers.emit(GatewayStopped(seconds=seconds, clean=clean))
            self._stopped.set()

    async def _take_down(self) -> bool:
        # 0. a start that is under way
        clean = self._starting is None or await cut_short(self._starting, _STOP_WAIT)
        # 1. no more connections
        if self._network is not None:
            self._network.close()
        # 2. what is being answered on the HTTP port
        if self._http is not None:
            await self._http.close(_HTTP_WAIT)
        # 3. all devices: their sessions end, their unconfirmed messages go to the mailbox
        clean &= await self._close_connections()
        await self._handover.close(UNWIND_WAIT)
        clean &= await self._departures.finish(_STOP_WAIT)
        clean &= await self._departures.close(UNWIND_WAIT)
        # 4. features, in the order opposite to their start
        for feature in reversed(self._started_features):
            if not await ends_well(feature.stop(), f"stop of {type(feature).__name__}", _STOP_WAIT):
                _log.error("%s could not put away what must survive", type(feature).__name__)
                clean = False
        # 5. the mailbox has nothing more to come
        clean &= await ends_well(self._mailbox.close(), "closing of the mailbox", _STOP_WAIT)
        # 6. threads, then what only watched
        clean &= await self.workers.close(_STOP_WAIT)
        clean &= await self._background.close(UNWIND_WAIT)
        # 7. sockets that were accepted in the very moment of the stop
        return await self._close_connections() and clean

    async def _close_connections(self) -> bool:
        return self._board is None or await close_all(self._board.connections, _CLOSE_WAIT)

    # --- gauges -------------------------------------------------------------------------------------------------

    def _register_gauges(self) -> None:
        gauge, courier = self.metrics.gauge, self._courier
        gauge("wsdevice_connections", lambda: self._admission.connections)
        gauge("wsdevice_devices", lambda: len(self.registry))
        gauge("wsdevice_handovers", lambda: len(self._handover))
        gauge("wsdevice_send_queue_bytes", self._queued_bytes)
        gauge("wsdevice_peer_unacked", lambda: courier.unconfirmed)
        gauge("wsdevice_peer_waiting", lambda: courier.in_memory)
        gauge("wsdevice_mailbox_failed", lambda: self._mailbox.failed is not None)
        gauge("wsdevice_mailbox_dropped", lambda: courier.depth.dropped)
        gauge("wsdevice_mailbox_letters", lambda: courier.depth.waiting)
        gauge("wsdevice_mailbox_set_aside", lambda: courier.depth.set_aside)
        gauge("wsdevice_mailbox_oldest_seconds", lambda: courier.depth.oldest_seconds)
        gauge("wsdevice_meetings", lambda: len(self._meetings))
        gauge("wsdevice_dictations", lambda: self._dialogue.dictations)
        gauge("wsdevice_loop_lag_seconds", self._lag.take)
        gauge("wsdevice_threads", threading.active_count)
        gauge("wsdevice_pool_calls", lambda: self.workers.taken)
        gauge("wsdevice_draining", lambda: self.is_draining)

    def _queued_bytes(self) -> int:
        return sum(connection.queued for connection in self._board.connections) if self._board is not None else 0
