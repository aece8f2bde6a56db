"""Defects of the process: its start, its drain, its restart."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from hashlib import sha256
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from gateway.app import Gateway
from gateway.config import DrainConfig, ServerConfig
from gateway.desk import MainDesk
from gateway.device.connection import Connection
from gateway.device.session import Session
from gateway.drain import let_finish
from gateway.errors import CannotListen
from gateway.listening import ListeningSockets, Network, ProtocolFactory, What, bind, open_network
from gateway.meeting.checkpoint import Checkpoint
from gateway.peer.courier import Courier
from gateway.presence.admission import Admission
from gateway.presence.registry import Registry
from gateway.protocol.close_codes import CloseCode
from gateway.speech.dialogue import Conversation
from harness.faulty.twins import defect

Planted = AbstractContextManager[object]

TAKEN = "test_start.py::test_a_port_that_is_taken_fails_the_start"
SECOND = "test_start.py::test_a_second_gateway_on_the_same_ports_fails"
HOLDS_NOTHING = "test_start.py::test_a_failed_start_holds_nothing"
HELD = "test_start.py::test_the_ports_are_held_from_the_first_moment"
REFUSED = "test_drain.py::test_new_devices_are_refused_with_503_while_it_drains"
HTTP = "test_drain.py::test_the_http_port_says_that_it_drains"
ONE_BY_ONE = "test_drain.py::test_idle_devices_are_closed_one_after_the_other"
DICTATES = "test_drain.py::test_a_device_that_dictates_finishes_its_sentence"
HEARS = "test_drain.py::test_a_device_that_is_spoken_to_hears_the_end"
GRACE = "test_drain.py::test_nobody_is_waited_for_longer_than_the_grace"
IN_FLIGHT = "test_drain.py::test_what_is_in_flight_is_in_the_mailbox_after_a_drain"

# --- start ----------------------------------------------------------------------------------------------------------


@defect(
    "A port that is taken is found out by nobody: the start goes on, and its failure is never looked at.",
    found_by=(TAKEN, SECOND, HOLDS_NOTHING),
    message="a gateway started though its port was taken",
    pain_point=5,
    network="tcp",
)
def taken_ports_go_unnoticed() -> Planted:
    def open_in_silence(server: ServerConfig) -> ListeningSockets:
        try:
            return open_network(server)
        except CannotListen:
            return open_network(replace(server, ws_port=0, http_port=0))

    return patch("gateway.app.open_network", open_in_silence)


@defect(
    "The ports are bound to see whether they are free, let go, and bound again when the gateway is ready to serve.",
    found_by=HELD,
    message=r"the port of server\.\w+ on \S+ was free while the gateway started",
    pain_point=5,
    hole=True,
    network="tcp",
)
def ports_are_checked_then_bound() -> Planted:
    return patch("gateway.app.open_network", _CheckedThenBound)


class _CheckedThenBound(Network):
    def __init__(self, server: ServerConfig) -> None:
        preflight = open_network(server)
        ports = {"ws_port": preflight.port("websocket"), "http_port": preflight.port("http")}
        preflight.close()
        self.warnings: Sequence[str] = ()
        self._server = replace(server, **ports)
        self._bound: ListeningSockets | None = None

    def addresses(self, what: What) -> list[str]:
        return self._late().addresses(what)

    def port(self, what: What) -> int:
        return self._late().port(what)

    async def serve(self, what: What, factory: ProtocolFactory) -> None:
        await self._late().serve(what, factory)

    def close(self) -> None:
        if self._bound is not None:
            self._bound.close()

    def _late(self) -> ListeningSockets:
        self._bound = self._bound or open_network(self._server)
        return self._bound


@defect(
    "Only addresses of IPv4 are bound.",
    found_by=(
        *(f"{test}[{setting}-::1]" for test in (TAKEN, HELD) for setting in ("ws_port", "http_port")),
        "test_start.py::test_devices_connect_over_both_families",
    ),
    message=r"started though its port was taken|on ::1 was free while|a device cannot connect to \[::1\]",
    pain_point=5,
    hole=True,
    network="tcp",
)
def only_ipv4_is_bound() -> Planted:
    def open_ipv4(server: ServerConfig) -> ListeningSockets:
        return open_network(replace(server, host=[host for host in server.host if ":" not in host]))

    return patch("gateway.app.open_network", open_ipv4)


@defect(
    "A start that fails for one port keeps the other.",
    found_by=HOLDS_NOTHING,
    message=r"a start that failed for server\.\w+ still holds the port of server\.\w+",
    network="tcp",
)
@contextmanager
def failed_starts_keep_ports() -> Iterator[None]:
    with ExitStack() as kept:

        def open_and_keep(server: ServerConfig) -> ListeningSockets:
            try:
                return open_network(server)
            except CannotListen:
                for port in filter(None, (server.ws_port, server.http_port)):
                    with suppress(CannotListen):
                        for sock in bind(server.host, port, "websocket").sockets:
                            kept.enter_context(sock)
                raise

        with patch("gateway.app.open_network", open_and_keep):
            yield


@defect(
    "A failed start says what the system said, and nothing else.",
    found_by=(TAKEN, SECOND),
    message="the failed start does not name the address|not all ports that are taken are named",
    network="tcp",
)
def failed_starts_say_little() -> Planted:
    return patch.object(CannotListen, "__str__", lambda self: self.cause.strerror)


# --- drain ----------------------------------------------------------------------------------------------------------


def _drain_with(**settings: float) -> Planted:
    def finish(config: DrainConfig, registry: Registry, desk: MainDesk) -> Awaitable[None]:
        return let_finish(replace(config, **settings), registry, desk)

    return patch("gateway.app.let_finish", finish)


@defect(
    "A drain waits for nobody: who dictates is cut off, and who is spoken to.",
    found_by=(REFUSED, HTTP, DICTATES, HEARS, GRACE),
    message="cut a device off|cut the sentence|disturbed|was closed after|cannot connect",
)
def drains_wait_for_nobody() -> Planted:
    return _drain_with(grace=0.0)


@defect(
    "A drain waits for who speaks, and not for who is spoken to.",
    found_by=HEARS,
    message="a drain has cut (a|the) sentence",
)
def drains_cut_speech() -> Planted:
    return patch.object(Conversation, "is_busy", lambda self: self.is_dictating)


@defect(
    "A drain closes all idle devices in the same moment.",
    found_by=ONE_BY_ONE,
    message="idle devices were all closed within",
)
def drains_close_all_at_once() -> Planted:
    return _drain_with(spread=0.0)


@defect(
    "A drain waits for ever for a device that does not finish.",
    found_by=GRACE,
    message=r"a drain waits for a device longer than drain\.grace",
)
def drains_wait_for_ever() -> Planted:
    return _drain_with(grace=math.inf)


@defect(
    "A drain says that the gateway goes, not that it comes back: 1001.",
    found_by=(ONE_BY_ONE, DICTATES, HEARS, GRACE),
    message=r"closed with \[?1001",
)
def drains_say_1001() -> Planted:
    close = Connection.close

    def close_with(self: Connection, code: int, reason: str, *timeout: float) -> None:
        close(self, CloseCode.GOING_AWAY if code == CloseCode.SERVICE_RESTART else code, reason, *timeout)

    return patch.object(Connection, "close", close_with)


@defect(
    "A gateway that drains lets new devices in.",
    found_by=REFUSED,
    message="a gateway that goes down has let a new device in",
)
def drains_let_devices_in() -> Planted:
    check = Admission.check

    def check_room(self: Admission, address: str, now: float) -> None:
        if not self.draining:
            check(self, address, now)

    return patch.object(Admission, "check", check_room)


@defect(
    "A gateway that drains says that it is ready.",
    found_by=HTTP,
    message="/readyz answers 200 while the gateway drains",
)
def drains_say_ready() -> Planted:
    return patch.object(Gateway, "not_ready", lambda _: ())


@defect(
    "What is in flight when the gateway drains is forgotten.",
    found_by=IN_FLIGHT,
    message="a message that was in flight when the gateway went down is lost",
)
@contextmanager
def drains_forget_what_is_in_flight() -> Iterator[None]:
    drain, offline = Gateway.drain, Courier.on_offline
    going: list[Gateway] = []

    async def drain_and_note(self: Gateway) -> None:
        going.append(self)
        await drain(self)

    def on_offline(self: Courier, session: Session) -> None:
        if going:
            self._deliveries[session.device].end()
        offline(self, session)

    with patch.object(Gateway, "drain", drain_and_note), patch.object(Courier, "on_offline", on_offline):
        yield


# --- restart --------------------------------------------------------------------------------------------------------


@defect(
    "Meetings and task lists are not put away at the stop.",
    found_by=(
        "test_restart.py::test_a_meeting_goes_on_after_a_restart",
        "test_restart.py::test_the_task_list_is_there_after_a_restart",
    ),
    message="a meeting did not go on after a restart|the task list of a group is lost in a restart",
)
def restarts_forget_meetings() -> Planted:
    async def stop(self: Checkpoint) -> None:
        await self._tasks.close(1.0)

    return patch.object(Checkpoint, "stop", stop)


@defect(
    "The session id is made of the device's: it is the same in every session.",
    found_by="test_restart.py::test_a_device_comes_back_with_a_new_session",
    message="a session id lives on after a restart",
)
def session_ids_of_devices() -> Planted:
    make = Session.__init__

    def init(self: Session, device: str, *arguments: Any) -> None:
        make(self, device, *arguments)  # type: ignore[arg-type]
        self.id = sha256(device.encode()).hexdigest()[:32]

    return patch.object(Session, "__init__", init)


@defect(
    "A gateway that stops drops its devices without a Close frame.",
    found_by="test_restart.py::test_a_stop_says_goodbye",
    message="a device was left with 1006 when the gateway stopped",
)
def stops_say_no_goodbye() -> Planted:
    async def abort_all(connections: Collection[Connection], _timeout: float) -> bool:
        for connection in tuple(connections):
            connection.abort("the gateway stops")
            await connection.wait_closed()
        return True

    return patch("gateway.app.close_all", abort_all)
