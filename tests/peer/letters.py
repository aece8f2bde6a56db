"""Letters, a wall clock and mailboxes for tests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from gateway.identity import DeviceId
from gateway.peer.mailbox import Letter, Mailbox
from gateway.peer.memory_mailbox import MemoryMailbox
from gateway.peer.sqlite_mailbox import SqliteMailbox

A, B, C = DeviceId("aa"), DeviceId("bb"), DeviceId("cc")
NOW = 1_000_000.0
PER_DEVICE, PER_SENDER, TOTAL, DEDUPE = 4, 10, 10, 600.0


class Clock:
    """A wall clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class InlineExecutor(Executor):
    """Does the work at once, in the caller's thread, as a simulated loop does."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do the work and return a future that is done."""
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - what an executor does
            done.set_exception(error)
        return done


MAKERS: dict[str, Callable[..., Mailbox]] = {
    "memory": lambda path, **kwargs: MemoryMailbox(**kwargs),
    "sqlite": lambda path, **kwargs: SqliteMailbox(str(path / "mailbox.db"), executor=None, **kwargs),
}


def sqlite_mailbox(path: Path, executor: Executor | None = None, **kwargs: Any) -> SqliteMailbox:
    """Make a mailbox on a file, with the limits of these tests unless told otherwise."""
    settings = {
        "per_device": PER_DEVICE,
        "per_sender": PER_SENDER,
        "total": TOTAL,
        "dedupe": DEDUPE,
        "wall_clock": Clock(),
        **kwargs,
    }
    return SqliteMailbox(str(path), executor=executor, **settings)


def letter(id_: str, to: DeviceId = A, sender: str = B, *, life: float = 100.0, now: float = NOW) -> Letter:
    """Write a letter from one device to another."""
    return Letter(to, sender, id_, "peer", f'{{"n":"{id_}"}}'.encode(), now, now + life)


def event(
    id_: str,
    to: DeviceId = A,
    kind: str = "redelivered",
    about: str = B,
    count: int = 1,
    reason: str = "",
    *,
    life: float = 100.0,
    now: float = NOW,
) -> Letter:
    """Write an event to a sender."""
    return Letter(to, "", id_, kind, b"", now, now + life, about=about, count=count, reason=reason)


async def ids(mailbox: Mailbox, device: DeviceId = A) -> list[str]:
    """Return the ids of what waits for a device, in order."""
    return [kept.id for kept in await mailbox.waiting(device, 1000)]
