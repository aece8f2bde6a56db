"""Sockets that hear nothing: the kernel drops what comes, and the other end finds out as it would on a dead cable."""

from __future__ import annotations

import logging
import socket

import pytest

from harness.faults.unheard import hear_again, stop_hearing
from tests.harness.faults.lines import line


async def test_nothing_is_acknowledged():
    """What is sent to such a socket is not acknowledged; once it hears again, it comes with a retransmission."""
    async with line() as between:
        device, gateway, connection = await between.pair()
        connection.hold("to_gateway", True)
        before = len(gateway.heard)
        device.transport.write(b"lost for now")
        assert device.unacknowledged == 12
        assert not gateway.paused
        assert len(gateway.heard) == before

        connection.hold("to_gateway", False)
        assert (await gateway.hears(before + 12))[before:] == b"lost for now"


async def test_syn_is_dropped():
    """A port that hears nothing lets nobody connect, and does not refuse either; then the next SYN gets through."""
    async with line() as between:
        between.proxy.hear(False)
        with socket.socket() as knocks:
            knocks.settimeout(0.1)
            with pytest.raises(TimeoutError):
                knocks.connect(("127.0.0.1", between.proxy.port))
        between.proxy.hear(True)
        device = await between.device()
        assert device.said == []


def test_kernel_without_filters(caplog: pytest.LogCaptureFixture):
    """Where the kernel has no socket filters, that is said, and nothing else happens."""

    class Old:
        def setsockopt(self, *_: object) -> None:
            raise OSError("Protocol not available")

    with caplog.at_level(logging.DEBUG):
        assert not stop_hearing(Old())
        hear_again(Old())

    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG"]
    assert "no socket filters" in caplog.text


def test_hearing_again_what_always_heard():
    """A socket without a filter is left as it is."""
    with socket.socket() as sock:
        hear_again(sock)
        assert stop_hearing(sock)
        hear_again(sock)
