"""Killed at any moment, the gateway loses nothing that it has acknowledged.

A fleet of devices sends messages to and fro while its members come and go; the gateway is killed with SIGKILL in the
middle of it and started again on the same state directory, many times over. In the end every message whose receipt
said ``delivered`` or ``enqueued`` must have reached its target. ``WSDEVICE_TEST_CRASH_SEED`` repeats the decisions of a
run (not its timing), ``WSDEVICE_TEST_CRASH_ROUNDS`` is the number of kills.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.process import Running, environment, started

ROUNDS = int(os.environ.get("WSDEVICE_TEST_CRASH_ROUNDS", "30"))
SEED = int(os.environ.get("WSDEVICE_TEST_CRASH_SEED") or random.SystemRandom().randrange(10**6))
LAST = 20.0  # seconds for all that waits to arrive, in the end
SETTINGS = {
    "WSDEVICE_PEER_PER_SECOND": "1000",
    "WSDEVICE_PEER_BURST": "1000",
    "WSDEVICE_PEER_LIVE_ACK": "0.05",  # shorter than by default: more messages are caught on their way to the disk
    "WSDEVICE_PEER_RETRY_FIRST": "0.2",
    "WSDEVICE_MAILBOX_PER_DEVICE": "100000",
    "WSDEVICE_MAILBOX_PER_SENDER": "100000",
    "WSDEVICE_HANDOVER_REPLACEMENTS": "1000",
    "WSDEVICE_DRAIN_SPREAD": "0",
    "WSDEVICE_LOGGING_FORMAT": "json",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Name(NamedTuple):
    """A message, as its target knows it."""

    sender: str
    id: str


class Person:
    """A device that sends, receives, comes and goes; it outlives the gateway's processes.

    Attributes:
        received: what it has got, and how often.
        acknowledged: (id, target) of what the gateway said was delivered or enqueued.
    """

    def __init__(self, name: str, names: list[str], *, peer_ack: bool, lazy: bool) -> None:
        self.name = name
        self.random = random.Random(f"{SEED} {name}")
        self.received: dict[Name, int] = {}
        self.acknowledged: set[tuple[str, str]] = set()
        self.told: set[str] = set()
        self._others = names
        self._peer_ack = peer_ack
        self._lazy = lazy
        self._count = 0
        self._unanswered: dict[str, list[str]] = {}

    async def live(self, url: str, *, quietly: bool = False) -> None:
        """Connect, again and again, until cancelled; ``quietly``: stay, send nothing, acknowledge all."""
        while True:
            try:
                async with asyncio.timeout(5):
                    link = await connect(
                        url, additional_headers={"Device-Id": self.name}, compression=None, proxy=None, close_timeout=0
                    )
            except (OSError, InvalidHandshake, TimeoutError, EOFError):
                await asyncio.sleep(0.02)
                continue
            try:
                with suppress(ConnectionClosed):
                    await self._visit(link, quietly=quietly)
            finally:
                link.transport.abort()
            await asyncio.sleep(self.random.uniform(0, 0.1))

    async def _visit(self, link: ClientConnection, *, quietly: bool) -> None:
        features = {"peer_ack": True} if self._peer_ack else {}
        await link.send(json.dumps({"type": "hello", "version": 1, "features": features, "transport": "websocket"}))
        reading = asyncio.create_task(self._read(link, quietly=quietly))
        try:
            if quietly:
                await reading
            await self._talk(link)
            if not self._peer_ack:
                # TCP has taken what is on the way, so it has to be read to the end
                link.transport.write_eof()
                await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _talk(self, link: ClientConnection) -> None:
        for id_, targets in list(self._unanswered.items()):
            if self.random.random() < 0.7:  # without a receipt it knows nothing, and may repeat itself
                await self._send(link, id_, targets)
        for _ in range(self.random.randrange(5, 80)):
            self._count += 1
            targets = self.random.sample(self._others, self.random.randrange(1, 4))
            await self._send(link, f"m{self._count}", targets)  # ids that others use, too
            await asyncio.sleep(self.random.uniform(0, 0.015))

    async def _send(self, link: ClientConnection, id_: str, targets: list[str]) -> None:
        self._unanswered[id_] = targets
        request = {"type": "peer", "to": targets, "id": id_, "payload": {"text": f"{self.name} {id_}"}}
        await link.send(json.dumps(request))

    async def _read(self, link: ClientConnection, *, quietly: bool) -> None:
        async for text in link:
            frame = json.loads(text)
            if "status" in frame:
                self._note_receipt(frame)
                continue
            if self._lazy and not quietly:
                await asyncio.sleep(self.random.uniform(0, 0.03))  # its TCP has more than it has read
            if "from" in frame:
                name = Name(frame["from"], frame["id"])
                assert frame["payload"] == {"text": f"{name.sender} {name.id}"}
                self.received[name] = self.received.get(name, 0) + 1
                if self._peer_ack and (quietly or not self._lazy or self.random.random() < 0.5):
                    await link.send(json.dumps({"type": "peer", "event": "ack", "id": frame["id"]}))

    def _note_receipt(self, receipt: dict[str, Any]) -> None:
        if receipt["status"] == "error":
            assert receipt["code"] == "INTERNAL_ERROR", receipt
            return
        self._unanswered.pop(receipt["id"], None)
        kept = receipt["delivered"] + receipt["enqueued"]
        assert sorted(kept + receipt["failed"]) == sorted(set(kept + receipt["failed"]))
        self.acknowledged.update((receipt["id"], target) for target in kept)


def fleet() -> list[Person]:
    """Six devices: most acknowledge, one is slow to read and lazy to acknowledge, two do not know how."""
    names = [f"02:00:00:00:00:{number:02}" for number in range(6)]
    return [Person(name, names, peer_ack=number < 4, lazy=number == 3) for number, name in enumerate(names)]


def lost(people: list[Person]) -> list[tuple[str, str, str]]:
    """What was acknowledged to its sender and has not reached its target."""
    received = {person.name: person.received for person in people}
    return [
        (person.name, id_, target)
        for person in people
        for id_, target in sorted(person.acknowledged)
        if Name(person.name, id_) not in received[target]
    ]


async def drained(process: Running) -> None:
    """Read what the gateway logs, so that it does not wait for a reader."""
    assert process.process.stderr is not None
    while await process.process.stderr.readline():
        pass


async def one_round(people: list[Person], env: dict[str, str], seconds: float) -> None:
    """Start the gateway, let people meet there, and kill it."""
    async with started("-m", "gateway", "serve", env=env) as process:
        url = await process.websocket_url()
        reader = asyncio.create_task(drained(process))
        lives = [asyncio.create_task(person.live(url)) for person in people]
        await asyncio.sleep(seconds)
        process.signal(signal.SIGKILL)
        await process.process.wait()
        await asyncio.sleep(0.05)  # what the kernel holds for the devices is still theirs
        for life in lives:
            life.cancel()
        for result in await asyncio.gather(*lives, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result
        await reader


async def last_round(people: list[Person], env: dict[str, str]) -> None:
    """Start the gateway once more, and wait until everybody has what is theirs."""
    async with started("-m", "gateway", "serve", env=env) as process:
        url = await process.websocket_url()
        reader = asyncio.create_task(drained(process))
        lives = [asyncio.create_task(person.live(url, quietly=True)) for person in people]
        began = asyncio.get_running_loop().time()
        while lost(people) and asyncio.get_running_loop().time() < began + LAST:  # noqa: ASYNC110 - six may tell
            await asyncio.sleep(0.05)
        process.signal(signal.SIGTERM)
        await process.process.wait()
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        await reader


async def test_killed_at_any_moment(tmp_path: Path):
    """However often it is killed, what it acknowledged arrives."""
    print(f"seed {SEED}, {ROUNDS} rounds")
    env = environment(tmp_path, **SETTINGS)
    moments = random.Random(SEED)
    people = fleet()
    for _ in range(ROUNDS):
        await one_round(people, env, moments.uniform(0.05, 0.7))
    missing = len(lost(people))
    await last_round(people, env)
    acknowledged = sum(len(person.acknowledged) for person in people)
    copies = sum(sum(person.received.values()) - len(person.received) for person in people)
    gone = lost(people)
    print(f"{acknowledged} acknowledged, {missing} waiting after the last kill, {len(gone)} lost, {copies} twice")
    assert gone == []
    assert acknowledged > 50 * ROUNDS
    assert missing > 0
