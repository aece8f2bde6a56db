"""What happened in a test, on one clock and in one order: frames as devices saw them, gateway events, faults, notes.

The timeline is an observer of the gateway (`Timeline.event`) and the watch of the devices (`Timeline.record`). It
writes itself in two ways: the last seconds as an aligned listing for people (`listing`), and everything as JSON lines
(`write`). Tokens and keys are masked in both.
"""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from websockets.frames import Close, Opcode

from gateway.identity import printable
from gateway.observe.events import Event
from harness.errors import ExpectationFailed, HarnessError
from harness.exchange import said_in
from harness.records import ConsoleSaid, FramePassed, Happened
from harness.redaction import Redactor

E = TypeVar("E", bound=Event)

KEPT = 50_000
"""Entries of one timeline; past it the oldest are dropped and counted: the last minutes say most about a failure."""
SHOWN_SECONDS = 10.0
"""Before the failure, in a listing: twice as long as a device waits for a message, or what led to it is left out."""
SHOWN_ENTRIES = 60
"""In a listing, the last ones: a terminal's worth."""
COLUMNS = 120
"""Width of a listing."""
PAYLOAD_BYTES = 4096
"""Of one frame in the JSON lines; the rest is counted in ``left_out_bytes``."""

GATEWAY = "gateway"
TEST = "test"

Kind: TypeAlias = Literal["frame", "event", "lifecycle", "fault", "console", "note"]


class Entry(msgspec.Struct, frozen=True):
    """One thing that happened.

    Attributes:
        at: loop time, in seconds.
        kind: ``frame`` between a device and the gateway; ``event`` of the gateway; ``lifecycle`` of a device;
            ``fault``: done by the test to see what comes of it; ``console``: a line that a board printed; ``note`` of
            the test.
        source, target: who did it to whom; the target is empty where there is none.
        fact: the record itself, or the text of a note.
    """

    at: float
    kind: Kind
    source: str
    target: str
    fact: FramePassed | Happened | ConsoleSaid | Event | str


class Timeline:
    """The record of one test; to be made in the running loop, whose time is its clock.

    Args:
        redactor: masks secrets in whatever is written.

    Attributes:
        dropped: entries that were dropped for lack of room.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        self.redactor = redactor or Redactor()
        self.dropped = 0
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._names: dict[str, str] = {}
        self._news = asyncio.Event()
        self._spoilt: HarnessError | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over a copy, oldest first."""
        return iter(tuple(self._entries))

    # --- recording ----------------------------------------------------------------------------------------------

    def name(self, device_id: str, name: str) -> None:
        """Call a device by a name where the gateway knows only its id; the first name of an id stays."""
        self._names.setdefault(device_id, name)

    def record(self, record: FramePassed | Happened | ConsoleSaid) -> None:
        """Take what a device reports; fits ``watch`` of a device."""
        if isinstance(record, FramePassed):
            source, target = (record.device, GATEWAY) if record.sent else (GATEWAY, record.device)
            self._add(Entry(record.at, "frame", source, target, record))
        elif isinstance(record, ConsoleSaid):
            self._add(Entry(record.at, "console", record.device, "", record))
        else:
            self._add(Entry(record.at, "fault" if record.fault else "lifecycle", record.device, "", record))

    def event(self, event: Event) -> None:
        """Take a record of the gateway; fits its ``observers``."""
        device = self._names.get(event.device, event.device)
        self._add(Entry(self._loop.time(), "event", GATEWAY, device, event))

    def note(self, text: str, *, fault: bool = False) -> None:
        """Write down what the test itself does."""
        self._add(Entry(self._loop.time(), "fault" if fault else "note", TEST, "", text))

    def _add(self, entry: Entry) -> None:
        self.dropped += len(self._entries) == KEPT
        self._entries.append(entry)
        self._news.set()

    # --- asking -------------------------------------------------------------------------------------------------

    def events(self, kind: type[E], /, **facts: Any) -> list[E]:
        """Return the gateway's events of one kind with these facts, in order."""
        found = (entry.fact for entry in self._entries if entry.kind == "event")
        return [event for event in found if isinstance(event, kind) and _has(event, facts)]

    def frames(self, device: str | None = None, *, sent: bool | None = None) -> list[FramePassed]:
        """Return the frames of one device, or all; sent or received ones, or both; in order."""
        found = (entry.fact for entry in self._entries if entry.kind == "frame")
        return [
            frame
            for frame in found
            if isinstance(frame, FramePassed)
            and (device is None or frame.device == device)
            and (sent is None or frame.sent == sent)
        ]

    async def expect_event(self, kind: type[E], /, timeout: float = 5.0, **facts: Any) -> E:
        """Wait until the gateway has reported such an event, and return the first.

        Raises:
            ExpectationFailed: it has not, after ``timeout`` seconds.
        """
        await self.until(lambda: self.events(kind, **facts), timeout)
        found = self.events(kind, **facts)
        if not found:
            having = " and ".join(f"{name}={value!r}" for name, value in facts.items())
            wanted = f"the event {kind.__name__}{' with ' + having if having else ''}"
            others = [{"event": type(event).__name__, **msgspec.structs.asdict(event)} for event in self.events(kind)]
            raise ExpectationFailed(GATEWAY, wanted, timeout, "it had not happened", others)
        return found[0]

    async def until(self, holds: Callable[[], object], timeout: float = 5.0) -> bool:
        """Wait until something holds, which is looked at whenever anything has happened; return whether it does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not holds():
                    if self._spoilt is not None:
                        raise self._spoilt
                    self._news.clear()
                    await self._news.wait()
        return bool(holds())

    def spoil(self, error: HarnessError) -> None:
        """Have everybody who waits for something that has not happened, now or later, get this error: it is over."""
        self._spoilt = error
        self._news.set()

    # --- writing ------------------------------------------------------------------------------------------------

    def listing(self, *, seconds: float = SHOWN_SECONDS, until: float | None = None, columns: int = COLUMNS) -> str:
        """Return the last entries as text: when, relative to ``until`` (now); who to whom; what. One line each.

        At most `SHOWN_ENTRIES` of the last ``seconds``; a last line says how many there are in all.
        """
        end = self._loop.time() if until is None else until
        recent = [entry for entry in self._entries if end - seconds <= entry.at <= end]
        shown = recent[-SHOWN_ENTRIES:]
        width = max((len(name) for entry in shown for name in (entry.source, entry.target)), default=0)
        lines = [self._line(entry, end, width, columns) for entry in shown]
        left_out = f"{len(self._entries) + self.dropped} entries in all"
        if len(recent) > len(shown):
            left_out = f"{len(recent) - len(shown)} more in these {seconds:g} s, {left_out}"
        return "\n".join([*lines, f"({left_out})"])

    def write(self, path: Path) -> None:
        """Write everything as JSON lines, the oldest first; each has ``at``, seconds since the timeline began."""
        with path.open("wb") as out:
            for row in self.rows():
                out.write(msgspec.json.encode(row) + b"\n")

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return what `write` writes, as objects."""
        for entry in self:
            yield self._masked(
                {
                    "at": round(entry.at - self._began, 6),
                    "kind": entry.kind,
                    "source": entry.source,
                    "target": entry.target,
                    **_facts(entry.fact),
                }
            )

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redactor(value)
        if isinstance(value, dict):
            return {name: self._masked(part) for name, part in value.items()}
        return [self._masked(part) for part in value] if isinstance(value, list | tuple) else value

    def _line(self, entry: Entry, end: float, width: int, columns: int) -> str:
        arrow = "->" if entry.kind == "frame" else "  " if not entry.target else ": "
        start = f"{entry.at - end:+8.3f} s  {entry.source:<{width}} {arrow} {entry.target:<{width}}  "
        room = max(24, columns - len(start))
        # masked before it is cut: half a token is a secret, too, and no longer looks like one
        text = printable(self.redactor(in_words(entry.fact)), 10 * PAYLOAD_BYTES)
        return start + (text if len(text) <= room else text[: room - 3] + "...")


def in_words(fact: FramePassed | Happened | ConsoleSaid | Event | str) -> str:
    """Say in one line what happened."""
    if isinstance(fact, str):
        return fact
    if isinstance(fact, FramePassed):
        return said_in(fact, PAYLOAD_BYTES)
    if isinstance(fact, Happened):
        return fact.what
    if isinstance(fact, ConsoleSaid):
        return f"| {fact.text}"
    facts = {name: value for name, value in msgspec.structs.asdict(fact).items() if name not in {"device", "session"}}
    return " ".join([type(fact).__name__, *(f"{name}={value}" for name, value in facts.items())])


def _has(event: Event, facts: dict[str, Any]) -> bool:
    return all(getattr(event, name) == value for name, value in facts.items())


def _facts(fact: FramePassed | Happened | ConsoleSaid | Event | str) -> dict[str, Any]:
    if isinstance(fact, str):
        return {"what": fact}
    if isinstance(fact, Happened):
        return {"what": fact.what}
    if isinstance(fact, ConsoleSaid):
        return {"line": fact.text}
    if isinstance(fact, Event):
        return {"event": type(fact).__name__, **msgspec.structs.asdict(fact)}
    return {"opcode": fact.opcode.name.lower(), "bytes": len(fact.payload), **_said(fact)}


def _said(frame: FramePassed) -> dict[str, Any]:
    if frame.opcode is Opcode.CLOSE:
        close = Close.parse(frame.payload)
        return {"code": int(close.code), "reason": close.reason}
    shown, left_out = frame.payload[:PAYLOAD_BYTES], max(0, len(frame.payload) - PAYLOAD_BYTES)
    rest = {"left_out_bytes": left_out} if left_out else {}
    if frame.opcode is Opcode.TEXT:
        return {"text": shown.decode("utf-8", "replace"), **rest}
    return {"base64": base64.b64encode(shown).decode(), **rest}
