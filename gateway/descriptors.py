"""File descriptors: how many the process may have, and how many connections fit into that."""

from __future__ import annotations

import asyncio
import logging
import resource
import sys
from typing import Any

import msgspec

from gateway.config import Config

_log = logging.getLogger(__name__)

BESIDES = 512
"""Descriptors for all that is no device's connection: ports, HTTP, upgrades not answered yet, files."""
_NO_ACCEPT = "socket.accept() out of system resource"  # asyncio's words (selector_events.py)
_EVERY = 10.0  # seconds between two lines about that


def raise_limit() -> int:
    """Allow this process as many descriptors as it may allow itself; return how many.

    The soft limit is 1024 in most places for the sake of programs with ``select``; there is none here.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # refused by a sandbox; and macOS names no limit that it would grant
            pass
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def fitted(config: Config, limit: int) -> tuple[Config, str | None]:
    """Return the configuration with as many connections as ``limit`` descriptors are enough for.

    One more is then answered 503, as when the gateway is full. Without a descriptor it could not even be accepted, and
    the HTTP port and the mailbox would be without one, too.

    Returns:
        The configuration, and a warning where it is another one.
    """
    wanted = config.server.max_connections
    fits = max(limit - BESIDES, limit // 2, 1)  # half of a limit that is tiny
    if fits >= wanted:
        return config, None
    server = msgspec.structs.replace(config.server, max_connections=fits)
    warning = (
        f"{limit} file descriptors are allowed, server.max_connections {wanted} needs {wanted + BESIDES}: "
        f"{fits} connections are taken; set LimitNOFILE={wanted + BESIDES} in the unit, or ulimit -n {wanted + BESIDES}"
    )
    return msgspec.structs.replace(config, server=server), warning


class AcceptFailures:
    """The loop's exception handler: connections that could not be accepted are told in one line, now and then.

    asyncio tries again every second on each port, and would log a traceback each time. All else is handled as without
    it.
    """

    def __init__(self) -> None:
        self._told: float | None = None
        self._since = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle what nobody caught."""
        if context.get("message") != _NO_ACCEPT:
            loop.default_exception_handler(context)
            return
        self._since += 1
        if self._told is None or loop.time() - self._told >= _EVERY:
            _log.warning("no connection could be accepted, %d times: %s", self._since, context.get("exception"))
            self._told = loop.time()
            self._since = 0
