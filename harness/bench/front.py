"""Where boards find whatever gateway is tested: two addresses that stay, while gateways come and go behind them.

A board is told its OTA address when it is provisioned, and its WebSocket address when it boots; each test has a gateway
of its own. So the boards of one process connect to a front, which passes them on, and reads along.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import msgspec
from websockets.frames import Opcode

from gateway.config import Config
from gateway.errors import BadMessage
from gateway.identity import device_id
from gateway.protocol.decoding import decode_object, type_of
from harness.bench.front_ports import FrontPorts
from harness.blocking import LoopThread
from harness.board.wiretap import Wiretap
from harness.errors import Misuse
from harness.faults.joined_grounds import RemoteGround
from harness.faults.passing import Closed, Identified, Opened, Passed
from harness.faults.proxy import TcpProxy
from harness.faults.tcp_ground import TcpGround
from harness.gateways import OwnGateway
from harness.records import WireClosed, WireFrame, WireOpened, WireRecord

T = TypeVar("T")

Attention: TypeAlias = Callable[[WireRecord], None]
"""Is shown what passes on the connections of one device."""


class Front:
    """The two addresses, in a loop in a thread of its own; ``with`` opens and closes it.

    Calls may come from any thread.

    While no test has a gateway, one of the front's own answers: a board that boots finds its OTA endpoint and comes
    online.

    Args:
        host: an address of this machine that the boards can reach.
        state: directory of its own gateway's state.
        config: of its own gateway; None: the defaults.
        ports: to have if they are free; any others will do.
    """

    def __init__(
        self,
        host: str,
        state: Path,
        config: Config | None = None,
        ports: FrontPorts = FrontPorts(),  # noqa: B008
    ) -> None:
        self.host = host
        self._wanted = ports
        self._state = state
        self._config = config or Config()
        self._thread = LoopThread()
        self._websocket: TcpProxy | None = None
        self._http: TcpProxy | None = None
        self._ground: TcpGround | None = None
        self._home: OwnGateway | None = None
        self._taps: dict[int, _Tap] = {}
        self._attentions: dict[str, list[tuple[asyncio.AbstractEventLoop, Attention]]] = {}
        self._lock = threading.Lock()  # for the attentions: tests come and go in loops of their own

    def __enter__(self) -> Self:
        """Open both addresses, with the front's own gateway behind them."""
        self._thread.__enter__()
        try:
            self._thread.run(self._open())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close both addresses, and what is behind them."""
        try:
            self._thread.run(self._close())
        finally:
            self._thread.__exit__(kind, error, traceback)

    # --- where boards go ----------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The WebSocket address, with the path of the front's own gateway."""
        return f"ws://{self.host}:{self._opened(self._websocket).port}{self._config.server.paths[0]}"

    @property
    def ports(self) -> FrontPorts:
        """Those that it has."""
        return FrontPorts(self._opened(self._websocket).port, self._opened(self._http).port)

    @property
    def ota_url(self) -> str:
        """The OTA endpoint's address, for the NVS."""
        return f"http://{self.host}:{self._opened(self._http).port}{self._config.ota.path}"

    def online(self, device: str, *, since: float = 0.0) -> bool:
        """Whether a gateway, whichever it leads to, has answered this device's hello on a connection that is open.

        Args:
            device: its id.
            since: loop time; what was answered before does not count: whoever is reset ends nothing.
        """
        wanted = device_id(device)

        def look() -> bool:
            return any(tap.online and tap.device == wanted and tap.since >= since for tap in self._taps.values())

        return self._thread.call(look)

    def lead_to(self, websocket: tuple[str, int], http: tuple[str, int]) -> None:
        """Pass connections on to these addresses from now on; those that are open are left as they are."""
        self._thread.call(lambda: self._lead(websocket, http))

    def lead_home(self) -> None:
        """Pass connections on to the front's own gateway again."""
        self._thread.call(self._lead_home)

    # --- what passes --------------------------------------------------------------------------------------------

    def attend(self, device: str, attention: Attention) -> Callable[[], None]:
        """Show what passes on this device's connections, from the next upgrade on, in the running loop.

        Loop times in the records are of the monotonic clock, as those of asyncio's loops are. The result ends it.
        """
        entry = (asyncio.get_running_loop(), attention)
        with self._lock:
            self._attentions.setdefault(device_id(device), []).append(entry)

        def detach() -> None:
            with self._lock, suppress(ValueError):  # it may be called twice
                self._attentions.get(device_id(device), []).remove(entry)

        return detach

    def silence(self, device: str) -> None:
        """Let nothing pass any more on the open connections of a device, not even their end: it has lost its power.

        A virtual board's operating system would end them with FIN, and a board's serial server knows nothing of them.
        """

        def silence() -> None:
            proxy = self._opened(self._websocket)
            for connection in list(proxy.connections.values()):
                if connection.device == device_id(device):
                    connection.silence()
                    self._taps[connection.number].online = False
                    proxy.silenced()

        self._thread.call(silence)

    def ground(self) -> RemoteGround:
        """Return where faults on the way of the boards happen, for one test: its boards join, and leave at its end."""
        return RemoteGround(self._opened(self._ground), self._thread)

    # --- its life -----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._websocket, self._http = TcpProxy(self._passes), TcpProxy()
        self._ground = TcpGround(wifi=False)
        self._ground.adopt(self._websocket)
        await _start(self._websocket, self.host, self._wanted.websocket)
        await _start(self._http, self.host, self._wanted.http)
        server = msgspec.structs.replace(self._config.server, public_websocket_url=self.url)
        self._home = OwnGateway(msgspec.structs.replace(self._config, server=server), self._state)
        await self._home.start()
        self._lead_home()

    async def _close(self) -> None:
        async with AsyncExitStack() as ends:  # in the opposite order, each whatever becomes of the others
            if self._home is not None:
                ends.push_async_callback(self._home.stop)
            for proxy in (self._http, self._websocket):
                if proxy is not None:
                    ends.push_async_callback(proxy.aclose)

    def _lead_home(self) -> None:
        network = self._opened(self._home).gateway.network
        self._lead(("127.0.0.1", network.port("websocket")), ("127.0.0.1", network.port("http")))

    def _lead(self, websocket: tuple[str, int], http: tuple[str, int]) -> None:
        self._opened(self._websocket).forward_to(*websocket)
        self._opened(self._http).forward_to(*http)

    @staticmethod
    def _opened(part: T | None) -> T:
        if part is None:
            raise Misuse("expected a front that was opened: with Front(...) as front")
        return part

    # --- reading along ------------------------------------------------------------------------------------------

    def _passes(self, record: Opened | Identified | Passed | Closed) -> None:
        if isinstance(record, Opened):
            self._taps[record.connection] = _Tap(record.connection, self._tell)
        elif isinstance(record, Identified):
            self._taps[record.connection].device = record.device
        elif isinstance(record, Passed):
            self._taps[record.connection].passed(record)
        else:
            self._taps.pop(record.connection).ended(record)

    def _tell(self, device: str, record: WireRecord) -> None:
        with self._lock:
            entries = tuple(self._attentions.get(device, ()))
        for loop, attention in entries:
            with suppress(RuntimeError):  # its loop was closed without a word: a test that has crashed
                loop.call_soon_threadsafe(attention, record)


async def _start(proxy: TcpProxy, host: str, port: int) -> None:
    try:
        await proxy.start(host, port)
    except OSError:
        if not port:
            raise
        await proxy.start(host)  # another run has it


class _Tap:
    """One connection, as those who attend to its device are to see it.

    Attributes:
        device: whose it is; empty until it has said so.
        online: its hello was answered, and neither side has ended it.
        since: loop time of that answer.
    """

    def __init__(self, connection: int, tell: Callable[[str, WireRecord], None]) -> None:
        self.device = ""
        self.online = False
        self.since = 0.0
        self._connection = connection
        self._tell = tell
        self._at = 0.0
        self._open = False
        self._headers: dict[str, str] = {}
        self._wire = Wiretap(self._upgrades, self._answered, self._message)

    def passed(self, record: Passed) -> None:
        self._at = record.at
        self._wire.passed(record.direction == "to_gateway", record.data)

    def ended(self, record: Closed) -> None:
        if self._open:
            self._tell(self.device, WireClosed(record.at, self._connection, record.why))

    def _upgrades(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def _answered(self, status: int) -> None:
        if status == 101:
            self._open = True
            self._tell(self.device, WireOpened(self._at, self._connection, self._headers))

    def _message(self, sent: bool, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.CLOSE:
            self.online = False
        elif opcode is Opcode.TEXT and not sent and not self.online:
            self.online, self.since = _is_hello(payload), self._at
        self._tell(self.device, WireFrame(self._at, self._connection, sent, opcode, payload))


def _is_hello(payload: bytes) -> bool:
    try:
        return type_of(decode_object(payload)) == "hello"
    except BadMessage:
        return False
