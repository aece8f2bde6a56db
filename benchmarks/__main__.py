"""This gateway as shipped beside a bare websockets JSON router, interleaved, in one run.

Rates depend on the machine and on what else it does; the ratio of the two, round by round, is the figure to keep.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import websockets

HERE = Path(__file__).parent
SERVERS = {"gateway": "shipped_gateway.py", "bare websockets router": "bare_router.py"}


@contextlib.contextmanager
def server(script: str) -> Iterator[tuple[int, int]]:
    """Run a server on the first core; yield its port and process id."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: _prepare(0),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process.pid
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()


def _prepare(core: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def load(what: str, port: int, pid: int, devices: int, seconds: float, outstanding: int = 1) -> dict[str, float]:
    """Run one load on the other core against a server."""
    command = [sys.executable, str(HERE / "load.py"), what, f"--port={port}", f"--pid={pid}"]
    command += [f"--devices={devices}", f"--seconds={seconds}", f"--outstanding={outstanding}"]
    finished = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, timeout=300, preexec_fn=lambda: _prepare(1)
    )
    return dict(json.loads(finished.stdout))


def compare(what: str, devices: int, rounds: int, seconds: float, outstanding: int) -> None:
    """Measure both servers in turn, ``rounds`` times, and print medians and the ratio."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in SERVERS}
    for _ in range(rounds):
        for name, script in SERVERS.items():
            with server(script) as (port, pid):
                results[name].append(load(what, port, pid, devices, seconds, outstanding))
    print(f"\nJSON {what}, {devices} devices, {outstanding} outstanding each, {rounds} rounds of {seconds:g} s")
    for name, rows in results.items():
        median = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(
            f"  {name:24} {median['per_second']:>9,.0f} /s  server CPU {median['cpu_us']:6.1f} us each"
            f"  p50 {median['p50_ms']:6.2f} ms  p99 {median['p99_ms']:6.2f} ms"
        )
    ours, theirs = (results[name] for name in SERVERS)
    ratios = [their["cpu_us"] / our["cpu_us"] for our, their in zip(ours, theirs, strict=True)]
    print(f"  ratio of CPU per message, round by round: {', '.join(f'{ratio:.1f}' for ratio in ratios)}")


def idle(devices: int) -> None:
    """Print what one idle connection costs in resident memory."""
    parts = []
    for name, script in SERVERS.items():
        with server(script) as (port, pid):
            parts.append(f"{name} {load('idle', port, pid, devices, 1.0)['kib_each']:.1f} KiB")
    print(f"\n{devices:,} idle connections, memory each: {', '.join(parts)}")


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--outstanding", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--idle", type=int, nargs="*", default=[1000, 10_000])
    arguments = parser.parse_args()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, CPython "
        f"{platform.python_version()}, websockets {websockets.version.version}, msgspec {msgspec.__version__}"
    )
    for what in ("ping", "peer"):
        for outstanding in arguments.outstanding:
            compare(what, arguments.devices, arguments.rounds, arguments.seconds, outstanding)
    for devices in arguments.idle:
        idle(devices)


main()
