"""``serve``: one gateway as a process, from binding its ports to its exit code; signals drain it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

import msgspec

from gateway.app import Gateway
from gateway.config_file import LoadedConfig
from gateway.descriptors import AcceptFailures, fitted, raise_limit
from gateway.errors import GatewayError, MailboxFailed
from gateway.exit_codes import ExitCode
from gateway.listening import ListeningSockets, notifier, open_network
from gateway.observe.events import Event, GatewayStopped
from gateway.observe.logging import LogObserver, close, configure
from gateway.systemd import Notifier
from gateway.tasks import Tasks

_log = logging.getLogger(__name__)

_LOG_WAIT = 1.0  # seconds for the last log lines, where nobody may be reading
_TASKS_WAIT = 2.0  # seconds for tasks that only have to unwind
_STOP_RESERVE = 60.0  # seconds beyond the drain: every step of stopping is bounded, together below this


def serve(loaded: LoadedConfig, ready: Callable[[Gateway], None] | None = None) -> int:
    """Run a gateway until SIGTERM or SIGINT, or until its application stops it; return the exit code.

    The first signal drains, a second one stops at once. While the gateway starts, the first stops it, and a second one
    does not wait for that.

    Args:
        loaded: the configuration, and warnings to log.
        ready: called once devices can connect.
    """
    configure(loaded.config.logging, sys.stderr, is_terminal=sys.stderr.isatty())
    try:
        return _run(_with_room(loaded), ready)
    except MailboxFailed as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.MAILBOX
    except GatewayError as error:
        print(f"wsdevice: {error}", file=sys.stderr)
        return ExitCode.CANNOT_START
    finally:
        close(_LOG_WAIT)


def _with_room(loaded: LoadedConfig) -> LoadedConfig:
    """Get as many file descriptors as can be had, and return a configuration that does with them."""
    config, warning = fitted(loaded.config, raise_limit())
    warnings = loaded.warnings if warning is None else (*loaded.warnings, warning)
    return msgspec.structs.replace(loaded, config=config, warnings=warnings)


def _run(loaded: LoadedConfig, ready: Callable[[Gateway], None] | None) -> int:
    for warning in loaded.warnings:
        _log.warning("%s", warning)
    # Taking the sockets before the loop is what makes a port that is in use an answer within a moment.
    network = open_network(loaded.config.server)
    try:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.get_loop().set_exception_handler(AcceptFailures())
            return runner.run(_serve(loaded, network, ready))
    finally:
        network.close()


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - an optional extra
    except ImportError:
        return None
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return new_loop


async def _serve(loaded: LoadedConfig, network: ListeningSockets, ready: Callable[[Gateway], None] | None) -> int:
    stopped: list[GatewayStopped] = []

    def note_stop(event: Event) -> None:
        if isinstance(event, GatewayStopped):
            stopped.append(event)

    gateway = Gateway(loaded.config, network=network, observers=[LogObserver(), note_stop])
    signals = _Signals()
    tasks = Tasks("serve")
    systemd = notifier(os.environ)
    signals.install()
    try:
        if await _starts(gateway, signals, tasks):
            try:
                tasks.spawn(systemd.watch(), "watchdog")
                systemd.ready(f"listening on {', '.join(network.addresses('websocket'))}")
                if ready is not None:
                    ready(gateway)
                hurried = await _until_told(gateway, signals, tasks, lambda: _announce_drain(loaded, systemd))
            finally:
                await gateway.stop()
        else:
            systemd.stopping("stopping", _STOP_RESERVE)
            _log.info("stopping before the start is over; a second signal does not wait for that")
            hurried = await _is_hurried(tasks.spawn(gateway.stop(), "stop"), signals, tasks)
    finally:
        await tasks.close(_TASKS_WAIT)
        systemd.close()
    if hurried:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if stopped and stopped[0].clean else ExitCode.UNCLEAN


async def _starts(gateway: Gateway, signals: _Signals, tasks: Tasks) -> bool:
    """Start a gateway, and return True; or False if a signal came before that was over.

    Raises:
        GatewayError: why it cannot be started.
    """
    start = asyncio.get_running_loop().create_task(gateway.start(), name="start")
    first = tasks.spawn(signals.first.wait(), "first signal")
    await asyncio.wait((start, first), return_when=asyncio.FIRST_COMPLETED)
    if start.done():
        start.result()
        return True
    start.add_done_callback(_nobody_asks)
    return False


def _nobody_asks(start: asyncio.Task[None]) -> None:
    """Take the exception of a start that was given up."""
    if not start.cancelled():
        start.exception()


async def _until_told(gateway: Gateway, signals: _Signals, tasks: Tasks, announce: Callable[[], None]) -> bool:
    """Wait for a signal, then for the drain that it begins; return whether a second one cut that short.

    A gateway that is stopped by its application is waited for no longer, either.
    """
    over = tasks.spawn(gateway.wait_stopped(), "end")
    first = tasks.spawn(signals.first.wait(), "first signal")
    await asyncio.wait((over, first), return_when=asyncio.FIRST_COMPLETED)
    if over.done():
        return False
    announce()
    return await _is_hurried(tasks.spawn(gateway.drain(), "drain"), signals, tasks)


async def _is_hurried(end: asyncio.Task[None], signals: _Signals, tasks: Tasks) -> bool:
    """Wait for an end; return whether a second signal came first."""
    second = tasks.spawn(signals.second.wait(), "second signal")
    await asyncio.wait((end, second), return_when=asyncio.FIRST_COMPLETED)
    return not end.done()


def _announce_drain(loaded: LoadedConfig, systemd: Notifier) -> None:
    drain = loaded.config.drain
    systemd.stopping("draining", max(drain.spread, drain.grace) + _STOP_RESERVE)
    _log.info("draining; a second signal stops at once")


class _Signals:
    """SIGTERM and SIGINT, as two events: the first of them, and any further one.

    SIGHUP says that the terminal is gone, where the process was started on one: it is a first signal then, and never a
    second, as kernel and shell may both send it. Anywhere else somebody wants a reload, which there is not.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def install(self) -> None:
        """Take the signals from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
            on_terminal = any(map(os.isatty, range(3)))
            loop.add_signal_handler(signal.SIGHUP, self.first.set if on_terminal else _tell_no_reload)

    def _received(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


def _tell_no_reload() -> None:
    _log.warning("SIGHUP is ignored: there is no reload; restart the gateway to change its settings")
