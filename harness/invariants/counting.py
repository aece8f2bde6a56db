"""Invariants of numbers: what is reported, and what is counted, is what happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gateway.observe.events import (
    ConnectionClosed,
    ConnectionOpened,
    PeerEnqueued,
    PeerLost,
    PeerRedelivered,
)
from harness.invariants.facts import Crashed, Framed, Kept, LifeBegan, LifeEnded, Quiet, Reported, Seen, Settled
from harness.invariants.invariant import Invariant
from harness.invariants.peer_frames import Name, told_in


class ReportsAddUp(Invariant):
    """Every message that was enqueued is reported once.

    A life that dies takes with it what it had counted and not yet said (``docs/peer-messages.md``), so that sums are
    exact only where none has.
    """

    number = 8
    says = "What senders are told of as redelivered, expired or dropped is what was enqueued and waits no more."
    when = "both"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._exact = True
        self._enqueued: Counter[tuple[str, str]] = Counter()
        self._ended: Counter[tuple[str, str]] = Counter()
        self._told: Counter[tuple[str, str]] = Counter()
        self._events: set[tuple[str, str | None]] = set()  # an event may come twice, as messages may
        self._unnamed: set[tuple[str, str]] = set()

    def life_ended(self, fact: LifeEnded) -> None:
        """Sums are exact as long as none dies."""
        self._exact = self._exact and fact.orderly

    def reported(self, fact: Reported) -> Iterator[str]:
        """Add up what the gateway says."""
        event = fact.event
        if isinstance(event, PeerEnqueued):
            self._enqueued[event.sender, event.device] += 1
        elif isinstance(event, PeerRedelivered | PeerLost):
            pair = event.sender, event.device
            self._ended[pair] += event.count
            if self._exact and self._ended[pair] > self._enqueued[pair]:
                yield f"{self._ended[pair]} messages {_of(pair)} have ended, of {self._enqueued[pair]} that were kept"

    def framed(self, fact: Framed) -> Iterator[str]:
        """Add up what senders hear."""
        told = told_in(fact)
        if told is None or (told.sender, told.id) in self._events:
            return
        pair = told.sender, told.target
        if told.id is None:
            self._unnamed.add(pair)  # a copy is not to be told from another event
            return
        self._events.add((told.sender, told.id))
        self._told[pair] += told.messages
        if self._exact and self._told[pair] > self._ended[pair]:
            yield f"{pair[0]} was told of {self._told[pair]} messages {_of(pair)}, of {self._ended[pair]} that ended"

    def quiet(self, fact: Quiet) -> Iterator[str]:
        """Compare the sums."""
        if not self._exact:
            return
        letters: Counter[tuple[str, str]] = Counter()
        letters.update((letter.sender, letter.recipient) for letter in fact.letters if not letter.set_aside)
        for pair, enqueued in self._enqueued.items():
            ended, told = self._ended[pair], self._told[pair]
            if ended + letters[pair] != enqueued:
                yield f"{enqueued} messages {_of(pair)} were kept, {ended} ended, {letters[pair]} wait"
            if told != ended and pair not in self._unnamed and not letters["", pair[0]]:
                yield f"{pair[0]} was told of {told} messages {_of(pair)}, of {ended} that ended"


class CountersMatch(Invariant):
    """Nothing is counted that did not happen, and nothing comes in part."""

    number = 15
    says = "Connections opened less closed are those that are there; letters kept less settled are those that wait."
    when = "both"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._open = 0
        self._exact = True
        self._waiting: dict[Name, None] = {}

    def life_began(self, fact: LifeBegan) -> None:  # noqa: ARG002 - of any life
        """A new process has no connections."""
        self._open = 0

    def life_ended(self, fact: LifeEnded) -> None:
        """What a process that dies has committed last, it could not say."""
        self._exact = self._exact and fact.orderly

    def reported(self, fact: Reported) -> None:
        """Count connections."""
        if isinstance(fact.event, ConnectionOpened):
            self._open += 1
        elif isinstance(fact.event, ConnectionClosed):
            self._open -= 1
        elif isinstance(fact.event, PeerLost):
            self._exact = False  # it does not say which

    def seen(self, fact: Seen) -> Iterator[str]:
        """Compare with what is there."""
        if len(fact.channels) != self._open:
            yield f"{self._open} connections by the events, {len(fact.channels)} in the gateway"

    def kept(self, fact: Kept) -> None:
        """Note a letter."""
        self._waiting[fact.recipient, fact.sender, fact.id] = None

    def settled(self, fact: Settled) -> None:
        """Note its end."""
        self._waiting.pop((fact.recipient, fact.sender, fact.id), None)

    def crashed(self, fact: Crashed) -> Iterator[str]:
        """A message that is none, or only a part of one, is what a device crashes on."""
        yield f"{fact.who}: {fact.why}"

    def quiet(self, fact: Quiet) -> Iterator[str]:
        """Compare with the mailbox, and with the gateway's own count."""
        if fact.counted != self._open:
            yield f"{self._open} connections by the events, {fact.counted} by the gateway's own count"
        letters = {(letter.recipient, letter.sender, letter.id) for letter in fact.letters if letter.kind == "peer"}
        if self._exact and letters != set(self._waiting):
            yield f"{len(self._waiting)} letters wait by what the mailbox said, {len(letters)} are in it"


def _of(pair: tuple[str, str]) -> str:
    return f"of {pair[0]} to {pair[1]}"
