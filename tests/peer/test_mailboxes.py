"""Which mailbox a configuration gets."""

from __future__ import annotations

from pathlib import Path

from gateway.config import Config, MailboxConfig, PeerConfig
from gateway.peer.mailbox import Stored
from gateway.peer.mailboxes import new_mailbox
from gateway.peer.memory_mailbox import MemoryMailbox
from gateway.peer.sqlite_mailbox import SqliteMailbox
from tests.peer.letters import A, B, C, Clock, letter


async def test_configured_limits_are_used(tmp_path: Path) -> None:
    """Both kinds are made with the limits of the configuration."""
    for path, kind in ((":memory:", MemoryMailbox), (str(tmp_path / "here.db"), SqliteMailbox)):
        config = Config(
            mailbox=MailboxConfig(path=path, per_device=2, per_sender=2, total=3), peer=PeerConfig(dedupe=5.0)
        )
        clock = Clock()
        mailbox = new_mailbox(config, clock, None)
        assert type(mailbox) is kind
        await mailbox.open()
        assert await mailbox.store([letter("1"), letter("2")]) == [Stored.STORED] * 2
        assert await mailbox.store(
            [letter("3", sender=C), letter("1", to=B), letter("1", to=B, sender=C), letter("2", to=B, sender=C)]
        ) == [Stored.FULL, Stored.FULL, Stored.STORED, Stored.FULL]
        await mailbox.settle(A, [(B, "1")])
        clock.now += 4.9
        assert await mailbox.store([letter("1")]) == [Stored.SETTLED]
        clock.now += 0.1
        assert await mailbox.store([letter("1")]) == [Stored.STORED]
        await mailbox.close()
    assert (tmp_path / "here.db").exists()
