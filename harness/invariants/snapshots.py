"""Invariants of what devices are told of the state of things: never mixed, never going back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.invariants.facts import Framed, Reported
from harness.invariants.invariant import Invariant
from harness.invariants.lives import Lives


class OneInstant(Invariant):
    """A snapshot is of one moment.

    The model's author puts one version into every task of a list, and counts it up; transcripts have a revision.
    A life that died may have had more than its checkpoint, so versions are compared within one life.
    """

    number = 10
    says = "A task list is one that its author wrote; lists and transcripts of one life never go back for a device."
    when = "after every event"

    def __init__(self, *budgets: Any) -> None:
        super().__init__(*budgets)
        self._lives = Lives()
        self._versions: dict[tuple[str, int], tuple[int, int]] = {}
        self._revisions: dict[tuple[str, int, Any], int] = {}

    def reported(self, fact: Reported) -> None:
        """Note of which life a session is."""
        self._lives.reported(fact)

    def framed(self, fact: Framed) -> Iterator[str]:
        """Look at each list and transcript that a device gets."""
        self._lives.framed(fact)
        message = fact.message
        if fact.sent or message is None:
            return
        if message.get("type") == "workflow" and message.get("event") == "update":
            yield from self._list(fact, message.get("tasks", []))
        elif message.get("type") == "meeting" and message.get("revision") and message.get("items"):
            yield from self._transcript(fact, message["revision"], message["items"])

    def _list(self, fact: Framed, tasks: list[Any]) -> Iterator[str]:
        versions: set[Any] = {task.get("version") for task in tasks if isinstance(task, dict)}
        if len(versions) > 1:
            yield f"{fact.device} was sent a list of several versions: {sorted(map(str, versions))}"
        if len(versions) != 1:
            return
        (version,) = versions
        if type(version) is not int:
            return
        key = fact.device, self._lives.of(fact.connection) or 0
        last, on = self._versions.get(key, (-1, 0))
        # two connections of a device do not keep each other's order
        if version < last and fact.connection >= on:
            yield f"{fact.device} was sent version {version} of the list after version {last}"
        if version >= last:
            self._versions[key] = version, fact.connection

    def _transcript(self, fact: Framed, revision: int, items: list[Any]) -> Iterator[str]:
        key = fact.device, self._lives.of(fact.connection) or 0, items[0].get("meeting")
        last = self._revisions.get(key, 0)
        if revision < last:
            yield f"{fact.device} was sent revision {revision} of its transcript after revision {last}"
        self._revisions[key] = max(last, revision)
        texts = [item.get("text") for item in items]
        if len(set(texts)) != len(texts):
            yield f"{fact.device} was sent a transcript in which a snippet stands twice"
