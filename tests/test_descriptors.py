"""Tests of file descriptors: how many there are, and what becomes of connections for which there is none."""

from __future__ import annotations

import asyncio
import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import Config, ServerConfig
from gateway.descriptors import BESIDES, AcceptFailures, fitted
from tests.virtual_time import virtual_time

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("limit", "fits"), [(1000 + BESIDES, 1000), (999 + BESIDES, 999), (1024, 512), (256, 128), (1, 1), (0, 1)]
)
def test_as_many_connections_as_descriptors(limit, fits):
    """A limit that is enough changes nothing; past it, both numbers and what to set are told."""
    config = Config(server=ServerConfig(max_connections=1000))

    fitting, warning = fitted(config, limit)

    assert fitting.server.max_connections == fits
    assert fitting.heartbeat == config.heartbeat
    if fits == 1000:
        assert warning is None
    else:
        assert warning is not None
        assert f"{limit} file descriptors" in warning
        assert "LimitNOFILE=1512" in warning
        assert "ulimit -n 1512" in warning


def test_soft_limit_is_raised():
    """Up to the hard one, which is what is returned."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 2048 if hard == resource.RLIM_INFINITY else min(hard, 2048)
    code = (
        "import resource; from gateway.descriptors import raise_limit;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (64, {most}));"
        f"assert raise_limit() == {most};"
        f"assert resource.getrlimit(resource.RLIMIT_NOFILE) == ({most}, {most})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=20)


def no_accept(loop: asyncio.AbstractEventLoop) -> None:
    """Do as asyncio does when a connection cannot be accepted."""
    error = OSError(24, "Too many open files")
    loop.call_exception_handler({"message": "socket.accept() out of system resource", "exception": error})


@virtual_time
async def test_accept_failures_are_told_now_and_then(caplog):
    """The first at once, then one line in ten seconds with their number; no tracebacks."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(AcceptFailures())
    for _ in range(21):
        no_accept(loop)
        await asyncio.sleep(1)

    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert [record.args[0] for record in caplog.records] == [1, 10, 10]
    assert all("Too many open files" in record.message and not record.exc_info for record in caplog.records)


@virtual_time
async def test_other_failures_are_handled_as_ever(caplog):
    """What else nobody caught is logged with its traceback."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(AcceptFailures())
    with caplog.at_level(logging.ERROR):
        loop.call_exception_handler({"message": "a bug", "exception": KeyError("x")})

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("asyncio", "ERROR")
    assert record.exc_info
