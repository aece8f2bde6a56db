"""Which mailbox a configuration asks for."""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial

from gateway.config import Config
from gateway.observe.clock import WallClock
from gateway.peer.mailbox import Mailbox
from gateway.peer.memory_mailbox import MemoryMailbox
from gateway.peer.sqlite_mailbox import SqliteMailbox

IN_MEMORY = ":memory:"


def new_mailbox(config: Config, wall_clock: WallClock, executor: Executor | None) -> Mailbox:
    """Make the mailbox of a configuration, not open yet: in memory for the path ``:memory:``, else in that file."""
    new = (
        MemoryMailbox
        if config.mailbox_path == IN_MEMORY
        else partial(SqliteMailbox, config.mailbox_path, executor=executor)
    )
    return new(
        per_device=config.mailbox.per_device,
        per_sender=config.mailbox.per_sender,
        total=config.mailbox.total,
        dedupe=config.peer.dedupe,
        wall_clock=wall_clock,
    )
