"""``wsdevice demo``: a gateway and two devices on this machine, and a message that waits for one that is away."""

from __future__ import annotations

import asyncio
import errno
import shlex
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.app import Gateway
from gateway.config import Config, DrainConfig, LoggingConfig, ServerConfig
from gateway.errors import CannotListen, GatewayError
from gateway.exit_codes import ExitCode
from gateway.listening import Bound, ListeningSockets, What, bind
from gateway.observe.events import DeviceOffline, Event, GatewayStopped
from gateway.observe.logging import LogObserver, configure
from harness.errors import ExpectationFailed, HarnessError
from harness.exchange import Exchange
from harness.fakes.device import FakeDevice

HOST = "127.0.0.1"
KITCHEN, HALLWAY = "02:00:00:00:00:01", "02:00:00:00:00:02"  # locally administered: no real board has them

_WAIT = 5.0  # seconds for each thing that is expected; on an idle machine everything together takes a tenth of one
_KEY = '(umask 077; python3 -c "import secrets; print(secrets.token_urlsafe(32))" > auth-key)'
_SERVE = "WSDEVICE_SERVER_HOST=0.0.0.0 WSDEVICE_AUTH_KEY_FILE=auth-key"


def demo(*, once: bool, ws_port: int | None, http_port: int | None) -> int:
    """Run the demo and return its exit code.

    Args:
        once: end after the exchange; otherwise the gateway goes on serving until SIGINT or SIGTERM.
        ws_port: WebSocket port; None: the gateway's default, or any free one if that is taken.
        http_port: likewise.
    """
    configure(LoggingConfig(level="WARNING", format="text"), sys.stderr, is_terminal=sys.stderr.isatty())
    try:
        network, notes = _listen(ws_port, http_port)
    except CannotListen as error:
        return _failed(error, ExitCode.CANNOT_START)
    try:
        with TemporaryDirectory(prefix="wsdevice-demo-") as directory, asyncio.Runner() as runner:
            return runner.run(_demo(network, notes, directory, once=once))
    except HarnessError as error:
        return _failed(f"the demo failed: {error}", ExitCode.FAILED)
    except GatewayError as error:
        return _failed(error, ExitCode.CANNOT_START)
    finally:
        network.close()


async def _demo(network: ListeningSockets, notes: list[str], directory: str, *, once: bool) -> int:
    server = ServerConfig(host=[HOST], state_dir=directory)
    log, stopped = LogObserver(), list[GatewayStopped]()

    def note_stop(event: Event) -> None:
        if isinstance(event, GatewayStopped):
            stopped.append(event)

    # nobody waits for a demo: its devices are closed at once
    config = Config(server=server, drain=DrainConfig(spread=0, grace=0))
    exchange = Exchange(sys.stdout, ["kitchen", "hallway"], asyncio.get_running_loop().time())
    async with Gateway(config, network=network, observers=[log, note_stop]) as gateway:
        for note in notes:
            exchange.say(note)
        await _tell(gateway, exchange)
        if not once:
            stop = _signalled()  # before it is said that Ctrl-C stops it
            _show_addresses(gateway, exchange)
            await stop.wait()
            gateway.observers.remove(log)  # that it drains is what was asked for, and no warning
            await gateway.drain()
    return ExitCode.OK if stopped and stopped[0].clean else ExitCode.UNCLEAN


# --- the exchange -----------------------------------------------------------------------------------------------


async def _tell(gateway: Gateway, exchange: Exchange) -> None:
    """Have the two devices act, and check what comes of it.

    Raises:
        HarnessError: it was something else.
    """
    exchange.say(
        f"A gateway, and two devices that behave like xiaozhi firmware: kitchen ({KITCHEN}), hallway ({HALLWAY})."
    )
    url = gateway.websocket_url
    kitchen = FakeDevice(url, KITCHEN, name="kitchen", watch=exchange.record)
    # acknowledges, but not by itself: the demo says when
    features = {"mcp": True, "peer_ack": True}
    hallway = FakeDevice(url, HALLWAY, name="hallway", features=features, acks=False, watch=exchange.record)
    exchange.step(1, "Both devices connect and say hello; the gateway answers with a session.")
    async with kitchen, hallway:
        exchange.step(2, "hallway goes away, as boards do: its TCP connection ends, and nothing was said.")
        await _go_away(hallway, gateway)
        exchange.step(3, 'kitchen writes to hallway. "enqueued" says: it is on disk, and will arrive.')
        tea = {"text": "Tea is ready"}
        await kitchen.send({"type": "peer", "to": [HALLWAY], "payload": tea, "id": "m1"})
        await kitchen.expect("peer", _WAIT, status="done", id="m1", enqueued=[HALLWAY], delivered=[], failed=[])
        exchange.step(4, "hallway comes back, and gets what has waited for it.")
        await hallway.connect()
        await hallway.hello()
        await hallway.expect("peer", _WAIT, id="m1", payload=tea, redelivered=True)
        exchange.step(5, "hallway acknowledges it. Only now it is deleted, and kitchen hears that it has arrived.")
        await hallway.send({"type": "peer", "event": "ack", "id": "m1"})
        await kitchen.expect("peer", _WAIT, event="redelivered", to=HALLWAY, count=1)


async def _go_away(device: FakeDevice, gateway: Gateway) -> None:
    gone = asyncio.Event()

    def watch(event: Event) -> None:
        if isinstance(event, DeviceOffline) and event.device == device.device_id:
            gone.set()

    gateway.observers.add(watch)
    device.cut()
    try:
        await asyncio.wait_for(gone.wait(), _WAIT)
    except TimeoutError:
        wanted = "the gateway to see it go"
        raise ExpectationFailed(device.device_id, wanted, _WAIT, "it had not", device.received) from None
    finally:
        gateway.observers.remove(watch)


# --- serving ----------------------------------------------------------------------------------------------------


def _show_addresses(gateway: Gateway, exchange: Exchange) -> None:
    ota = gateway.config.ota.path
    exchange.line()
    exchange.say("The gateway goes on serving, this machine only. Ctrl-C stops it.")
    exchange.line(f"  WebSocket  {gateway.websocket_url}")
    exchange.line(f"  OTA        {gateway.http_url}{ota}  (NVS wifi.ota_url of a device)")
    exchange.line(f"  metrics    {gateway.http_url}/metrics")
    exchange.line()
    exchange.say(
        "Real devices cannot reach it. One that they can reach asks them for a token, which they get with the OTA "
        "answer, and needs a key to sign it with:"
    )
    exchange.line(f"  {_KEY}")
    exchange.line(f"  {_SERVE} {_called_as()} serve")
    exchange.say(f"Their wifi.ota_url is then http://ADDRESS-OF-THIS-MACHINE:{ServerConfig().http_port}{ota}")


def _called_as() -> str:
    """Return how this program was called, for the next command to be typed: it may not be on the PATH."""
    script = sys.argv[0]
    return shlex.join([script] if Path(script).name == "wsdevice" else [sys.executable, "-m", "harness"])


def _signalled() -> asyncio.Event:
    """Take the signals from now on; the event is set by the first."""
    loop, received = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received.set)
    return received


def _listen(ws_port: int | None, http_port: int | None) -> tuple[ListeningSockets, list[str]]:
    """Bind both ports; return, too, what is to be said about them."""
    notes: list[str] = []
    websocket = _bind("websocket", ws_port, ServerConfig().ws_port, notes)
    try:
        http = _bind("http", http_port, ServerConfig().http_port, notes)
    except CannotListen:
        for sock in websocket.sockets:
            sock.close()
        raise
    return ListeningSockets(websocket, http), notes


def _bind(what: What, asked: int | None, default: int, notes: list[str]) -> Bound:
    if asked is not None:
        return bind([HOST], asked, what)
    try:
        return bind([HOST], default, what)
    except CannotListen as error:
        if error.cause.errno != errno.EADDRINUSE:
            raise
        notes.append(f"Port {default} is taken by {error.holder or 'something else'}; using a free one for {what}.")
        return bind([HOST], 0, what)


def _failed(why: object, code: int) -> int:
    print(f"wsdevice: {why}", file=sys.stderr)
    return code
