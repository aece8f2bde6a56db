"""Commands as they are run: processes of their own, whose output is waited for line by line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

LONG = 15.0
"""Seconds for a process to start, or to end, on a machine that is busy with other tests."""


def environment(state: Path, **variables: str) -> dict[str, str]:
    """The test's own environment without settings of a gateway, but with a state directory and free ports."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WSDEVICE_")}
    settings = {
        "WSDEVICE_SERVER_HOST": "127.0.0.1",
        "WSDEVICE_SERVER_WS_PORT": "0",
        "WSDEVICE_SERVER_HTTP_PORT": "0",
        "WSDEVICE_SERVER_STATE_DIR": str(state),
    }
    return {**own, **settings, **variables}


class Ended:
    """A process that has ended: its exit code and what it wrote."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


class Running:
    """A process that runs."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def line(self, fits: Callable[[str], bool], stream: asyncio.StreamReader | None = None) -> str:
        """Wait for a line of its output."""
        reader = stream or self.process.stdout
        assert reader is not None
        seen = []
        async with asyncio.timeout(LONG):
            while line := (await reader.readline()).decode():
                if fits(line):
                    return line.rstrip("\n")
                seen.append(line)
        raise AssertionError(f"the process ended without the line; it wrote:\n{''.join(seen)}")

    async def log(self, event: str, **facts: Any) -> dict[str, Any]:
        """Wait for the log line of a record, and return its facts."""

        def fits(line: str) -> bool:
            if not line.startswith("{"):
                return False
            entry = json.loads(line)
            return entry.get("event") == event and facts.items() <= entry["facts"].items()

        return json.loads(await self.line(fits, self.process.stderr))["facts"]

    async def websocket_url(self) -> str:
        """Wait until a gateway listens, and return where."""
        facts = await self.log("GatewayListening", what="websocket")
        return f"ws://{facts['address']}/xiaozhi/v1/"

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def end(self) -> Ended:
        """Wait for it to end."""
        async with asyncio.timeout(LONG):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return Ended(self.process.returncode, (out or b"").decode(), (err or b"").decode())


@asynccontextmanager
async def started(*arguments: str, env: dict[str, str], cwd: Path | None = None) -> AsyncIterator[Running]:
    """Start Python with arguments; it is killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=env, cwd=cwd, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(*arguments: str, env: dict[str, str], cwd: Path | None = None) -> Ended:
    """Run Python with arguments, to its end."""
    async with started(*arguments, env=env, cwd=cwd) as running:
        return await running.end()
