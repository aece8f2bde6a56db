"""What the simulation costs: virtual seconds per second at 1, 100 and 1000 devices, and milliseconds per scenario.

``python -m benchmarks.simulation`` prints two tables; ``--seeds N`` takes N seeds of each scenario (20).
"""

import argparse
import asyncio
import dataclasses
import logging
import os
import platform
import resource
import statistics
import sys
import time

from gateway.app import Gateway
from gateway.config import Config, MailboxConfig, ServerConfig
from harness.exploration.running import run_seed
from harness.exploration.scenarios import SCENARIOS
from harness.fakes.device import FakeDevice
from harness.fakes.fleet import Fleet
from harness.simulation.loop import SimulatedLoop, run
from harness.simulation.profiles import ESP32

LOADS = [  # devices, seconds between two messages of one, virtual seconds
    (1, 1.0, 100.0),
    (100, 1.0, 60.0),
    (1000, 1.0, 60.0),
    (100, 30.0, 600.0),
    (1000, 30.0, 600.0),
]
URL = "ws://gw:8000/xiaozhi/v1/"
HANDOVER = "one handover"
MANY = dataclasses.replace(ESP32, connections=None)
"""Of the one host that all devices are on: what is measured is the simulation, not how many hosts it has."""
real_seconds = time.perf_counter  # by a name that a simulation does not replace


async def start_gateway(loop: SimulatedLoop) -> None:
    """Have a gateway on a host of its own."""
    gw, ready = loop.network.host("gw"), loop.create_future()
    config = Config(server=ServerConfig(state_dir=str(gw.disk.path)), mailbox=MailboxConfig(path=":memory:"))

    async def serve() -> None:
        async with Gateway(config, network=gw.listening(8000, 8003)) as gateway:
            ready.set_result(None)
            await gateway.wait_stopped()

    gw.spawn(serve())
    await ready


def load(devices: int, every: float, seconds: float) -> tuple[float, int]:
    """Have devices ping; return real seconds, from when all are online, and messages both ways."""
    measured: list[float] = []
    counts: list[int] = []

    async def main(loop: SimulatedLoop) -> None:
        async def fleet() -> None:
            async with Fleet(URL, devices, every=every, connects_per_second=1000.0) as fleet:
                await asyncio.sleep(devices / 1000.0 + 1.0)
                assert fleet.tally.connected == devices
                began, before = real_seconds(), fleet.tally.sent + fleet.tally.received
                await asyncio.sleep(seconds)
                measured.append(real_seconds() - began)
                counts.append(fleet.tally.sent + fleet.tally.received - before)
                assert not fleet.tally.errors, fleet.tally.errors

        await start_gateway(loop)
        await loop.network.host("devices", MANY).spawn(fleet())

    run(main, 1, wall_limit=600.0)
    return measured[0], counts[0]


def one_handover(seed: int) -> float:
    """A second connection of a device: 8 virtual seconds; return real ones."""

    async def main(loop: SimulatedLoop) -> None:
        await start_gateway(loop)
        d1 = loop.network.host("d1", ESP32)
        old, new = (FakeDevice(URL, "02:00:00:00:00:01") for _ in range(2))
        await d1.spawn(old.go_online())
        await asyncio.sleep(3)
        await d1.spawn(new.go_online())
        assert await old.expect_close() == 4001
        await asyncio.sleep(3)
        await new.send({"type": "ping"})
        await new.expect("pong")

    began = real_seconds()
    run(main, seed)
    return real_seconds() - began


def scenario(name: str, seeds: int) -> list[float]:
    """Run some seeds; return the seconds of each."""
    taken = []
    for seed in range(1, seeds + 1):
        began = real_seconds()
        if name == HANDOVER:
            one_handover(seed)
        else:
            result = run_seed(SCENARIOS[name], seed)
            assert not result.violations, (name, seed, result.violations)
        taken.append(real_seconds() - began)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    logging.disable(logging.WARNING)
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}\n")
    print("| devices | a message every | virtual s | s | virtual s per s | messages per s |")
    print("|---|---|---|---|---|---|")
    for devices, every, seconds in LOADS:
        taken, messages = load(devices, every, seconds)
        row = (devices, f"{every:g} s", f"{seconds:g}", f"{taken:.2f}", f"{seconds / taken:,.0f}")
        print("|", " | ".join(map(str, row)), "|", f"{messages / taken:,.0f}", "|", flush=True)
    print("\n| scenario | seeds | median | 95 % | longest (ms) |\n|---|---|---|---|---|")
    scenario(HANDOVER, 3)  # what is imported when it is first needed
    for name in (HANDOVER, *SCENARIOS):
        taken = sorted(scenario(name, seeds))
        figures = (statistics.median(taken), taken[int(0.95 * (len(taken) - 1))], taken[-1])
        print("|", name, "|", seeds, "|", " | ".join(f"{1000 * one:.1f}" for one in figures), "|", flush=True)
    print(f"\nmost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
