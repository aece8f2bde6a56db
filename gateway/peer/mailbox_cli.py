"""What ``wsdevice mailbox`` does: look into the mailbox, also beside a running gateway, and clear a device's.

Each function prints to the streams it is given and returns the exit code: 0 when done, 1 when not (then ``err`` says
why and what to do). They block, and must run as the user the gateway runs as, or as root.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, TextIO

from gateway.errors import MailboxFailed
from gateway.identity import DeviceId, printable
from gateway.peer.letters_table import LettersTable
from gateway.peer.mailbox_file import failures_told, open_for_writing, reading
from gateway.peer.mailboxes import IN_MEMORY
from gateway.protocol import limits

_DEVICES = """SELECT recipient, sum(state = 'waiting'), sum(state = 'set aside'), min(created) FROM letters
    WHERE state IN ('waiting', 'set aside') AND (?1 = '' OR recipient = ?1) GROUP BY recipient ORDER BY recipient"""
_LETTERS = """SELECT id, sender, kind, count, body, created, expires, state FROM letters
    WHERE recipient = ? AND state IN ('waiting', 'set aside') ORDER BY position"""

_ADVICE_FOR_A_GATEWAY = ", or set another mailbox.path"  # in what `open_for_writing` raises; a purge means this file


def list_devices(path: str, device: DeviceId | None = None, *, now: float, out: TextIO, err: TextIO) -> int:
    """Print a table of the devices that have letters: how many wait, how many are set aside, age of the oldest.

    Args:
        path: the mailbox file, as configured.
        device: only this one; None for all.
        now: seconds since 1970.
        out: for the table.
        err: for what went wrong.
    """
    try:
        rows = _read(path, _DEVICES, device or "")
    except MailboxFailed as error:
        return _failed(error, err)
    table = [(_cell(name), str(waiting), str(aside), _age(now - oldest)) for name, waiting, aside, oldest in rows]
    _print_table([("device", "waiting", "set aside", "oldest"), *table], out)
    return 0


def show(path: str, device: DeviceId, *, bodies: bool, now: float, out: TextIO, err: TextIO) -> int:
    """Print a device's letters in the order of their delivery; see `list_devices` for the arguments.

    Bodies are what people have written to each other: only with ``bodies`` are they read and printed, each below its
    letter.
    """
    try:
        rows = _read(path, _LETTERS, device)
    except MailboxFailed as error:
        return _failed(error, err)
    heads = [
        (
            _cell(id_),
            _cell(sender) or "(gateway)",
            f"{_cell(kind)} x{count}" if count else _cell(kind),
            str(len(body)),
            _stamp(created),
            _stamp(expires),
            "expired" if state == "waiting" and expires <= now else state,
        )
        for id_, sender, kind, count, body, created, expires, state in rows
    ]
    below = [_body(row[4]) if bodies else "" for row in rows]
    _print_table([("id", "sender", "kind", "bytes", "created", "expires", "state"), *heads], out, ["", *below])
    return 0


def purge(path: str, device: DeviceId, *, out: TextIO, err: TextIO) -> int:
    """Delete everything kept for a device; refused while a gateway has the mailbox open. No sender is told."""
    try:
        count = _purge(path, device)
    except MailboxFailed as error:
        return _failed(str(error).removesuffix(_ADVICE_FOR_A_GATEWAY), err)
    print(f"deleted {count} letter{'' if count == 1 else 's'} of {_cell(device)}", file=out)
    return 0


# --- the file -----------------------------------------------------------------------------------------------------


def _on_disk(path: str) -> str:
    if path == IN_MEMORY:
        raise MailboxFailed("mailbox.path is :memory:, so only the running gateway has letters; there is no file")
    return path


def _read(path: str, query: str, device: str) -> list[tuple[Any, ...]]:
    # all at once, before anything is printed: a reader that waits for a pager keeps the gateway's WAL growing
    with reading(_on_disk(path)) as connection:
        return connection.execute(query, (device,)).fetchall()


def _purge(path: str, device: DeviceId) -> int:
    with closing(open_for_writing(_on_disk(path), create=False)) as file, failures_told(file.path):
        # only to delete: the limits are not asked
        table = LettersTable(file.connection, per_device=1, total=1, dedupe=0)
        table.begin()
        count = table.purge(device)
        table.commit()
        return count


# --- what is printed ------------------------------------------------------------------------------------------------


def _failed(error: MailboxFailed | str, err: TextIO) -> int:
    print(f"wsdevice mailbox: {error}", file=err)
    return 1


def _cell(text: str) -> str:
    return printable(text, limits.PEER_ID_CHARACTERS)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _age(seconds: float) -> str:
    minutes, left = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {left}s" if minutes else f"{left}s"


def _body(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return f"    {printable(text, 10 * len(text))}"  # whole: an escape has up to ten characters


def _print_table(rows: Sequence[Sequence[str]], out: TextIO, below: Sequence[str] = ()) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=out)
        if number < len(below) and below[number]:
            print(below[number], file=out)
