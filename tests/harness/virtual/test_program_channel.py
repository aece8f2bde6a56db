"""The board's end of the channel: requests, answers, events, and their bounds."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from harness.virtual.program_channel import LINE_BYTES, WAITING_BYTES, ChannelEnd


@pytest.fixture
def ends() -> Iterator[tuple[ChannelEnd, socket.socket]]:
    """The board's end, and the program's."""
    own, its = socket.socketpair()
    its.settimeout(5)
    channel = ChannelEnd(own, lambda request: None if request["do"] == "die" else {"ok": request["do"]})
    with its:
        yield channel, its
        channel.close()


def answers(its: socket.socket) -> list[Any]:
    """What the program can read."""
    return [json.loads(line) for line in its.recv(1 << 20).splitlines()]


def test_answers(ends: tuple[ChannelEnd, socket.socket]):
    """Each request is answered with its id, however its bytes come."""
    channel, its = ends
    its.sendall(b'{"id":1,"do":"a"}\n{"id":"x","do')
    channel.serve()
    its.sendall(b'":"b"}\n')
    channel.serve()

    assert answers(its) == [{"id": 1, "ok": "a"}, {"id": "x", "ok": "b"}]


def test_no_answer(ends: tuple[ChannelEnd, socket.socket]):
    """What ends the program is not answered."""
    channel, its = ends
    its.sendall(b'{"id":1,"do":"die"}\n{"id":2,"do":"a"}\n')
    channel.serve()

    assert answers(its) == [{"id": 2, "ok": "a"}]


@pytest.mark.parametrize("line", [b"no json", b"[1]", b"\xff"])
def test_not_a_request(ends: tuple[ChannelEnd, socket.socket], line: bytes):
    """What is no request is told so, and the channel goes on."""
    channel, its = ends
    its.sendall(line + b"\n")
    channel.serve()

    assert answers(its)[0]["error"] == "ESP_ERR_INVALID_ARG"
    assert channel.wants == selectors.EVENT_READ


def test_events(ends: tuple[ChannelEnd, socket.socket]):
    """An event waits for the next turn of the loop."""
    channel, its = ends
    channel.tell({"event": "wifi"})
    wants = channel.wants
    channel.serve()

    assert wants == selectors.EVENT_READ | selectors.EVENT_WRITE
    assert answers(its) == [{"event": "wifi"}]


def test_program_has_gone(ends: tuple[ChannelEnd, socket.socket]):
    """When the program closes its end, nothing is waited for any more."""
    channel, its = ends
    its.close()
    channel.serve()

    assert channel.wants == 0


def test_endless_line(ends: tuple[ChannelEnd, socket.socket]):
    """A line without an end is given up at its limit."""
    channel, its = ends
    its.settimeout(0.05)
    sent = 0
    while channel.wants and sent < 4 * LINE_BYTES:
        sent += its.send(b"x" * 65536)
        channel.serve()

    assert channel.wants == 0
    assert sent <= LINE_BYTES + 2 * 65536


def test_program_does_not_read(ends: tuple[ChannelEnd, socket.socket]):
    """What a program does not read fills no memory: the channel ends."""
    channel, _ = ends
    told = 0
    while channel.wants and told < 3 * WAITING_BYTES:
        channel.tell({"event": "x" * 1000})
        channel.serve()
        told += 1000

    assert channel.wants == 0
