"""The port that is a device file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from harness.virtual.errors import CannotServe
from harness.virtual.ports.pty import PtyPort
from tests.harness.virtual.ports.test_tcp import Board


@pytest.fixture
def board():
    """A board's side."""
    return Board()


@pytest.fixture
def port(board) -> Iterator[PtyPort]:
    """A port."""
    made = PtyPort(board)
    yield made
    made.close()


def test_bytes_both_ways(board, port):
    """With the baud rate that the host has set, and 115,200 before it sets any; nothing is changed on the way."""
    assert port.baud == 115200
    with serial.Serial(port.path, 921600, timeout=5) as client:
        client.write(b"abc\r\n\x03\xff")
        board.wait_for((b"abc\r\n\x03\xff", 921600))
        port.deliver(b"def\r\n\x04\xff")
        assert client.read(7) == b"def\r\n\x04\xff"
        assert port.baud == 921600


def test_raw_from_the_start(board, port):
    """Also for a host that sets nothing: no echo, no lines, no line end made of another."""
    host = os.open(port.path, os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(host, b"a\nb\x04")
        board.wait_for((b"a\nb\x04", 115200))
        port.deliver(b"c\rd\n")
        assert os.read(host, 100) == b"c\rd\n"
    finally:
        os.close(host)


def test_opened_again(board, port):
    """It stays when its host has gone."""
    for number in range(2):
        with serial.Serial(port.path, timeout=5) as client:
            client.write(b"%d" % number)
            board.wait_for((b"%d" % number, 9600))


def test_nobody_reads(port):
    """What waits has an end; the oldest is lost, and nobody is held up."""
    began = time.monotonic()
    for number in range(2000):
        port.deliver(b"%07d\n" % number * 16)
    assert time.monotonic() - began < 5
    lost = port.lost
    assert lost > 0

    with Path(port.path).open("rb", buffering=0) as host:
        got = bytearray()
        while not got.endswith(b"0001999\n" * 16):
            got += host.read(4096)
    assert len(got) == 2000 * 128 - lost


def test_vanished_and_back(board, port):
    """Who has it open reads its end; it comes back under another path, or the same if that is free."""
    first = port.path
    host = os.open(first, os.O_RDWR | os.O_NOCTTY)
    try:
        port.vanish()
        port.vanish()
        with pytest.raises(OSError, match="Input/output error"):
            os.write(host, b"x")
        port.deliver(b"lost")
        port.come_back()
        port.come_back()
        assert port.path != first
    finally:
        os.close(host)
    with serial.Serial(port.path, timeout=5) as client:
        client.write(b"back")
        board.wait_for((b"back", 9600))


def test_no_thread_is_left(board):
    """Its thread ends with it."""
    before = threading.active_count()
    port = PtyPort(board)
    port.close()
    port.close()

    assert threading.active_count() == before
    assert port.baud is None


def test_no_ptys(board, monkeypatch):
    """Where the machine has no more, it says so."""

    def none_left():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "openpty", none_left)
    with pytest.raises(CannotServe, match="a pty: No space left on device"):
        PtyPort(board)
